"""YAML as this project reads it: plain values with the line they stand on, within limits, strings that stay strings.

YAML 1.1 turns `no`, `012` and `2026-01-01` into something else; here only null, true, false, integers and floats in their plain
JSON spelling are not strings. Tags, merge keys and duplicate keys are refused, and so is a file that grows beyond its limits
when its aliases are followed (271 bytes can stand for half a million values, and `safe_load` does not mind).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError

LARGEST = 1 << 20  # bytes of one file
MOST_VALUES = 20_000
DEEPEST = 32
INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
FLOAT = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+")
WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}

Path_ = tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where a value was written: file and line (from 1)."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Document:
    """Plain values, and for each path of keys the place it was written."""

    data: Any
    places: Mapping[Path_, Place]

    def place(self, path: Path_) -> Place:
        """The place of `path`, or of the nearest thing above it that has one."""
        while path not in self.places and path:
            path = path[:-1]
        return self.places[path]

    def under(self, other: Document) -> Document:
        """This document with `other` laid over it: mappings merge key by key, everything else is replaced, null removes."""
        places = dict(self.places)
        data = _merged(self.data, other.data, (), places, other.places)
        return Document(data, places)


def read(path: Path) -> Document:
    """The document in the file at `path`. Raises ConfigError with file and line for everything that is wrong with it."""
    try:
        if path.stat().st_size > LARGEST:
            raise ConfigError(f"{path} is larger than {LARGEST >> 20} MiB", mend="a blueprint is a page: move the rest elsewhere")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file {path}", mend=f"write {path}, or name another") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read", cause=str(error)) from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Document:
    """The document in `text`; `name` is how errors call it."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        node = yaml.compose(text, Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        raise ConfigError(f"{where}: this is not YAML", cause=str(getattr(error, "problem", error) or error)) from error
    except RecursionError as error:
        raise ConfigError(f"{name} is nested deeper than {DEEPEST} levels") from error
    places: dict[Path_, Place] = {(): Place(name, 1)}
    data = {} if node is None else _Reader(name, places).value(node, (), 0)
    return Document(data, places)


class _Reader:
    def __init__(self, name: str, places: dict[Path_, Place]) -> None:
        self.name = name
        self.places = places
        self.count = 0

    def value(self, node: Any, path: Path_, depth: int) -> Any:
        place = Place(self.name, node.start_mark.line + 1)
        self.count += 1
        if self.count > MOST_VALUES:
            raise ConfigError(f"{place}: more than {MOST_VALUES} values, aliases followed", mend="write out what is meant")
        if depth > DEEPEST:
            raise ConfigError(f"{place}: nested deeper than {DEEPEST} levels")
        self.places.setdefault(path, place)
        if node.tag and not node.tag.startswith("tag:yaml.org,2002:"):
            raise ConfigError(f"{place}: the tag {node.tag} is not read here", mend="write the plain value")
        if node.id == "mapping":
            return self.mapping(node, path, depth)
        if node.id == "sequence":
            return [self.value(item, (*path, str(index)), depth + 1) for index, item in enumerate(node.value)]
        return scalar(node.value) if node.style is None else node.value

    def mapping(self, node: Any, path: Path_, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = Place(self.name, key_node.start_mark.line + 1)
            if key_node.id != "scalar" or key_node.value == "<<":
                raise ConfigError(f"{place}: a key is a plain word here", mend="no merge keys, no lists as keys")
            key = str(key_node.value)
            if key in found:
                raise ConfigError(f"{place}: {key!r} stands here a second time", mend=f"keep one {key!r}")
            self.places[*path, key] = place
            found[key] = self.value(value_node, (*path, key), depth + 1)
        return found


def scalar(text: str) -> Any:
    """The value of a plain (unquoted) scalar."""
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    if FLOAT.fullmatch(text):
        return float(text)
    return text


def _merged(low: Any, high: Any, path: Path_, places: dict[Path_, Place], above: Mapping[Path_, Place]) -> Any:
    if not (isinstance(low, dict) and isinstance(high, dict)):
        places.update({place: where for place, where in above.items() if place[: len(path)] == path})
        return high
    merged = dict(low)
    for key, value in high.items():
        here = (*path, key)
        if value is None:
            merged.pop(key, None)
        elif key in low:
            merged[key] = _merged(low[key], value, here, places, above)
        else:
            merged[key] = value
            places.update({place: where for place, where in above.items() if place[: len(here)] == here})
    return merged


def keys_like(name: str, known: Iterator[str] | list[str]) -> str:
    """`; did you mean 'x'?` where one of `known` is close to `name`."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
