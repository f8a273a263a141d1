"""Detached work: it runs on when the connection or this process dies, and is found again by its name."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.clock import Clock, SystemClock
from pipeline.errors import ConfigError, Locked, ResourceError, Transient
from pipeline.host import Cmd, Host, OnLine, Output
from pipeline.host.scripts import script, words

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\Z")
PATIENCE = 900.0  # seconds without contact before a follower gives up; the job goes on
PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)  # seconds between tries to find the way back
CANCELLED = 143  # the exit code of a job that was ended by `cancel`
Phase = Literal["absent", "running", "finished", "died"]


@dataclass(frozen=True)
class Job:
    """Work under a `name` of its own: the same name is the same work. The values of `env` and `argv` show in process lists."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""


@dataclass(frozen=True)
class JobState:
    """`died` is a job that left no exit code: killed, or the machine was restarted. `started` is in seconds since 1970."""

    phase: Phase
    code: int | None = None
    pid: int = 0
    started: float = 0.0
    log: str = ""


def start(host: Host, job: Job) -> None:
    """Have `job` run on `host`. One that runs or has finished already is left as it is; one that died starts anew."""
    output = host.run(_cmd(host, job.name, "start", job))
    _check(host, job.name, output)


def follow(
    host: Host,
    name: str,
    on_line: OnLine,
    *,
    clock: Clock | None = None,
    offset: int = 0,
    patience: float = PATIENCE,
    notice: Callable[[str], None] = lambda _text: None,
) -> int:
    """Give the job's log from byte `offset` on to `on_line`, line by line, until the job ends; its exit code.

    A lost connection is taken up again where it was, until `patience` seconds have passed without contact; `notice` is told of it. Raises
    Transient then, or where the job died, and ConfigError where there is none.
    """
    return _Follower(host, name, on_line, clock or SystemClock(), offset, patience, notice).follow(None)


def run_detached(
    host: Host,
    job: Job,
    on_line: OnLine,
    *,
    clock: Clock | None = None,
    patience: float = PATIENCE,
    notice: Callable[[str], None] = lambda _text: None,
) -> int:
    """`start` and `follow` in one round trip, then `retire`: the next call with this name does the work again.

    Whoever calls while the work goes on joins it, and whoever calls after its caller was lost reads its end. Raises what `follow` does.
    """
    code = _Follower(host, job.name, on_line, clock or SystemClock(), 0, patience, notice).follow(job)
    retire(host, job.name)
    return code


def state(host: Host, name: str) -> JobState:
    """What has become of the job."""
    output = host.run(_cmd(host, name, "state"))
    _check(host, name, output)
    first, *rest = output.text.splitlines()
    phase, *detail = first.split()
    begun = rest[0].split() if rest else ["0", "", "", "0"]
    log = "" if phase == "absent" else log_path(host, name)
    code = int(detail[0]) if phase == "finished" else None
    return JobState(_phase(phase), code, int(begun[0]), float(begun[3]), log)


def cancel(host: Host, name: str) -> None:
    """End the job with all that it started: TERM, and KILL after 5 s. Its exit code is 143 then.

    Raises ResourceError where it does not end.
    """
    _check(host, name, host.run(_cmd(host, name, "cancel")))


def retire(host: Host, name: str) -> None:
    """Free the name of a job that has ended; its log stays at `log_path(…, ended=True)`. Raises Locked while it runs."""
    _check(host, name, host.run(_cmd(host, name, "retire")))


def forget(host: Host, name: str) -> None:
    """Remove all files of a job that has ended. Raises Locked while it runs."""
    _check(host, name, host.run(_cmd(host, name, "forget")))


def log_path(host: Host, name: str, *, ended: bool = False) -> str:
    """Where the job's log is on the host; `ended` once it was retired."""
    return f"{host.state}/jobs/{'.last/' if ended else ''}{name}/log"


class _Follower:
    """One reader of one log, through any number of connections.

    The script says after each piece how far into the log it is: `\\n<token> <offset>\\n`. A piece that ends within a line shows that as a
    line before the mark, which belongs to the next. To go on after a loss, reading starts at the last mark that stood between two
    lines, and the lines told since are skipped: the log only grows.
    """

    def __init__(
        self, host: Host, name: str, on_line: OnLine, clock: Clock, offset: int, patience: float, notice: Callable[[str], None]
    ) -> None:
        self._host = host
        self._name = name
        self._on_line = on_line
        self._clock = clock
        self._patience = patience
        self._notice = notice
        self._offset = offset
        self._told = 0  # lines since that offset, over all connections
        self._seen = 0  # lines since that offset, over this connection
        self._token = ""
        self._held: str | None = None
        self._begun = ""  # the start of a line whose end has not come
        self._end: list[str] = []
        self._contact = clock.monotonic()

    def follow(self, job: Job | None) -> int:
        tries = 0
        while True:
            contact = self._contact
            try:
                output = self._attach(job)
                if self._end:
                    return self._outcome()
                _check(self._host, self._name, output)
                raise Transient(f"the follower of job {self._name} on {self._host.name} was ended", cause=output.tail())
            except Transient as error:
                tries = 0 if self._contact > contact else tries + 1
                silent = self._clock.monotonic() - self._contact
                if self._end or silent >= self._patience:
                    raise
                self._notice(f"{error.what}; job {self._name} goes on there, taking it up again")
                self._clock.sleep(PAUSES[min(tries, len(PAUSES) - 1)])

    def _attach(self, job: Job | None) -> Output:
        self._token = secrets.token_hex(16)
        self._seen = 0
        self._held, self._begun = None, ""
        return self._host.run(_cmd(self._host, self._name, "run" if job else "follow", job, self._token, self._offset), self._line)

    def _line(self, text: str) -> None:
        self._contact = self._clock.monotonic()
        if not text.startswith(self._token + " "):
            if self._held is not None:
                self._tell(self._held)
            self._held, self._begun = self._begun + text, ""
            return
        open_line = self._held or ""
        self._held = None
        word, *rest = text.split()[1:]
        if word == "end":
            if open_line:
                self._tell(open_line)
            self._end = rest
            return
        self._begun = open_line
        if not open_line:
            self._offset = int(word)
            self._told -= self._seen
            self._seen = 0

    def _tell(self, line: str) -> None:
        self._seen += 1
        if self._seen > self._told:
            self._told = self._seen
            self._on_line(line)

    def _outcome(self) -> int:
        name, where = self._name, self._host.name
        match self._end:
            case ["finished", code]:
                return int(code)
            case ["died", "restart"]:
                raise Transient(f"{where} was restarted while job {name} ran", mend="run again: it starts anew", log=self._log)
            case ["died", *_]:
                raise Transient(
                    f"job {name} on {where} was killed",
                    mend=f"run again: it starts anew; if that does not help, see whether {where} ran out of memory: dmesg | tail",
                    log=self._log,
                )
        raise ConfigError(f"there is no job {name} on {where}")

    @property
    def _log(self) -> str:
        return f"{self._host.name}:{log_path(self._host, self._name)}"


def _cmd(host: Host, name: str, verb: str, job: Job | None = None, token: str = "", offset: int = 0) -> Cmd:
    if not NAME.match(name):
        raise ConfigError(f"{name!r} is not a name for a job", mend="use letters, digits, dots, dashes and underscores")
    work = (job.cwd, *words(Cmd(job.argv, job.env, job.cwd))) if job else ()
    argv = ("sh", "-c", script("job"), "job", verb, f"{host.state}/jobs/{name}", token, str(offset), *work)
    return Cmd(argv, timeout=math.inf if token else 60.0, keep=4096)


def _check(host: Host, name: str, output: Output) -> None:
    if output.code == 75:
        raise Locked(f"job {name} is running on {host.name}", mend="wait for it, or cancel it")
    if output.code == 73:
        raise ResourceError(
            f"job {name} could not be started in {host.state} on {host.name}",
            cause=output.tail(),
            mend=f"see whether {host.state} can be written and has room: df -h {host.state}",
        )
    if output.code == 69:
        mend = f"install util-linux on {host.name}, or a busybox that has it"
        raise ConfigError(f"{host.name} lacks what detached work needs", cause=output.tail(), mend=mend)
    if output.code == 70:
        raise ResourceError(
            f"job {name} on {host.name} does not end, not even by KILL", mend="see what it waits for: ps axo pid,stat,wchan,args"
        )
    if output.code == 127:
        raise ConfigError(f"{host.name} has no sh", cause=output.tail())


def _phase(word: str) -> Phase:
    for phase in ("absent", "running", "finished", "died"):
        if word == phase:
            return phase
    raise ValueError(word)
