"""The programs of a lab as lines of text, each column as wide as its longest word."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.lab import NodeStatus

HEAD = ("NODE", "STATE", "ADDRESS", "WHAT IT IS")


def table(nodes: Sequence[NodeStatus]) -> list[str]:
    """A line of headings and one line per program; nothing stands behind the last word of a line."""
    rows = [HEAD, *((node.name, node.state, node.address, node.what) for node in nodes)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def verdict(nodes: Sequence[NodeStatus]) -> str:
    """ "" where every program runs and answers; else what does not, and what to do about it."""
    if not nodes:
        return "there is no lab for this working copy: inv lab.up starts one"
    ill = [f"{node.name} is {node.state}" for node in nodes if node.state != "running"]
    if not ill:
        return ""
    why = "inv lab.logs --node NAME shows why (one that stays silent: inv lab.down first)"
    return f"{', '.join(ill)}: inv lab.up starts what is stopped, {why}"
