"""One scalar as YAML text: in the style that stood there where that is safe, quoted where a reader of YAML could misread it."""

from __future__ import annotations

import json
import re
from typing import Any

from pipeline.tools import goyaml

Scalar = str | int | float | bool | None
New = dict[str, Any] | Scalar  # scalars below keys that are to be put in

PLAIN = re.compile(r"[A-Za-z0-9_./$(](?:[A-Za-z0-9_./@$()=+~,-]|:(?=[^ ])| (?=[A-Za-z0-9_./@$()=+~,-]))*")
IN_FLOW = re.compile(r"[A-Za-z0-9_./$(][A-Za-z0-9_./@$()=+~-]*")  # readers differ on a colon there
UNPRINTABLE = re.compile(
    r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|[\u200b-\u200f\u2028-\u202e\u2066-\u2069]"
)
HEADER = re.compile(r"\|([-+]?)([ \t]*(?:#[^\r\n]*)?)(\r\n|\n|\r)")


def value_of(text: str, style: str) -> Scalar:
    """What a scalar of the text means to what reads it, which is written in Go."""
    found = text if style else goyaml.plain(text)
    return found if found is None or isinstance(found, str | int | float) else text


def same(text: str, style: str, wanted: Scalar) -> bool:
    """Whether a scalar means `wanted` already, to every reader."""
    found = value_of(text, style)
    if isinstance(wanted, str) and not style and goyaml.ambiguous(text):
        return False
    return type(found) is type(wanted) and found == wanted


def write(value: Scalar, style: str = "", flow: bool = False) -> str:
    """`value` on one line, in the `style` ("", ' or ") that stood there where that holds it; `flow` within {} or []."""
    if not isinstance(value, str):
        return _bare(value)
    if UNPRINTABLE.search(value) or style == '"':
        return _double(value)
    if style == "'":
        return "'" + value.replace("'", "''") + "'"
    plain = (IN_FLOW if flow else PLAIN).fullmatch(value) and not goyaml.ambiguous(value) and value not in ("-", "...", "---")
    return value if plain else _double(value)


def block(value: Scalar, old: str, indent: str) -> str | None:
    """`value` as a literal block with the header of the `old` one, its lines behind `indent`; None where such a block cannot hold it."""
    header = HEADER.match(old)
    if header is None or not isinstance(value, str) or not value.strip("\n"):
        return None
    chomp, comment, end = header.groups()
    body = value.removesuffix("\n")
    lines = body.split("\n")
    kept = value.endswith("\n") == (chomp != "-") and lines[-1] != "" and chomp != "+"
    odd = any(UNPRINTABLE.search(line) or line != line.rstrip() for line in lines) or lines[0][:1] in ("", " ")
    return None if odd or not kept else f"|{chomp}{comment}{end}" + end.join(indent + line if line else "" for line in lines)


def key(name: str, flow: bool) -> str:
    """A key as it is written."""
    return write(name, flow=flow)


def flow(value: New) -> str:
    """`value` on one line within {} or []."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key(name, True)}: {flow(below)}" for name, below in value.items()) + "}"
    return write(value, flow=True)


def lines(value: dict[str, New], indent: int, step: int) -> list[str]:
    """The entries of a mapping, one scalar a line, `indent` blanks before the outermost keys and `step` more for each level."""
    made = []
    for name, below in value.items():
        start = f"{' ' * indent}{key(name, False)}:"
        if isinstance(below, dict):
            made += [start, *lines(below, indent + step, step)]
        else:
            made.append(f"{start} {write(below)}")
    return made


def _bare(value: float | bool | None) -> str:
    if isinstance(value, float):
        import yaml

        return yaml.safe_dump(value).split("\n", 1)[0]
    return json.dumps(value)


def _double(value: str) -> str:
    # YAML's double quotes take all of JSON's escapes; what no screen shows is escaped as well
    quoted = json.dumps(value, ensure_ascii=False)
    return UNPRINTABLE.sub(lambda found: _escape(found[0]), quoted)


def _escape(letter: str) -> str:
    code = ord(letter)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
