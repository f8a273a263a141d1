"""What happens, as values: the same events feed the live view, the plain lines, the JSON lines and a library's callback."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class What(StrEnum):
    """The kinds of event."""

    PLAN = "plan"  # a run starts; data: stages, usual (seconds each stage took before)
    LOOK = "look"  # a stage asks the world
    FOUND = "found"  # it is there already; data: artifact, why
    ACT = "act"  # a stage starts to make it; data: why (what is missing or changed)
    WAIT = "wait"  # what a stage is waiting for now (a live line, replaced by the next)
    LOG = "log"  # one line of a tool's output
    WARN = "warn"  # something a person should know, though the run goes on
    RETRY = "retry"  # an attempt failed, another follows; data: error, attempt, wait
    MADE = "made"  # it exists now; data: artifact, seconds
    FAILED = "failed"  # the stage gave up; data: error
    DONE = "done"  # the run ended well; data: seconds, changed


@dataclass(frozen=True)
class Event:
    """`text` is the sentence for a person, free of secrets; `data` the same facts for a machine. `at`: wall seconds since 1970."""

    what: What
    stage: str
    text: str
    at: float
    data: Mapping[str, Any] = field(default_factory=dict)


Sink = Callable[[Event], None]
