"""What a build tells, split three ways: the log file here, a line for who watches, the facts for the driver."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType
from typing import IO, Generic, Protocol, Self, TypeVar

from pipeline.events import What
from pipeline.stage import Site

FACT = "@fact "
LOGS = 20  # files kept
PER_SECOND = 200  # lines told; all of them are in the file


class Log(Protocol):
    """Reads a tool's lines: each as a person reads it (None: only for machines), and what is under way."""

    def feed(self, line: str) -> str | None: ...

    @property
    def status(self) -> str: ...


L = TypeVar("L", bound=Log)


class Story(Generic[L]):
    """Hears a build's lines. The whole log is in `path`, as people read it; `facts` and the `log`'s memory stay small. What is told begins
    with `prefix`."""

    def __init__(self, site: Site, name: str, log: L, prefix: str = "") -> None:
        self.path = site.root / ".pipeline" / "logs" / f"{name}.log"
        self.log = log
        self.prefix = prefix
        self.facts: list[str] = []
        self._site = site
        self._file: IO[str] | None = None
        self._status = ""
        self._window = (0.0, 0)

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _forget_old(self.path.parent)
            self._file = self.path.open("w", encoding="utf-8", errors="replace")
        except OSError as error:
            self._leave_out(error)
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                self._leave_out(error)

    def hear(self, line: str) -> None:
        """One line of the job's output."""
        if line.startswith(FACT):
            self.facts.append(line.removeprefix(FACT))
            return
        text = self.log.feed(line)
        if text is not None:
            self._write(self._site.secrets.mask(text) + "\n")
            for each in text.splitlines():  # nix says some things in several lines
                if self._may_tell():
                    self._site.tell(What.LOG, "build", self.prefix + each)
        if (status := self.log.status) != self._status:
            self._status = status
            if status:
                self._site.tell(What.WAIT, "build", self.prefix + status)

    def _write(self, text: str) -> None:
        if self._file is not None:
            try:
                self._file.write(text)
            except OSError as error:
                self._leave_out(error)

    def _leave_out(self, error: OSError) -> None:
        """Go on without the log: a build is not lost for want of a place to write about it."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()
        self._site.tell(What.WARN, "build", f"{self.path} cannot be written ({error.strerror}): the build goes on, its log is not whole")

    def _may_tell(self) -> bool:
        second, told = self._window
        now = self._site.clock.monotonic()
        if now - second >= 1:
            second, told = now, 0
        self._window = (second, told + 1)
        return told < PER_SECOND


def _forget_old(folder: Path) -> None:
    with contextlib.suppress(OSError):  # another run may forget them at the same time
        logs = sorted(folder.glob("build-*.log"), key=lambda path: path.stat().st_mtime)
        for path in logs[: -LOGS + 1]:
            path.unlink()
