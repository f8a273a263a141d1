"""Runs helm, or another tool that deploys: bounded, its lines shown as they come, ended gently, and never after the lock is lost.

It ends with this process however that ends, and the lock says which process it is before it does anything: a lock protects only what ends
with its holder.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pipeline.deploy.holder import Begun
from pipeline.deploy.lease import Lease
from pipeline.errors import Ambiguous, ConfigError, Locked, PipelineError
from pipeline.events import What
from pipeline.host.child import Child
from pipeline.stage import Site
from pipeline.tools import helm

GRACE = 30.0  # seconds helm may take to write down that it was interrupted
TICK = 0.2  # seconds between two looks at the lock
STAGE = "deploy"


@dataclass(frozen=True)
class Program:
    """A tool that deploys: how people call it, what to do where it is not there, and the environment it runs in."""

    name: str
    install: str
    environment: Callable[[Mapping[str, str], str], dict[str, str]]


HELM = Program("helm", "install Helm 3.13 or later, or name it in the site's tools", helm.environment)


@dataclass(frozen=True)
class Writing:
    """What a tool is about to write under `lease`: `doing` makes or changes revision `revision`; see `pipeline.deploy.holder.Begun`."""

    lease: Lease
    doing: str
    revision: int

    def begin(self, pid: int = 0) -> None:
        """Write into the lock what begins now, and by which process. Raises Locked if the lock is lost."""
        begun = Begun(self.lease.holder, self.doing, self.revision, left=self.lease.left)
        self.lease.begin(begun.with_tool(pid) if pid else begun)


def call(
    site: Site,
    argv: helm.Argv,
    seconds: float,
    writing: Writing | None = None,
    *,
    meaning: Callable[[int, str], PipelineError] = helm.failure,
    program: Program = HELM,
) -> str:
    """What helm printed. Without `writing` it only looks.

    Raises the error that helm's output has by `meaning`, Ambiguous if it outlived `seconds`, ConfigError if it is not installed, Locked if
    the lock is lost before or meanwhile: helm is killed then. On the first Ctrl-C helm gets SIGINT and is waited for, on the second it is
    killed; KeyboardInterrupt goes on either way.
    """
    folder = site.root / ".pipeline" / program.name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        process: Child[str] = Child(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=site.root, text=True, errors="replace",
            env=program.environment(os.environ, str(folder)), before=writing.begin if writing else lambda _pid: None,
        )  # fmt: skip
    except OSError as error:
        raise ConfigError(f"{argv[0]} cannot be run", cause=str(error), mend=program.install) from error
    lines: list[str] = []
    reader = threading.Thread(target=_read, args=(site, process, lines), daemon=True)
    reader.start()
    check = writing.lease.check if writing else lambda: None
    try:
        with _ended(site, process, check, program.name):
            _wait(site, process, seconds, check, program.name)
    finally:
        if writing and process.returncode is not None:
            writing.lease.end()
    reader.join(GRACE)
    text = "\n".join(lines)
    if process.returncode:
        raise meaning(process.returncode, text)
    return text


def _wait(site: Site, process: Child[str], seconds: float, check: Callable[[], None], name: str) -> None:
    end = site.clock.monotonic() + seconds
    while True:
        try:
            process.wait(TICK)
        except subprocess.TimeoutExpired:
            check()
            if site.clock.monotonic() < end:
                continue
            raise Ambiguous(
                f"{name} was not done after {seconds:.0f} s and was ended", mend="run again: what came of it is looked at first"
            ) from None
        return


@contextlib.contextmanager
def _ended(site: Site, process: Child[str], check: Callable[[], None], name: str) -> Iterator[None]:
    """Whatever happens inside, the tool does not outlive it: it is asked to end while the lock holds, and killed when that is lost."""
    try:
        yield
    except Locked:
        _kill(process)  # somebody else may be at work by now
        raise
    except KeyboardInterrupt:
        site.tell(What.WARN, STAGE, f"stopping: {name} is asked to end; press Ctrl-C again to kill it")
        _end(process, signal.SIGINT, check)
        raise
    except BaseException:
        _end(process, signal.SIGTERM, check)
        raise


def _end(process: Child[str], number: signal.Signals, check: Callable[[], None]) -> None:
    process.send_signal(number)
    end = time.monotonic() + GRACE
    try:
        while process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(TICK)
            check()
    except (KeyboardInterrupt, PipelineError):
        pass  # it has no more time: a second Ctrl-C, or a lost lock
    finally:
        _kill(process)


def _kill(process: Child[str]) -> None:
    """End it now, with what it has started. It is gone when this returns."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read(site: Site, process: Child[str], lines: list[str]) -> None:
    """Keep what the tool prints and pass it on line by line, but for helm's notes: they tell of pods that are not up yet."""
    assert process.stdout is not None  # noqa: S101  # it is a pipe
    with process.stdout:
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if line.strip() and helm.NOTES not in lines:
                site.tell(What.LOG, STAGE, line.rstrip("\n"))
