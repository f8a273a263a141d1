"""The live view as lines of styled text: a pure function of where the run stands, the time and the width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pipeline.report.progress import Progress, Row, State
from pipeline.report.words import duration
from pipeline.safe import cells, clean, cut, lines, wrap


class Span(NamedTuple):
    """Text in one of the styles of STYLES."""

    text: str
    style: str = ""


Line = list[Span]

STYLES = {  # name -> the SGR code it has on a terminal; rich reads the names of the same colours from RICH
    "": "",
    "strong": "1",
    "dim": "2",
    "good": "32",
    "kept": "36",
    "busy": "33",
    "bad": "1;31",
    "warn": "33",
}
RICH = {"": "", "strong": "bold", "dim": "dim", "good": "green", "kept": "cyan", "busy": "yellow", "bad": "bold red", "warn": "yellow"}
GLYPHS = {
    State.PENDING: ("○", "dim"),
    State.LOOKING: ("◌", "busy"),
    State.FOUND: ("=", "kept"),
    State.ACTING: ("●", "busy"),
    State.MADE: ("✓", "good"),
    State.FAILED: ("✗", "bad"),
}
UNDONE = ("!", "warn")  # at the end still at work: taken back, or left as it is
ASCII = str.maketrans({"○": ".", "◌": "?", "●": "*", "✓": "+", "✗": "x", "│": "|", "…": "~", "→": ">", "·": "-"})
ROOMY = 64  # columns from which on there is room to say how long a stage usually takes
TAIL = 4  # lines of the tool at work


def frame(progress: Progress, now: float, width: int) -> list[Line]:
    """The view while the run goes on, no line wider than `width`."""
    reached = _reached(progress)
    found = _head(progress, now, width)
    for number, row in enumerate(progress.rows):
        if row.state is State.PENDING and number < reached:
            row = replace(row, usual=None)  # a later stage was there already: this one will hardly be needed
        found += _stage(row, progress, now, width)
    return found


def summary(progress: Progress, now: float, width: int) -> list[Line]:
    """What stays on the screen when the run has ended: the stages that were asked, how it ended, and in a failure everything about it."""
    settled = [replace(row, state=State.PENDING) if row.state is State.LOOKING else row for row in progress.rows]  # nobody waits for it
    progress = replace(progress, rows=tuple(settled))
    reached = _reached(progress)
    rows = enumerate(progress.rows)
    asked = [row for number, row in rows if row.state is not State.PENDING or (progress.failure and number > reached)]
    found: list[Line] = [_row(row, now, width, ended=True) for row in asked]
    if progress.failure:
        if progress.log and progress.log_stage == progress.failed_stage:
            found += [[], *(_quoted(line, width) for line in progress.log[-10:])]
        found += [[], *explained(progress.failure, progress.failed_stage, width)]
    elif progress.ended:
        changed = any(row.state is State.MADE for row in asked)
        glyph, style = GLYPHS[State.MADE if changed else State.FOUND]
        right = duration(progress.seconds or 0.0)
        found.append(_sides([Span(f"{glyph} ", style), Span(clean(progress.ended), "strong")], Span(right, "dim"), width))
    return found


def warning(stage: str, text: str, width: int) -> list[Line]:
    """A warning, whole, over as many lines as it needs."""
    label = f"! {clean(stage):<8} " if stage else "! "
    return _hanging(Span(label, "warn"), clean(text), width)


def explained(failure: Mapping[str, Any], stage: str, width: int) -> list[Line]:
    """An error as errors.explain tells it, wrapped to `width` but for the path of the log."""
    tries = f", {failure['attempts']} attempts" if failure.get("attempts", 1) > 1 else ""
    kind = f"  [{failure.get('kind', 'ERROR')}, exit {failure.get('exit_code', 1)}{tries}]"
    what = clean(f"{failure.get('error', '')}")
    head = _hanging(Span(f"{clean(stage)}: " if stage else "", "bad"), what + kind, width, "strong")
    found = head
    for line in lines(str(failure.get("cause", "")).strip())[-10:]:
        found += _hanging(Span("  cause  ", "dim"), line, width) if line else []
    for line in lines(str(failure.get("mend", "")).strip()):
        found += _hanging(Span("  mend   ", "good"), line, width, "strong") if line else []
    if failure.get("log"):
        found.append([Span("  log    ", "dim"), Span(clean(str(failure["log"])))])  # not wrapped: a path is there to be copied
    return found


def plain(line: Line) -> str:
    """The line's text alone."""
    return "".join(span.text for span in line).rstrip()


def coloured(line: Line) -> str:
    """The line with SGR codes, for a terminal that rich is not worth loading for."""
    return "".join(f"\x1b[{STYLES[span.style]}m{span.text}\x1b[0m" if STYLES[span.style] else span.text for span in line).rstrip()


def _reached(progress: Progress) -> int:
    """The number of the last stage that anything is known of. Stages before it that nobody asked were not needed."""
    return max((number for number, row in enumerate(progress.rows) if row.state is not State.PENDING), default=0)


def _head(progress: Progress, now: float, width: int) -> list[Line]:
    if not progress.title:
        return []
    return [_sides([Span(clean(progress.title), "strong")], Span(duration(now - progress.since), "dim"), width)]


def _stage(row: Row, progress: Progress, now: float, width: int) -> list[Line]:
    found = [_row(row, now, width)]
    if row.active and row.stage == progress.log_stage:
        found += [_quoted(line, width) for line in progress.log[-TAIL:]]
    return found


def _row(row: Row, now: float, width: int, *, ended: bool = False) -> Line:
    glyph, style = UNDONE if ended and row.state is State.ACTING else GLYPHS[row.state]
    text, tone = clean(row.text), "busy" if row.trouble and row.active else ""
    if row.state is State.PENDING:
        text, tone = "not reached" if ended else "", "dim"
    elif row.state is State.FOUND:
        tone = "dim"
    name = Span(f"{clean(row.stage):<8} ", "dim" if row.state is State.PENDING else "strong")
    left = [Span(f"{glyph} ", style), name, Span(text, tone)]
    right = _time(row, now, width, ended)
    if row.active and sum(cells(span.text) for span in left) + 2 + cells(right.text) > width:
        right = _time(replace(row, usual=None), now, width, ended)  # what it waits for says more than how long it usually takes
    return _sides(left, right, width)


def _time(row: Row, now: float, width: int, ended: bool) -> Span:
    usual = f"usually {duration(row.usual)}" if row.usual and width >= ROOMY and not ended else ""
    if row.state is State.PENDING:
        return Span(usual, "dim")
    if row.active:
        elapsed = duration(now - row.since)
        slow = bool(row.usual) and now - row.since > 2 * (row.usual or 0.0) + 1
        return Span(f"{elapsed}, {usual}" if usual else elapsed, "warn" if slow else "dim")
    return Span("" if row.seconds is None else duration(row.seconds), "dim")


def _quoted(text: str, width: int) -> Line:
    return [Span(cut(f"  │ {clean(text)}", width), "dim")]


def _sides(left: Sequence[Span], right: Span, width: int) -> Line:
    """`left` and `right` at the two ends of a line; what does not fit is cut from the left side's last span."""
    room = width - (cells(right.text) + 2 if right.text else 0)
    used, found = 0, []
    for span in left:
        text = cut(span.text, max(0, room - used))
        used += cells(text)
        found.append(Span(text, span.style))
    if right.text:
        found += [Span(" " * (width - used - cells(right.text))), right] if used + cells(right.text) < width else []
    return found


def _hanging(label: Span, text: str, width: int, style: str = "") -> list[Line]:
    """`text` behind `label`, its further lines indented as deep."""
    deep = cells(label.text) if cells(label.text) <= width // 2 else 2
    first, *rest = wrap(text, max(10, width - cells(label.text)))
    if deep != cells(label.text):
        first, *rest = wrap(text, max(10, width - deep))
        return [[Span(cut(label.text, width), label.style)], *([Span(" " * deep), Span(line, style)] for line in (first, *rest))]
    return [[label, Span(first, style)], *([Span(" " * deep), Span(line, style)] for line in rest)]
