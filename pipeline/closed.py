"""Whether a file with a secret in it is closed to others."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

OCTAL = re.compile(r"\\([0-7]{3})")  # how mountinfo writes blanks, proc(5)


def open_to_others(path: Path, state: os.stat_result) -> str:
    """Return how to close a file with a secret in it that others can read, "" if it is closed.

    A Secret that a container got by a mount of its own is closed by the container's walls: its mode is what whoever mounted it wrote, and
    nobody in there can change it.
    """
    if not state.st_mode & 0o077 or is_mounted(path):
        return ""
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return f"{path} is on a read-only file system: give it from elsewhere, with mode 600"
    return f"chmod 600 {path}"


def is_mounted(path: Path) -> bool:
    """Return whether `path` is a Secret that was mounted for this container: read-only, and with a mount of the file itself, as Docker does
    it, or of the folder in which Kubernetes' link `..data` leads to it."""
    with contextlib.suppress(OSError):
        real = path.resolve(strict=True)
        if not os.statvfs(real).f_flag & os.ST_RDONLY:
            return False
        fields = [line.split(" ") for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()]
        points = {Path(OCTAL.sub(lambda found: chr(int(found[1], 8)), each[4])) for each in fields if len(each) > 5}
        folders = [folder for folder in real.parents if folder in points]
        current = folders[0] / "..data" if folders else None
        return real in points or (current is not None and current.is_symlink() and real.is_relative_to(current.resolve()))
    return False
