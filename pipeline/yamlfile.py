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
HOSTILE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # controls but tab and newline, and halves of characters
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
    """Plain values, and for each path of keys the place it was written; `twice` is what there is to tell of keys that stand twice."""

    data: Any
    places: Mapping[Path_, Place]
    twice: tuple[str, ...] = ()

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
    found = documents(text, name, Reader)
    if len(found) > 1:
        raise ConfigError(f"{found[1].place(())}: a second document starts here", mend="one document in one file")
    return found[0] if found and found[0].data is not None else Document({}, {(): Place(name, 1)})


def documents(text: str, name: str, reader: type[Reader]) -> list[Document]:
    """The documents in `text`, as `reader` reads them; `name` is how errors call it."""
    import yaml

    # Events, not nodes: composing nodes recurses in C, where 100 kB of `[` end the process
    events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    try:
        return reader(name, events).documents()
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        problem = str(getattr(error, "problem", error) or error)
        line = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
        tab = "\t" in line[: len(line) - len(line.lstrip())]
        mend = "indent with blanks: YAML takes no tabs there" if tab else "quote what holds : # { [ & * or !, and indent with blanks"
        raise ConfigError(f"{where}: this is not YAML", cause=problem, mend=mend) from error


class Reader:
    """Builds the values from YAML events, and keeps to the limits while it does. Other rules of YAML are a subclass's."""

    most_values, deepest = MOST_VALUES, DEEPEST

    def __init__(self, name: str, events: Iterator[Any]) -> None:
        self.name = name
        self.events = events
        self.places: dict[Path_, Place] = {}
        self.anchors: dict[str, Any] = {}
        self.twice: list[str] = []
        self.count = 0

    def documents(self) -> list[Document]:
        """Every document, with the place where it starts; the first starts at the top."""
        found: list[Document] = []
        for event in self.events:
            if kind(event) == "DocumentStart":
                self.places, self.anchors, self.twice = {(): self.place(event) if found else Place(self.name, 1)}, {}, []
                found.append(Document(self.value(next(self.events), (), 0), self.places, tuple(self.twice)))
        return found

    def value(self, event: Any, path: Path_, depth: int) -> Any:
        place = self.place(event)
        if kind(event) == "Alias":
            if event.anchor not in self.anchors:
                raise ConfigError(f"{place}: *{event.anchor} stands for nothing yet, or for itself", mend="write out what is meant")
            return self.followed(self.anchors[event.anchor], place, depth)
        self.limit(place, depth)
        self.places.setdefault(path, place)
        if kind(event) == "MappingStart":
            self.tagged(event, place)
            found: Any = self.mapping(path, depth)
        elif kind(event) == "SequenceStart":
            self.tagged(event, place)
            found = []
            while kind(item := next(self.events)) != "SequenceEnd":
                found.append(self.value(item, (*path, str(len(found))), depth + 1))
        else:
            found = self.scalar(event, place)
        if event.anchor:
            self.anchors[event.anchor] = found
        return found

    def tagged(self, event: Any, place: Place) -> None:
        """Look at the tag of a mapping or a list."""
        if event.tag:
            raise ConfigError(f"{place}: the tag {event.tag!r} is not read here", mend="write the plain value")

    def scalar(self, event: Any, place: Place) -> Any:
        self.tagged(event, place)
        text = self.text(event, place)
        return text if event.style else scalar(text)

    def mapping(self, path: Path_, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while kind(event := next(self.events)) != "MappingEnd":
            place = self.place(event)
            if kind(event) != "Scalar" or event.tag or event.value == "<<":
                raise ConfigError(f"{place}: a key is a plain word here", mend="no merge keys, no lists as keys")
            key = self.text(event, place)
            if key in found:
                raise ConfigError(f"{place}: {key!r} stands here a second time", mend=f"keep one {key!r}")
            self.places[*path, key] = place
            found[key] = self.value(next(self.events), (*path, key), depth + 1)
            if event.anchor:
                self.anchors[event.anchor] = key
        return found

    def text(self, event: Any, place: Place) -> str:
        text = str(event.value)
        if HOSTILE.search(text):
            raise ConfigError(f"{place}: there is a control character", mend="take it out")  # not with the text: it may be a secret
        return text

    def followed(self, value: Any, place: Place, depth: int) -> Any:
        """`value` again, where an alias stands: it counts as if it was written out."""
        self.limit(place, depth)
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            self.followed(item, place, depth + 1)
        return value

    def limit(self, place: Place, depth: int) -> None:
        self.count += 1
        if self.count > self.most_values:
            raise ConfigError(f"{place}: more than {self.most_values} values, aliases followed", mend="write out what is meant")
        if depth > self.deepest:
            raise ConfigError(f"{place}: nested deeper than {self.deepest} levels", mend="no page of configuration is as deep: look at it")

    def place(self, event: Any) -> Place:
        return Place(self.name, event.start_mark.line + 1)


def kind(event: Any) -> str:
    """What a YAML event is, by its class: the C parser and the Python one share the classes."""
    return type(event).__name__.removesuffix("Event")


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
    if not isinstance(high, dict):
        places.update({place: where for place, where in above.items() if place[: len(path)] == path})
        return high
    if not isinstance(low, dict):
        low = {}  # laid over nothing, so that what is removed further down does not stay as a null
        places.update({place: where for place, where in above.items() if place == path})
    merged = dict(low)
    for key, value in high.items():
        if value is None:
            merged.pop(key, None)
        else:
            here = (*path, key)
            if key not in low:
                places.update({place: where for place, where in above.items() if place == here})
            merged[key] = _merged(low.get(key), value, here, places, above)
    return merged


def keys_like(name: str, known: Iterator[str] | list[str]) -> str:
    """`; did you mean 'x'?` where one of `known` is close to `name`."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
