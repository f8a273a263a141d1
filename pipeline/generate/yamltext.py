"""YAML as a person would write it: keys in the order given, comments kept, texts of several lines as blocks.

PyYAML writes neither comments nor an order that stays, and quotes `on`; a generated file is read by people and compared by bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PLAIN = re.compile(r"[A-Za-z0-9_./$(][A-Za-z0-9_./@${}()|&=!' +,*<>-]*")
NOT_TEXT = re.compile(r"(?i)(?:true|false|null|yes|no|on|off|y|n|[-+.0-9][0-9a-fxo._+:-]*)")
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Verbatim:
    """A scalar that is written as it stands, its comment included."""

    text: str


def dump(value: Mapping[str, Any]) -> str:
    """`value` as a YAML document; a blank line stands before each key of the outermost mapping but the first."""
    blocks = ["\n".join(_entry(key, item, 0)) for key, item in value.items()]
    return "\n\n".join(blocks) + "\n"


def _entry(key: str, value: Any, depth: int) -> Iterator[str]:
    pad = "  " * depth
    if isinstance(value, Mapping) and value:
        yield f"{pad}{_key(key)}:"
        yield from _mapping(value, depth + 1)
    elif isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(item, Mapping) for item in value):
        yield f"{pad}{_key(key)}:"
        for item in value:
            lines = list(_mapping(item, depth + 2))
            lines[0] = f"{pad}  - {lines[0].lstrip()}"
            yield from lines
    elif isinstance(value, str) and "\n" in value:
        yield f"{pad}{_key(key)}: |"
        yield from (f"{pad}  {line}".rstrip() for line in value.rstrip("\n").split("\n"))
    else:
        yield f"{pad}{_key(key)}:{'' if value is None else ' ' + _flat(value)}"


def _mapping(value: Mapping[str, Any], depth: int) -> Iterator[str]:
    for key, item in value.items():
        yield from _entry(key, item, depth)


def _key(key: str) -> str:
    plain = KEY.fullmatch(key) and (key == "on" or not NOT_TEXT.fullmatch(key))  # GitHub's YAML is 1.2, where `on` is a word
    return key if plain else json.dumps(key, ensure_ascii=False)


def _flat(value: Any) -> str:
    if isinstance(value, Verbatim):
        return value.text
    if isinstance(value, str):
        safe = PLAIN.fullmatch(value) and not NOT_TEXT.fullmatch(value) and not value.endswith(" ")
        return value if safe else json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_in_list(item) for item in value) + "]"
    return json.dumps(value)


def _in_list(value: Any) -> str:
    text = _flat(value)
    return json.dumps(value) if isinstance(value, str) and any(letter in text for letter in ",{}*") and text[0] != '"' else text
