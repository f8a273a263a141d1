"""A machine of the lab is a set of namespaces held by one process: kill that process and the whole machine is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.lab.layout import NODE, Lab, write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Machine:
    """`name` is also its hostname; an `isolated` machine has its own network and its own /var/lib and /var/log."""

    lab: Lab
    name: str
    isolated: bool = False

    @property
    def record(self) -> Path:
        return self.lab.state / "run" / f"{self.name}.machine"

    @property
    def pid(self) -> int:
        """The process that holds the machine, 0 if it does not run."""
        return recorded(self.record)

    def start(self) -> None:
        """Make the machine if it does not run. Raises PipelineError."""
        if self.pid:
            return
        hosts = [str(self.lab.state / "etc" / "hosts")] if self.isolated else []
        argv = ["unshare", "--mount", "--pid", "--uts", "--ipc", *(["--net"] if self.isolated else []), "--fork", "--mount-proc",
                "--kill-child=KILL", "--", sys.executable, "-I", "-S", str(Path(__file__).with_name("init.py")),
                str(self.lab.state), self.name, "isolate" if self.isolated else "share", *hosts]  # fmt: skip
        log = self.lab.log(f"machine-{self.name}")
        with log.open("ab") as out:
            outer = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=out, env=self.lab.mark(), start_new_session=True
            )
        assert outer.stdout is not None  # noqa: S101  # PIPE was asked for
        with outer.stdout:
            ready = outer.stdout.readline()
        inner = children(outer.pid)
        outer.returncode = 0  # it outlives us: nobody waits for it
        if ready != b"ready\n" or len(inner) != 1:
            raise PipelineError(
                f"the lab machine {self.name} did not start", cause=tail(log), log=str(log),
                mend="the lab needs root with CAP_SYS_ADMIN, and a kernel with namespaces",
            )  # fmt: skip
        remember(self.record, inner[0])

    def argv(self, command: Sequence[str]) -> list[str]:
        """The argv that runs `command` inside. Raises PipelineError when the machine does not run."""
        if not (pid := self.pid):
            raise PipelineError(f"the lab machine {self.name} does not run", mend="inv lab.up")
        return ["nsenter", "-t", str(pid), "-m", "-u", "-i", "-n", "-p", "--", *command]

    def run(self, command: Sequence[str], *, stdin: str = "", env: Mapping[str, str] | None = None, timeout: float = 60) -> str:
        """Run a command inside to its end, give its stdout. Raises PipelineError with the last lines of stderr."""
        done = subprocess.run(
            self.argv(command), input=stdin, capture_output=True, text=True, timeout=timeout, check=False,
            env={**self.lab.mark(), **(env or {})},
        )  # fmt: skip
        if done.returncode:
            raise PipelineError(
                f"{command[0]} failed with code {done.returncode} on the lab machine {self.name}",
                cause="\n".join((done.stderr or done.stdout).strip().splitlines()[-10:]),
            )
        return done.stdout

    def kill(self) -> None:
        """End the machine and everything in it."""
        if pid := self.pid:
            end(pid, signal.SIGKILL)
        self.record.unlink(missing_ok=True)


def machines(lab: Lab) -> tuple[Machine, Machine, Machine]:
    """Build host, registry (and database) host, cluster node."""
    return Machine(lab, "haskelseed"), Machine(lab, "coulombcore"), Machine(lab, NODE, isolated=True)


def started(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 if there is no such process or it is dead already."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def remember(record: Path, pid: int) -> None:
    """Write down which process it is: number, start time and boot, so that a number used again is not mistaken for it."""
    write(record, json.dumps({"pid": pid, "started": started(pid), "boot": _boot()}))


def recorded(record: Path) -> int:
    """The number of the recorded process if that very process is alive, else 0."""
    try:
        value = json.loads(record.read_text())
    except (OSError, ValueError):
        return 0
    alive = value["started"] != 0 and value["boot"] == _boot() and started(value["pid"]) == value["started"]
    return int(value["pid"]) if alive else 0


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def children(pid: int) -> list[int]:
    """The direct children of a process."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def end(pid: int, number: signal.Signals, wait: float = 10) -> bool:
    """Send the signal and wait until the process is gone, at most `wait` seconds; True if it is gone."""
    begun = started(pid)
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return True
    deadline = time.monotonic() + wait
    while begun and started(pid) == begun:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def tail(log: Path, lines: int = 10) -> str:
    """The last lines of a log, as evidence."""
    try:
        text = log.read_bytes()[-16384:].decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])
