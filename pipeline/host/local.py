"""This machine as a Host: commands through the standard library alone, since the quick paths ask git here."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.clock import Clock, SystemClock
from pipeline.errors import Ambiguous, ConfigError, IntegrityError, ResourceError
from pipeline.host import Address, Cmd, OnLine, Output
from pipeline.host.child import Child
from pipeline.host.lines import Lines
from pipeline.host.scripts import words

CHUNK = 1 << 16
GRACE = 5.0  # seconds for a command to end by itself before it is killed
PART = ".pipeline-put."
KEPT = 24 * 3600.0  # seconds that the part of a copy may lie untouched before it counts as left behind


class LocalHost:
    """Here. `state` defaults to the user's own state folder (XDG_STATE_HOME)."""

    def __init__(self, name: str = "local", state: str = "", clock: Clock | None = None) -> None:
        home = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
        self.name = name
        self.state = state or f"{home}/pipeline"
        self._clock = clock or SystemClock()

    def run(self, cmd: Cmd, on_line: OnLine | None = None) -> Output:
        """See Host. Raises Ambiguous if the time was up. The command ends with this process, also if that is killed."""
        words(cmd)
        if cmd.cwd is not None and not os.access(cmd.cwd, os.X_OK):
            return Output(125, stderr=f"{cmd.cwd}: cannot be entered\n".encode())
        try:
            process = _start(cmd)
        except FileNotFoundError as error:
            return Output(127, stderr=f"{error}\n".encode())
        except PermissionError as error:
            return Output(126, stderr=f"{error}\n".encode())
        with process:
            try:
                return self._converse(process, cmd, on_line)
            finally:
                if process.returncode is None:
                    _end(process)

    def put(self, source: Path, target: str) -> None:
        """See Host. Raises ResourceError where the disk is full, IntegrityError where the copy differs, ConfigError where it cannot be."""
        import hashlib  # here and not above: the quick paths copy nothing
        import shutil
        import tempfile

        if not target.startswith("/") or target.endswith("/"):
            raise ConfigError(f"{target!r} is not the absolute path of a file")
        folder, part = Path(target).parent, None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _remove_old(folder)
            handle, name = tempfile.mkstemp(prefix=f"{PART}{Path(target).name[:100]}.", suffix=".part", dir=folder)
            part = Path(name)
            with source.open("rb") as file, os.fdopen(handle, "wb") as copy:
                shutil.copyfileobj(file, copy, CHUNK)
                copy.flush()
                os.fsync(copy.fileno())
            shutil.copymode(source, part)
            with source.open("rb") as file, part.open("rb") as copy:
                if hashlib.file_digest(file, "sha256").digest() != hashlib.file_digest(copy, "sha256").digest():
                    raise IntegrityError(f"{target} was written with another sha256 than {source} has", mend="check this machine's disk")
            part.replace(target)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                if part is not None:
                    part.unlink(missing_ok=True)
                free = shutil.disk_usage(folder).free
                raise ResourceError(
                    f"there is no room for {target}",
                    cause=f"{source.stat().st_size:,} bytes are needed, {free:,} are free",
                    mend=f"make room in {folder}",
                ) from error
            raise ConfigError(f"{source} cannot be copied to {target}", cause=str(error)) from error
        finally:
            if part is not None:
                part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def forward(self, target: Address) -> Iterator[Address]:
        """See Host: `target` itself, there is nothing between."""
        yield target

    @contextlib.contextmanager
    def expose(self, target: Address) -> Iterator[Address]:
        """See Host: `target` itself, there is nothing between."""
        yield target

    def close(self) -> None:
        """Nothing is held open."""

    def _converse(self, process: subprocess.Popen[bytes], cmd: Cmd, on_line: OnLine | None) -> Output:
        lines = (Lines(on_line, cmd.keep), Lines(on_line, cmd.keep))
        deadline = self._clock.monotonic() + cmd.timeout
        stdin = memoryview(cmd.stdin)
        with selectors.DefaultSelector() as selector:
            for stream, sink in zip((process.stdout, process.stderr), lines, strict=True):
                assert stream is not None  # noqa: S101  # both are pipes, see _start
                selector.register(stream, selectors.EVENT_READ, sink)
            if process.stdin is not None:
                os.set_blocking(process.stdin.fileno(), False)
                selector.register(process.stdin, selectors.EVENT_WRITE)
            while selector.get_map():
                left = deadline - self._clock.monotonic()
                for key, _ in selector.select(max(0.0, min(left, 60.0))):
                    if key.data is None:
                        stdin = _write(key.fd, stdin)
                        over = not stdin
                    elif chunk := os.read(key.fd, CHUNK):
                        key.data.feed(chunk)
                        over = False
                    else:
                        over = True
                    if over:
                        selector.unregister(key.fileobj)
                        _close(key.fileobj)
                if left <= 0:
                    break
                if process.poll() is not None and not selector.select(0.05):
                    break  # a child of the command holds its pipes: its own end is what counts
        if process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - self._clock.monotonic()))
        if process.returncode is None:
            _end(process)
            tail = Output(1, *(sink.close() for sink in lines)).tail()
            said = f"{cmd.argv[0]} on {self.name} did not end within {cmd.timeout:.0f} s and was ended"
            raise Ambiguous(said, cause="" if cmd.secret else tail)
        code = process.returncode
        return Output(128 - code if code < 0 else code, *(sink.close() for sink in lines))


def _remove_old(folder: Path) -> None:
    """Remove the parts of copies that were killed a day ago or longer."""
    for part in folder.glob(f"{PART}*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > KEPT:
                part.unlink()


def _start(cmd: Cmd) -> Child[bytes]:
    environment: Mapping[str, str] | None = {**os.environ, **cmd.env} if cmd.env else None
    return Child(
        cmd.argv,
        stdin=subprocess.PIPE if cmd.stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cmd.cwd,
        env=environment,
        bufsize=0,
    )


def _write(fd: int, data: memoryview) -> memoryview:
    try:
        return data[os.write(fd, data[:CHUNK]) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return data[:0]  # the command did not want all of it


def _close(stream: object) -> None:
    if hasattr(stream, "close"):
        with contextlib.suppress(BrokenPipeError):
            stream.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """TERM to the command's session, KILL to what is left of it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
