"""Recorded runs, and what the faces make of them as text: the golden files hold exactly this."""

from __future__ import annotations

import io
from pathlib import Path

from pipeline.events import Event
from pipeline.report.frame import frame, plain, summary
from pipeline.report.jsonl import loads
from pipeline.report.plain import PlainSink
from pipeline.report.progress import Progress, after

CASES = Path(__file__).parents[1] / "cases" / "events"
NAMES = ("cold", "noop", "failed", "undone")


def golden(name: str, view: str) -> Path:
    return CASES / f"{name}.{view}.txt"


def recorded(name: str) -> list[Event]:
    with (CASES / f"{name}.jsonl").open() as lines:
        return list(loads(lines))


def drawn(name: str, width: int, at: float | None = None) -> str:
    """The live view `at` seconds after the start, or the summary at the end."""
    events = recorded(name)
    start, progress = events[0].at, Progress()
    for event in events:
        if at is None or event.at <= start + at:
            progress = after(progress, event)
    lines = summary(progress, events[-1].at, width) if at is None else frame(progress, start + at, width)
    return "".join(plain(line) + "\n" for line in lines)


def piped(name: str) -> str:
    stream = io.StringIO()
    sink = PlainSink(stream)
    for event in recorded(name):
        sink(event)
    sink.close()
    return stream.getvalue()
