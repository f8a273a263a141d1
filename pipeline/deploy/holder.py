"""Who holds a lock and what it has begun: written into the lock, read by others, and now and then provably at its end."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import environment, jsontext

BEGUN = "pipeline/begun"  # an annotation of the lease: the last thing that a run began, and whether it saw the end of it
IMAGES = "pipeline/images"  # another: the images that the run which took the lock last was going to deploy
FIRST_SPACE = "4026531836"  # the pid namespace of the machine itself: PROC_PID_INIT_INO in include/linux/proc_ns.h


@dataclass(frozen=True)
class Holder:
    """Who holds it: `boot`, `space` (the pid namespace) and `machine` say whether `pid` means anything to the one who reads it."""

    user: str
    host: str
    pid: int
    started: str
    boot: str
    space: str
    run: str
    machine: str = ""

    def __str__(self) -> str:
        return f"{self.user}@{self.host}/{self.pid}/{self.started}/{self.boot}/{self.space}/{self.run}/{self.machine}".rstrip("/")

    @property
    def person(self) -> str:
        return f"{self.user}@{self.host} (pid {self.pid}, run {self.run})"

    @staticmethod
    def here() -> Holder:
        """This process, in a run of its own."""
        pid = os.getpid()
        return Holder(environment.user(), socket.gethostname(), pid, _started(pid), _boot(), _space(), uuid.uuid4().hex[:12], _machine())

    @staticmethod
    def read(text: str) -> Holder | None:
        """The holder an identity names, None if it was not written by this program."""
        parts = text.split("/")
        user, _, host = parts[0].partition("@")
        if len(parts) not in (6, 7) or not parts[1].isdigit():
            return None
        return Holder(user, host, int(parts[1]), *parts[2:])

    @property
    def is_here(self) -> bool:
        """Whether it ran under this very kernel, so that its end can be seen from here."""
        return bool(self.boot) and (self.boot, self.space) == (_boot(), _space())

    @property
    def surely_dead(self) -> bool:
        """Whether it is there no more: gone from this kernel, or this machine was started anew since. False if that cannot be known."""
        if self.is_here:
            return not self.started or _started(self.pid) != self.started
        same_machine = bool(self.machine) and (self.machine, self.host) == (_machine(), socket.gethostname())
        return same_machine and self.space == _space() == FIRST_SPACE and bool(self.boot) and self.boot != _boot()


@dataclass(frozen=True)
class Begun:
    """What a run began: `doing` ("helm upgrade") makes or changes revision `revision`; `tool` is its process, None before there is one.

    `ended` says that the run itself saw the tool end. `left` is a revision that this run found half-done by one that had ended.
    """

    holder: Holder
    doing: str
    revision: int
    tool: Holder | None = None
    ended: bool = False
    left: int = 0

    def with_tool(self, pid: int) -> Begun:
        """The same, done by process `pid` of this machine."""
        return dataclasses.replace(self, tool=dataclasses.replace(self.holder, pid=pid, started=_started(pid)))

    @property
    def surely_over(self) -> bool:
        """Whether nobody writes any more. Without a tool nobody ever did: it is written down before it starts, by who has the lock."""
        return self.ended or self.tool is None or self.tool.surely_dead

    @property
    def surely_at_work(self) -> bool:
        """Whether its tool is still at work on this machine, though the run that started it may not be."""
        return not self.ended and self.tool is not None and self.tool.is_here and not self.tool.surely_dead

    def made(self, revision: int, labels: Mapping[str, str]) -> bool:
        """Whether it was this that left `revision` half-done. helm gives a revision that it makes by a rollback the labels of the one that
        it repeats, and an uninstall makes none: only an upgrade's own label says whose it is."""
        if revision == self.left:
            return True
        if revision != self.revision:
            return False
        return not self.doing.endswith(("upgrade", "apply", "update")) or labels.get("run") == self.holder.run

    def __str__(self) -> str:
        tool = {"pid": self.tool.pid, "started": self.tool.started} if self.tool else {}
        said = {"holder": str(self.holder), "doing": self.doing, "revision": self.revision, **tool, "ended": self.ended, "left": self.left}
        return json.dumps(said)

    @staticmethod
    def read(text: str) -> Begun | None:
        """What an annotation says, None if there is none that this program wrote."""
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            said: dict[str, Any] = jsontext.loads(text)
            holder = Holder.read(said["holder"])
            if holder is not None:
                tool = dataclasses.replace(holder, pid=int(said["pid"]), started=str(said["started"])) if "pid" in said else None
                ended = said["ended"] is True
                return Begun(holder, str(said["doing"]), int(said["revision"]), tool, ended, int(said["left"]))
        return None


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot: field 22 of /proc/PID/stat (proc(5)); "" if there is none, or only its corpse."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else rest[18]
    except (OSError, IndexError, ValueError):
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


def _machine() -> str:
    """This machine's id, which is not to be published as it is (machine-id(5)); "" if it has none."""
    try:
        found = Path("/etc/machine-id").read_text().strip()
    except OSError:
        return ""
    return hashlib.sha256(f"pipeline {found}".encode()).hexdigest()[:12] if found else ""
