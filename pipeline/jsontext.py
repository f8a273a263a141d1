"""JSON that somebody else has written: whatever is wrong with it is a ValueError."""

from __future__ import annotations

import json
from typing import Any

DIGITS = 30  # of a whole number; more than any that is meant, and few enough for every calculation


def loads(text: str | bytes) -> Any:
    """Return what JSON says. Raise ValueError for what is none, is nested too deep, or has a number that nothing can calculate with."""
    try:
        return json.loads(text, parse_int=_whole, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _whole(text: str) -> int:
    return int(text) if len(text) <= DIGITS else _refuse(text)


def _refuse(text: str) -> int:
    raise ValueError(f"it has a number that is none: {text[:20]}")
