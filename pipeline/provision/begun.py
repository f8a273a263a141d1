"""The note of what was begun, on disk before it begins: after a crash it says whose work the lock and the leftovers are."""

from __future__ import annotations

import calendar
import contextlib
import dataclasses
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline import jsontext
from pipeline.errors import Locked
from pipeline.provision.process import leads, marked
from pipeline.provision.root import Root
from pipeline.records import actor
from pipeline.tools import private
from pipeline.tools.terraform_errors import Lock

SOON = 120.0  # seconds after its begin in which a run of ours has taken the state's lock, if it ever did


@dataclass(frozen=True)
class Begun:
    """One run: `doing` is plan or apply, `who` is who the tool says it is, `changes` are (address, action). `machine` is where its
    processes can be looked for."""

    run: str
    doing: str
    at: float
    who: str
    machine: str = ""
    changes: tuple[tuple[str, str], ...] = ()

    @property
    def alive(self) -> bool:
        """Whether its tool is still at work, though we may not be."""
        return any(leads(pid) for pid in marked(self.run))

    @property
    def since(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.at))

    def holds(self, lock: Lock) -> bool:
        """Whether that lock was taken by this run: by its name and its time, both as the tool writes them (UTC)."""
        with contextlib.suppress(ValueError):
            seconds = calendar.timegm(time.strptime(lock.created[:19], "%Y-%m-%d %H:%M:%S")) - self.at
            return lock.who == self.who and lock.doing == self.doing and -2.0 < seconds < SOON
        return False

    def sweep(self) -> None:
        """End the providers that a dead run has left behind: nobody hears their answers any more."""
        for pid in marked(self.run):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def begun(run: str, doing: str, at: float, changes: tuple[tuple[str, str], ...] = ()) -> Begun:
    """The note of a run that begins here and now."""
    return Begun(run, doing, at, actor(), machine(), changes)


def file(root: Root, doing: str) -> Path:
    """A plan changes nothing: its note does not hide that of an apply."""
    return root.home / ("planning.json" if doing == "plan" else "begun.json")


def read(root: Root, doing: str) -> Begun | None:
    """The note that is there; None where there is none, or half of one, which nothing followed."""
    try:
        found = jsontext.loads(file(root, doing).read_text())
        return Begun(**{**found, "changes": tuple((address, action) for address, action in found["changes"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def begin(root: Root, begun: Begun) -> Begun:
    """Write the note. Raises Locked where another run of this working copy is still at work."""
    if (other := read(root, begun.doing)) and other.alive:
        raise at_work(other)
    private.write(file(root, begun.doing), json.dumps(dataclasses.asdict(begun)))
    return begun


def end(root: Root, begun: Begun) -> None:
    """It ended in order: the note is not needed any more."""
    if read(root, begun.doing) == begun:
        file(root, begun.doing).unlink(missing_ok=True)


def at_work(begun: Begun) -> Locked:
    what = f"{begun.doing} of this working copy has been at work since {begun.since}"
    pids = " ".join(map(str, marked(begun.run)))
    return Locked(what, cause=f"run {begun.run}, processes {pids}", mend="wait until it is done, then inv infra.plan says what there is")


def machine() -> str:
    """This machine since it last started, and the processes of it that can be seen from here; "" where that is not told."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
