"""The live view as a picture: recorded events drawn as SVG, for a page that shows what a run looks like."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable

from pipeline.events import Event
from pipeline.report.frame import frame, summary
from pipeline.report.live import text
from pipeline.report.progress import Progress, after


def picture(events: Iterable[Event], width: int = 80, *, at: float | None = None, title: str = "inv release") -> str:
    """SVG of the view, `width` columns wide: `at` seconds after the start, or the summary that the run ends with.

    Equal events give equal bytes, and nothing in it is loaded from elsewhere.
    """
    from rich.console import Console

    progress, now = Progress(), 0.0
    for event in events:
        if at is not None and progress.since and event.at > progress.since + at:
            break
        progress, now = after(progress, event), event.at
    lines = summary(progress, now, width) if at is None else frame(progress, progress.since + at, width)
    console = Console(record=True, file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor", legacy_windows=False)
    console.print(text(lines))
    drawn = console.export_svg(title=title, unique_id="view")
    return re.sub(r"\s*@font-face \{[^}]*\}", "", drawn)  # rich's own font, from a server of others
