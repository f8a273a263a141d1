"""The faces of a run: a live view on a terminal, plain lines in a pipe, JSON lines on request, all from the same events."""

from __future__ import annotations

import os
from typing import Literal, Protocol, TextIO, cast

from pipeline.events import Event
from pipeline.report.steady import Steady

Mode = Literal["auto", "live", "plain", "json"]


class Face(Protocol):
    """A sink that has to be closed, which ends the view. `explained` says whether it has told an error in full."""

    explained: bool

    def __call__(self, event: Event) -> None: ...

    def close(self) -> None: ...


def sink_for(mode: Mode, stream: TextIO) -> Face:
    """The face for `stream`: `auto` is live on a terminal that can move its cursor, and plain elsewhere. Only that one is imported.

    Nothing that goes wrong with the stream is raised: see Steady.
    """
    stream = cast("TextIO", Steady(stream))
    if mode == "auto":
        mode = "live" if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" else "plain"
    if mode == "live":
        from pipeline.report.live import LiveSink

        return LiveSink(stream)
    if mode == "json":
        from pipeline.report.jsonl import JsonSink

        return JsonSink(stream)
    from pipeline.report.plain import PlainSink

    return PlainSink(stream)
