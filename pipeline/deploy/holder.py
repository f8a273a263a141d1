"""Who holds a lock: written into it, read by others, and now and then provably dead."""

from __future__ import annotations

import getpass
import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Holder:
    """Who holds it: `boot` and `space` (the pid namespace) say whether `pid` means anything to the one who reads it."""

    user: str
    host: str
    pid: int
    started: str
    boot: str
    space: str
    run: str

    def __str__(self) -> str:
        return f"{self.user}@{self.host}/{self.pid}/{self.started}/{self.boot}/{self.space}/{self.run}"

    @property
    def person(self) -> str:
        return f"{self.user}@{self.host} (pid {self.pid}, run {self.run})"

    @staticmethod
    def here() -> Holder:
        """This process, in a run of its own."""
        pid = os.getpid()
        return Holder(getpass.getuser(), socket.gethostname(), pid, _started(pid), _boot(), _space(), uuid.uuid4().hex[:12])

    @staticmethod
    def read(text: str) -> Holder | None:
        """The holder an identity names, None where it was not written by this program."""
        parts = text.split("/")
        user, _, host = parts[0].partition("@")
        if len(parts) != 6 or not parts[1].isdigit():
            return None
        return Holder(user, host, int(parts[1]), *parts[2:])

    @property
    def surely_dead(self) -> bool:
        """Whether it ran under this very kernel, and is there no more. False where that cannot be known from here."""
        return bool(self.boot) and (self.boot, self.space) == (_boot(), _space()) and _started(self.pid) != self.started


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot: field 22 of /proc/PID/stat (proc(5)); "" where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return ""


def _space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid").strip("pid:[]")  # noqa: PTH115  # the text of the link is what counts
    except OSError:
        return ""
