"""The verdicts as a table for a person and as rows for a machine."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipeline.doctor.verdict import Status, Verdict
from pipeline.safe import clean

LINES = 6  # of evidence
COLOURS = {Status.OK.value: "32", Status.WARN.value: "33", Status.FAIL.value: "1;31", Status.UNKNOWN.value: "36"}  # as `say` takes them


def rows(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Each verdict as plain JSON values."""
    return [
        {field.name: getattr(verdict, field.name) for field in dataclasses.fields(verdict) if field.name != "fix"}
        | {"status": verdict.status.value}
        | ({"fix": verdict.fix.does} if verdict.fix else {})
        for verdict in verdicts
    ]


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts, those of a node together: one line for what is well, evidence and mend below what is not; and the counts."""
    nodes = list(dict.fromkeys(verdict.where for verdict in verdicts))
    verdicts = sorted(verdicts, key=lambda verdict: nodes.index(verdict.where))
    width = max((len(verdict.name) for verdict in verdicts), default=0)
    lines: list[str] = []
    where = ""
    for verdict in verdicts:
        if verdict.where != where:
            where = verdict.where
            lines += ["", where] if lines else [where]
        first, *more = verdict.evidence.splitlines()[:LINES] or [""]
        lines.append(f"  {verdict.status:<8}{verdict.name:<{width}}  {first}".rstrip())
        lines += [f"  {'':<8}{'':<{width}}  {line}".rstrip() for line in more]
        lines += [f"  {'':<8}{'mend' if number == 0 else '':<{width}}  {line}" for number, line in enumerate(verdict.mend.splitlines())]
    counts = Counter(verdict.status for verdict in verdicts)
    words = {Status.OK: "ok", Status.WARN: "to be looked at", Status.FAIL: "failed", Status.UNKNOWN: "unknown"}
    lines += ["", ", ".join(f"{counts[status]} {word}" for status, word in words.items() if counts[status]) or "nothing to look at"]
    return "\n".join(map(clean, lines))
