"""Text of others made harmless for a terminal and a log: nothing moves the cursor, reorders the line, or commands a CI runner."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
RUNNER = re.compile(r"##(?=\w*\[)")  # ##[group], ##vso[…], ##teamcity[…]: read wherever they stand in a line
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # control, format (bidi, zero width), surrogate, private, unassigned, separators
ELLIPSIS = "…"


def clean(text: str) -> str:
    """`text` as one line of visible characters: colours dropped, tabs widened, whatever else is not seen written as an escape."""
    text = RUNNER.sub("# #", COLOUR.sub("", text).rstrip("\r\n").expandtabs(4))
    return text if text.isprintable() else "".join(map(_shown, text))


def every_text(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with every text in it changed; artifacts and other values as they are."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: every_text(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [every_text(item, change) for item in value]
    return value


def lines(text: str) -> list[str]:
    """The lines of `text`, each clean. Only a newline ends one: an escape for any other separator stays where it is."""
    return [clean(line) for line in text.split("\n")]


def cells(text: str) -> int:
    """How many columns of a terminal `text` takes: two for a wide character, none for a combining one."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def cut(text: str, width: int) -> str:
    """`text` in at most `width` columns, with an ellipsis where something is left out."""
    if cells(text) <= width:
        return text
    return text[: _fitting(text, width - 1)] + ELLIPSIS if width > 0 else ""


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` columns, broken at spaces where there are any."""
    found, line = [], ""
    for word in re.findall(r"\S+\s*", text):
        rest = word
        while cells(line) + cells(rest.rstrip()) > width:
            if not line:
                count = max(1, _fitting(rest, width))
                line, rest = rest[:count], rest[count:]
            found.append(line.rstrip())
            line = ""
        line += rest
    return [*found, line.rstrip()] if line or not found else found


def fold(text: str, width: int) -> list[str]:
    """Return a row of columns as lines: what does not fit in `width` goes on below the last column that begins in the left half.

    Columns are two spaces apart. No word is broken: a digest, a path or a URL is there to be copied.
    """
    if cells(text) <= width:
        return [text]
    starts = [found.end() for found in re.finditer(r" {2,}(?=\S)", text)]
    begin = max((start for start in starts if cells(text[:start]) <= width // 2), default=0)
    deep, found, line = " " * cells(text[:begin]), [], text[:begin]
    for word in re.findall(r"\S+\s*", text[begin:]):
        if cells(line) > cells(deep) and cells(line) + cells(word.rstrip()) > width:
            found.append(line.rstrip())
            line = deep
        line += word
    return [*found, line.rstrip()]


def _fitting(text: str, width: int) -> int:
    """How many characters of `text` take at most `width` columns."""
    used = 0
    for count, char in enumerate(text):
        used += _cells(char)
        if used > width:
            return count
    return len(text)


def _shown(char: str) -> str:
    if unicodedata.category(char) not in UNSEEN:
        return char
    point = ord(char)
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def _cells(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
