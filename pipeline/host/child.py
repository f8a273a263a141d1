"""A tool of this machine on a leash: it ends when this process ends, however that ends, and so does all that it started.

The leash is a pipe that only this process can write to. A watcher in the tool's own session reads it, and kills the session if the other
end is closed without a word, which the kernel does for a process that is killed. PR_SET_PDEATHSIG would be one process less, but it ends
the tool with the thread that started it, leaves what the tool has started alone, and misses a parent that dies before it is set.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, AnyStr

# Runs the words after the first: sh -c THIS sh FD WORD... The tool keeps the number of this shell. It starts when a line comes.
LAUNCH = """exec 3<"/dev/fd/$1" || exit 126
shift
read -r _ <&3 || exit 125
( ( trap '' HUP INT QUIT TERM; read -r _ <&3 || kill -s KILL 0 ) </dev/null >/dev/null 2>&1 & )
exec 3<&-
exec "$@"
"""


class Child(subprocess.Popen[AnyStr]):
    """A Popen on a leash, in a session of its own. `before` is called with its number before it does anything, and may refuse by raising.

    Raises FileNotFoundError or PermissionError if the program cannot be run, as Popen does.
    """

    def __init__(self, argv: Sequence[str], *, before: Callable[[int], None] = lambda _pid: None, **options: Any) -> None:
        self._leash = -1
        _find(argv[0], options.get("env"), options.get("cwd"))
        end, self._leash = os.pipe()
        try:
            words = ("/bin/sh", "-c", LAUNCH, "sh", str(end), *argv)
            super().__init__(words, pass_fds=(end,), start_new_session=True, **options)
        except BaseException:
            self._cut()
            raise
        finally:
            os.close(end)
        try:
            before(self.pid)
            with contextlib.suppress(BrokenPipeError):  # its exit code says why it is gone
                os.write(self._leash, b"\n")
        except BaseException:
            self._cut()
            self.__exit__(None, None, None)
            raise

    def poll(self) -> int | None:
        if (code := super().poll()) is not None:
            self._cut(b"\n")
        return code

    def wait(self, timeout: float | None = None) -> int:
        code = super().wait(timeout)
        self._cut(b"\n")
        return code

    def __del__(self, *args: Any) -> None:
        self._cut()
        super().__del__(*args)

    def _cut(self, word: bytes = b"") -> None:
        """Let go of the leash. Without a word all that is left at its other end is killed."""
        leash, self._leash = self._leash, -1
        if leash >= 0:
            with contextlib.suppress(OSError):  # the watcher may be gone already, with the session
                os.write(leash, word)
            os.close(leash)


def _find(program: str, env: Mapping[str, str] | None, folder: str | os.PathLike[str] | None) -> None:
    """Raise what exec would: the shell between would turn it into a text and an exit code."""
    if os.sep in program:
        place = Path(folder or ".", program)  # an absolute program stays as it is
        if place.is_dir() or (place.exists() and not os.access(place, os.X_OK)):
            raise PermissionError(errno.EACCES, "Permission denied", program)
        there = place.exists()
    else:
        there = shutil.which(program, path=(os.environ if env is None else env).get("PATH", os.defpath)) is not None
    if not there:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", program)
