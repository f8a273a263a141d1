"""Private folders outside the working copy, for files with secrets in them; those of a process that was killed are swept by the next."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "pipeline-infra-"


def folder() -> Path:
    """A new folder that only we can enter (mode 700), in memory where the system keeps one for the user."""
    where = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    sweep(Path(where))
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=where))


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
