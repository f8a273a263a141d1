"""Which files a jsonnet text imports, without evaluating it: an import's path is always a literal there.

Source of the grammar: https://jsonnet.org/ref/spec.html (lexing, and "import" in the abstract syntax).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

TOKEN = re.compile(
    r"""
    (?P<comment> //[^\n]* | \#[^\n]* | /\*.*?\*/ )
  | (?P<block> \|\|\|-?[ \t]*\n (?P<indent>[ \t]+) .*? \n (?!(?P=indent)|\n) [ \t]* \|\|\| )
  | (?P<verbatim> @"(?:[^"]|"")*" | @'(?:[^']|'')*' )
  | (?P<string> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
  | (?P<word> [A-Za-z_][A-Za-z0-9_]* )
    """,
    re.VERBOSE | re.DOTALL,
)
IMPORTS = ("import", "importstr", "importbin")
SIMPLE = {'"': '"', "'": "'", "\\": "\\", "/": "/"}


@dataclass(frozen=True)
class Import:
    """One import: the line it stands on (from 1) and its path as written."""

    line: int
    path: str


def imports(text: str) -> Iterator[Import]:
    """Every import in `text`, in order. What stands in comments and strings is none."""
    word = ""
    for found in TOKEN.finditer(text):
        kind = found.lastgroup if found.lastgroup != "indent" else "block"
        if kind == "comment":
            continue
        if word in IMPORTS and kind in ("string", "verbatim", "block"):
            yield Import(text.count("\n", 0, found.start()) + 1, _value(found[0], str(kind)))
        word = found[0] if kind == "word" else ""


def _value(literal: str, kind: str) -> str:
    """The path that a literal stands for; an escape that no path needs is left as it is written, which no file is called."""
    if kind == "string":
        return re.sub(r"\\(.)", lambda found: SIMPLE.get(found[1], found[0]), literal[1:-1])
    if kind == "verbatim":
        quote = literal[1]
        return literal[2:-1].replace(quote * 2, quote)
    return literal
