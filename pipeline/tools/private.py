"""Private folders outside the working copy, for files with secrets in them; those of a process that was killed are swept by the next."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

PREFIX = "pipeline-private-"


class File:
    """A private file of a folder of its own, written when its path is first asked for, and gone once it is closed."""

    def __init__(self, name: str, text: Callable[[], str]) -> None:
        self._name, self._text = name, text
        self._folder: Path | None = None
        self._lock = threading.Lock()

    def path(self) -> str:
        """Return where it lies."""
        with self._lock:
            if self._folder is None:
                self._folder = folder()
                write(self._folder / self._name, self._text())
            return str(self._folder / self._name)

    def close(self) -> None:
        with self._lock:
            if self._folder is not None:
                remove(self._folder)
            self._folder = None


def folder() -> Path:
    """A new folder that only we can enter (mode 700), in memory where the system keeps one for the user."""
    where = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    sweep(Path(where))
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=where))


def write(path: Path, text: str) -> None:
    """Write `text` for our eyes only, whole or not at all, on disk when this returns."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def sweep(where: Path) -> None:
    """Take away what processes of ours that are gone have left."""
    for path in where.glob(f"{PREFIX}*"):
        pid = path.name.removeprefix(PREFIX).partition("-")[0]
        with contextlib.suppress(OSError, ValueError):
            if path.lstat().st_uid == os.geteuid() and path.is_dir() and not path.is_symlink() and not _lives(int(pid)):
                remove(path)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # somebody else's: it lives
    return True
