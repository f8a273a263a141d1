"""What one look at one dependency gave: a status, the evidence, and the lines that mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipeline.doctor.fix import Fix, trust
from pipeline.errors import (
    AuthError,
    ConfigError,
    HostKeyError,
    IntegrityError,
    Locked,
    PipelineError,
    ResourceError,
    Transient,
)
from pipeline.verify.parallel import at_once

LIMIT = 10.0  # seconds for one check
UP = "is it up, and is its address in the site file right? then run again"
# what a person has to decide comes before what a person has to write, and that before what may pass by itself
WORST = (
    HostKeyError.exit_code,
    IntegrityError.exit_code,
    AuthError.exit_code,
    ConfigError.exit_code,
    ResourceError.exit_code,
    Locked.exit_code,
    Transient.exit_code,
)


class Status(StrEnum):
    """`unknown` is a check that could not be made: it says nothing, neither good nor bad."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """`where` is the node, `name` what of it was looked at. `code` is the exit code of a failure's class, 0 where nothing failed; `fix` is
    what the doctor itself may do about it."""

    where: str
    name: str
    status: Status
    evidence: str
    mend: str = ""
    code: int = 0
    fix: Fix | None = None


@dataclass(frozen=True)
class Check:
    """One question to one node: `ask` gives verdicts or raises; a PipelineError becomes a failure under `name`."""

    where: str
    name: str
    ask: Callable[[], Iterable[Verdict]]
    seconds: float = LIMIT


def ok(where: str, name: str, evidence: str) -> Verdict:
    return Verdict(where, name, Status.OK, evidence)


def warn(where: str, name: str, evidence: str, mend: str) -> Verdict:
    return Verdict(where, name, Status.WARN, evidence, mend)


def fail(where: str, name: str, evidence: str, mend: str, kind: type[PipelineError] = ConfigError, fix: Fix | None = None) -> Verdict:
    return Verdict(where, name, Status.FAIL, evidence, mend, kind.exit_code, fix)


def unknown(where: str, name: str, evidence: str, mend: str = "") -> Verdict:
    return Verdict(where, name, Status.UNKNOWN, evidence, mend)


def broken(where: str, name: str, error: Exception) -> Verdict:
    """The verdict that an exception means: a failure where it is one of ours, else that nothing is known."""
    if isinstance(error, PipelineError):
        evidence = "\n".join(filter(None, (error.what, error.cause)))
        mend = error.mend or (UP if isinstance(error, Transient) else "")
        offer = error.offer if isinstance(error, HostKeyError) else None
        return Verdict(where, name, Status.FAIL, evidence, mend, error.exit_code, trust(*offer) if offer else None)
    return unknown(where, name, f"the check itself broke: {type(error).__name__}: {error}", "this is a defect of the doctor: report it")


def ask_all(checks: Sequence[Check]) -> list[Verdict]:
    """The verdicts of all checks, asked side by side, in the order of the checks. Never raises for what a check does."""

    def ask(check: Check) -> list[Verdict]:
        given: list[Verdict] = []
        answer = at_once([lambda: given.extend(check.ask())], check.seconds)[0]
        said = list(given)  # what a check that breaks, or goes on for too long, had said before counts
        return [*said, broken(check.where, "the rest" if said else check.name, answer)] if isinstance(answer, Exception) else said

    longest = max((check.seconds for check in checks), default=0.0)
    answers = at_once([lambda check=check: ask(check) for check in checks], longest + 1)  # type: ignore[misc]  # mypy cannot infer it
    found: list[Verdict] = []
    for check, answer in zip(checks, answers, strict=True):
        found += [broken(check.where, check.name, answer)] if isinstance(answer, Exception) else answer
    return found


def exit_code(verdicts: Iterable[Verdict]) -> int:
    """0 where nothing failed, else the exit code of the worst failure (see WORST)."""
    codes = {verdict.code for verdict in verdicts if verdict.status is Status.FAIL}
    return next((code for code in WORST if code in codes), max(codes, default=0))
