"""Where a run stands: events folded, one by one, into a row a stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from pipeline.artifacts import Artifact, from_json
from pipeline.errors import PipelineError
from pipeline.events import Event, What
from pipeline.report.words import told

KEPT = 12  # lines of a tool's output that are remembered


class State(StrEnum):
    """How far a stage is."""

    PENDING = "pending"
    LOOKING = "looking"
    FOUND = "found"
    ACTING = "acting"
    MADE = "made"
    FAILED = "failed"


@dataclass(frozen=True)
class Row:
    """One stage. `text` is what it does now or what came of it, `since` when it began (wall seconds), `seconds` what it took,
    `usual` what it took before; `trouble` says that an attempt failed."""

    stage: str
    state: State = State.PENDING
    text: str = ""
    since: float = 0.0
    seconds: float | None = None
    usual: float | None = None
    trouble: bool = False

    @property
    def active(self) -> bool:
        return self.state in (State.LOOKING, State.ACTING)


@dataclass(frozen=True)
class Progress:
    """A run: its rows in order, the last lines of the tool at work and whose they are, warnings, how it ended."""

    title: str = ""
    since: float = 0.0
    rows: tuple[Row, ...] = ()
    log: tuple[str, ...] = ()
    log_stage: str = ""
    warnings: tuple[tuple[str, str], ...] = ()
    failure: Mapping[str, Any] | None = None
    failed_stage: str = ""
    ended: str = ""
    seconds: float | None = None

    @property
    def changed(self) -> bool:
        """Whether a stage other than verify, which always acts, made anything or tried to."""
        return any(row.state in (State.ACTING, State.MADE, State.FAILED) and row.stage != "verify" for row in self.rows)


def after(progress: Progress, event: Event) -> Progress:
    """`progress` once `event` has happened."""
    if not progress.since:
        progress = replace(progress, since=event.at)
    data = event.data
    match event.what:
        case What.PLAN:
            usual = data.get("usual") or {}
            rows = tuple(Row(stage, usual=usual.get(stage)) for stage in data.get("stages", ()))
            return Progress(title=event.text, since=event.at, rows=rows, warnings=progress.warnings)
        case What.DONE:
            return replace(progress, ended=event.text, seconds=_number(data.get("seconds")) or event.at - progress.since)
        case What.WARN:
            return replace(progress, warnings=(*progress.warnings, (event.stage, event.text)))
        case What.LOG:
            before = progress.log[1 - KEPT :] if progress.log_stage == event.stage else ()
            return replace(progress, log=(*before, event.text), log_stage=event.stage)
        case What.FAILED:
            progress = replace(progress, failure=failure(event), failed_stage=event.stage)
    if event.stage and not any(row.stage == event.stage for row in progress.rows):
        progress = replace(progress, rows=(*progress.rows, Row(event.stage)))
    rows = tuple(_row(row, event) if row.stage == event.stage else row for row in progress.rows)
    return replace(progress, rows=rows)


def failure(event: Event) -> dict[str, Any]:
    """What a FAILED event says of its error: error, kind, exit_code, cause, mend, log, attempts, as far as it does."""
    error = event.data.get("error")
    if isinstance(error, PipelineError):
        names = ("kind", "exit_code", "cause", "mend", "log", "attempts")
        return {"error": error.what, **{name: getattr(error, name) for name in names}}
    return dict(error) if isinstance(error, Mapping) else {"error": str(error or event.text)}


def artifact_of(event: Event) -> Artifact | None:
    """The artifact an event is about, also where the event was read back from JSON."""
    found = event.data.get("artifact")
    if isinstance(found, Mapping):
        try:
            return from_json(dict(found))
        except (KeyError, TypeError, ValueError):
            return None  # of a newer version than this one: the event's text still tells it
    return found if isinstance(found, Artifact) else None


def _row(row: Row, event: Event) -> Row:
    artifact = artifact_of(event)
    since = row.since or event.at
    match event.what:
        case What.LOOK:
            return replace(row, state=State.LOOKING, text=event.text, since=since)
        case What.ACT:
            usual = _number(event.data.get("usual"))
            return replace(row, state=State.ACTING, text=event.text, since=since, usual=row.usual if usual is None else usual)
        case What.WAIT:
            again = row.state in (State.FOUND, State.MADE)  # it is being taken back: what it made is no longer what is
            state = row.state if row.active else State.ACTING
            return replace(row, state=state, text=event.text, since=event.at if again else since, trouble=again or row.trouble)
        case What.RETRY:
            return replace(row, state=row.state if row.active else State.LOOKING, text=event.text, since=since, trouble=True)
        case What.FOUND:
            seconds = event.at - since if row.since else None
            return replace(row, state=State.FOUND, text=told(artifact) if artifact else event.text, since=since, seconds=seconds)
        case What.MADE:
            seconds = _number(event.data.get("seconds"))
            took = event.at - since if seconds is None else seconds
            return replace(row, state=State.MADE, text=told(artifact) if artifact else event.text, seconds=took, trouble=False)
        case What.FAILED:
            return replace(row, state=State.FAILED, text=event.text, seconds=event.at - since)
    return row


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
