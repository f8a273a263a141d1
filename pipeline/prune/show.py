"""What went and what stayed, as a table for a person and as rows for a machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipeline.prune.decide import Row


def rows(known: Sequence[Row]) -> list[dict[str, Any]]:
    """Each row as plain JSON values."""
    return [{"kind": row.kind, "name": row.name, "goes": not row.why, "why": row.why} for row in known]


def table(known: Sequence[Row], *, dry: bool) -> str:
    """What goes, then what stays with the reason, then the count of each kind."""
    words = ("would go", "stays") if dry else ("gone", "stays")
    kinds, width = max((len(row.kind) for row in known), default=0), max((len(row.name) for row in known), default=0)
    ordered = sorted(known, key=lambda row: bool(row.why))
    lines = [f"{words[bool(row.why)]:<8}  {row.kind:<{kinds}}  {row.name:<{width}}  {row.why}".rstrip() for row in ordered]
    gone, stays = Counter(row.kind for row in known if not row.why), Counter(row.kind for row in known if row.why)
    counts = [f"{kind}s: {gone[kind]} {words[0]}, {stays[kind]} stay" for kind in dict.fromkeys(row.kind for row in known)]
    return "\n".join([*lines, "; ".join(counts) or "there is nothing of this release, so nothing goes"])
