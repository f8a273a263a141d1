"""Every error a user can meet, as one tree.

PipelineError
├── ConfigError          2    the blueprint, the command line or an input is wrong
├── Transient            10   a fault that passes: refused, reset, timed out, 5xx
│   ├── RateLimited      10   the peer named a time to wait
│   ├── Expired          10   the stage has waited as long as the blueprint lets it
│   └── Ambiguous        10   a write whose outcome is unknown: read back first
├── AuthError            11   credentials missing or refused
├── HostKeyError         12   an SSH host key is unknown or has changed
├── Locked               13   somebody else holds the lock
├── IntegrityError       14   content is not what its name says
│   └── Drifted          14   `find` after `make` gave another artifact
├── BuildError           15   the build itself failed
├── RolledBack           16   the deploy failed, the old release serves
├── NotRolledBack        17   the deploy failed, the old release was not restored
├── VerifyError          18   what runs is not what was asked for
├── ResourceError        19   disk, memory, file handles
├── Unknown              20   a tool failed, and its words are not known here
└── Cancelled            130 / 143   SIGINT / SIGTERM
"""

from __future__ import annotations

import re
from typing import ClassVar

# what a terminal obeys, or what turns the order of letters around: C0 but tab, DEL, C1, bidi controls; and lone surrogates, which no
# stream can write
HOSTILE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class PipelineError(Exception):
    """What failed, why, and what to do next.

    `what` is one sentence about the failure, `cause` the evidence as the tool gave it (at most a few lines), `mend` the
    next thing a person should do, `log` where the whole story is. `stage` and `attempts` are filled in by the runner.
    """

    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "ERROR"

    def __init__(self, what: str, *, cause: str = "", mend: str = "", log: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.cause = cause
        self.mend = mend
        self.log = log
        self.stage = ""
        self.attempts = 1

    def __str__(self) -> str:
        return self.what


class ConfigError(PipelineError):
    """The blueprint, the command line or an input is wrong: nothing was touched, retrying is no use."""

    exit_code = 2
    kind = "CONFIG"


class Transient(PipelineError):
    """A fault that passes by itself: the runner tries again."""

    exit_code = 10
    kind = "TRANSIENT"


class RateLimited(Transient):
    """The peer asked for patience: `retry_after` seconds, a floor that is never shortened."""

    kind = "RATE"

    def __init__(self, what: str, *, retry_after: float, cause: str = "", mend: str = "", log: str = "") -> None:
        super().__init__(what, cause=cause, mend=mend, log=log)
        self.retry_after = retry_after


class Expired(Transient):
    """A fault that did not pass while the stage itself waited for it, until its own deadline: not tried again."""


class Ambiguous(Transient):
    """A write whose outcome is unknown; the runner looks before it tries again."""

    kind = "AMBIGUOUS"


class AuthError(PipelineError):
    """Credentials are missing, wrong or lack a scope. Never retried: accounts lock."""

    exit_code = 11
    kind = "AUTH"


class HostKeyError(PipelineError):
    """An SSH host key is unknown or differs from the one on file. Of one that is only not known, `offer` is (file, line, fingerprint):
    the line that makes it known, once a person has compared the fingerprint."""

    exit_code = 12
    kind = "HOSTKEY"
    offer: tuple[str, str, str] | None = None


class Locked(PipelineError):
    """Somebody else is at work; `mend` says who, since when and how to wait."""

    exit_code = 13
    kind = "CONFLICT"


class IntegrityError(PipelineError):
    """Content does not match its name: a truncated archive, another digest, a moved tag."""

    exit_code = 14
    kind = "INTEGRITY"


class Drifted(IntegrityError):
    """A stage acted, and looking again showed something else than it made."""


class BuildError(PipelineError):
    """The build ran and failed; its log is named."""

    exit_code = 15
    kind = "BUILD"


class RolledBack(PipelineError):
    """The new release failed and the old one was restored: users see the old version."""

    exit_code = 16
    kind = "DEPLOY"


class NotRolledBack(PipelineError):
    """The new release failed and nothing was restored: somebody has to look now."""

    exit_code = 17
    kind = "DEPLOY"


class VerifyError(PipelineError):
    """What runs is not what was released, or does not answer as the blueprint says."""

    exit_code = 18
    kind = "VERIFY"


class ResourceError(PipelineError):
    """Out of disk, memory or file handles; `mend` says how much is needed and where."""

    exit_code = 19
    kind = "RESOURCE"


class Unknown(PipelineError):
    """A tool failed, and what it said is not known here: it is shown as it is, and nothing is tried again."""

    exit_code = 20
    kind = "UNKNOWN"


class Cancelled(PipelineError):
    """Stopped by a signal; `exit_code` is 128 + the signal's number."""

    kind = "CANCELLED"

    def __init__(self, what: str, *, signal: int = 2) -> None:
        super().__init__(what, mend="run it again: what was done is found, not done twice")
        self.exit_code = 128 + signal  # type: ignore[misc]  # the one error whose code depends on its cause


def explain(error: PipelineError) -> str:
    """The error as a person reads it: stage, what, cause and class, attempts, mend, log.

    Control characters of a tool's output are shown as they would be written, and no text can pass for the head or for another line.
    """
    head = f"{error.stage}: {error.what}" if error.stage else error.what
    tries = f", {error.attempts} attempts" if error.attempts > 1 else ""
    lines = [f"{head}  [{error.kind}, exit {error.exit_code}{tries}]"]
    if error.cause:
        lines += [f"  cause  {line}" for line in error.cause.strip().splitlines()[-10:]]
    if error.mend:
        lines += [f"  mend   {line}" for line in error.mend.strip().splitlines()]
    if error.log:
        lines.append(f"  log    {error.log}")
    return "\n".join(HOSTILE.sub(lambda found: ascii(found[0])[1:-1], line) for line in lines)
