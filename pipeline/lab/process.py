"""A service is one long-running program on a lab machine, known by process number and start time, with a log of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.lab.machine import Machine, children, end, recorded, remember, started, tail

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Service:
    """`argv` runs on `machine` with `env` added; `user` drops root for a user's name or number (gid the same)."""

    machine: Machine
    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    cwd: str = "/"

    @property
    def record(self) -> Path:
        return self.machine.lab.state / "run" / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        return self.machine.lab.log(self.name)

    @property
    def pid(self) -> int:
        """Its process number, 0 if it does not run."""
        return recorded(self.record)

    def start(self) -> None:
        """Start it, detached, if it does not run."""
        if self.pid:
            return
        inner = [*drop(self.user), *self.argv]
        with self.log.open("ab") as out:
            process = subprocess.Popen(
                self.machine.argv(inner), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd=self.cwd,
                env={**self.machine.lab.mark(), **self.env},
            )  # fmt: skip
        remember(self.record, _program(process))
        process.returncode = 0  # it outlives us: nobody waits for it

    def stop(self, wait: float = 5) -> None:
        """End it and its process group: asked first, then killed."""
        if pid := self.pid:
            try:
                leader = os.getpgid(pid)
            except ProcessLookupError:
                leader = pid
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(leader, number)
                if end(pid, number, wait) and end(leader, number, wait):
                    break
            _reap(leader)
        self.record.unlink(missing_ok=True)

    def until(self, ready: Callable[[], str], seconds: float) -> None:
        """Wait until `ready` gives "" (else it says what is missing). Raises PipelineError with the log's last lines."""
        deadline = time.monotonic() + seconds
        missing = ready()
        while missing:
            pid = self.pid
            if not pid or time.monotonic() > deadline:
                why = f"did not become ready in {seconds:.0f} s: {missing}" if pid else "ended at once"
                raise PipelineError(
                    f"{self.name} on the lab machine {self.machine.name} {why}", cause=tail(self.log), log=str(self.log),
                    mend="read the log, then inv lab.up again (or inv lab.down first)",
                )  # fmt: skip
            time.sleep(0.05)
            missing = ready()


def drop(user: str) -> list[str]:
    """The argv prefix that gives up root for `user`; empty for root."""
    groups = ["--clear-groups"] if user.isdigit() else ["--init-groups"]
    return ["setpriv", "--reuid", user, "--regid", user, *groups, "--"] if user else []


def answers_tcp(address: str, port: int) -> str:
    """ "" if something accepts a connection, else what happened."""
    try:
        with socket.create_connection((address, port), timeout=2):
            return ""
    except OSError as error:
        return f"{address}:{port}: {error.strerror or error}"


def answers_ssh(address: str, port: int) -> str:
    """ "" if an SSH server greets, else what happened."""
    try:
        with socket.create_connection((address, port), timeout=2) as peer:
            greeting = peer.recv(4)
    except OSError as error:
        return f"{address}:{port}: {error.strerror or error}"
    return "" if greeting == b"SSH-" else f"{address}:{port} does not speak SSH"


def answers_http(url: str) -> str:
    """ "" if the page answers with 200, else what happened. Asks without any proxy: the lab is on this machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2):
            return ""
    except urllib.error.HTTPError as error:
        return f"{url}: {error.code}"
    except OSError as error:
        return f"{url}: {error}"


def _program(started_by: subprocess.Popen[bytes]) -> int:
    """The program itself, not the nsenter that entered the machine for it and waits: that one may die and the program serve on."""
    deadline = time.monotonic() + 5
    while not (found := children(started_by.pid)) and started(started_by.pid) and time.monotonic() < deadline:
        time.sleep(0.002)
    return found[0] if found else started_by.pid


def _reap(pid: int) -> None:
    """Collect the process if it was a child of ours; a child of an earlier run belongs to init."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def alive(service: Service) -> bool:
    """Whether this very process runs."""
    return bool(service.pid) and started(service.pid) != 0
