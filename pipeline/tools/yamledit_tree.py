"""A YAML text as a tree of places: what stands where, from which letter to which, and which document is meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.errors import ConfigError
from pipeline.yamlfile import LARGEST, kind

DEEPEST = 64
MOST = 50_000  # values of one file


@dataclass(frozen=True)
class Selector:
    """Which document of a file is meant. A document that names no namespace of its own counts as being in `namespace` (kustomize may set
    it); "" as `namespace` takes any."""

    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


@dataclass
class Node:
    """A value in the text: letters `start` to `end` (less an anchor or a tag before it), on `line` (from 1) and in `column` (from 0).

    `text` and `style` are a scalar's, `items` a mapping's (the keys that are plain words), `values` all that a mapping or list holds.
    `flow` says that it stands within {} or [], or is one.
    """

    form: Literal["scalar", "mapping", "list", "alias"]
    start: int
    end: int
    line: int
    column: int
    text: str = ""
    style: str = ""
    flow: bool = False
    anchor: str = ""
    tag: str = ""
    items: list[tuple[Node, Node]] = field(default_factory=list)
    values: list[Node] = field(default_factory=list)

    def get(self, key: str) -> Node | None:
        """The value of a key of a mapping."""
        return next((value for name, value in self.items if name.text == key), None)

    @property
    def merges(self) -> bool:
        """Whether a mapping takes keys from another one."""
        return any(name.text == "<<" and not name.style for name, _ in self.items)

    def last(self) -> int:
        """Where the last thing in it ends."""
        return self.end if self.flow or not self.values else max(value.last() for value in self.values)


@dataclass(frozen=True)
class Tree:
    """The documents of a text; `name` is how errors call it."""

    name: str
    text: str
    documents: tuple[Node, ...]
    aliased: frozenset[str]

    def place(self, node: Node) -> str:
        return f"{self.name}:{node.line}"

    def choose(self, selector: Selector | None) -> Node:
        """The document that is meant. Raises ConfigError where there is not exactly one."""
        found = [each for each in self.documents if selector is None or _is(each, selector)]
        if len(found) == 1:
            return found[0]
        what = str(selector) if selector else "one document"
        if not found:
            there = ", ".join(filter(None, map(_title, self.documents))) or "no object"
            raise ConfigError(
                f"{self.name} does not hold {what}", cause=f"it holds {there}", mend="name the file that holds it, or write it there"
            )
        raise ConfigError(
            f"{self.place(found[1])}: {what} stands a second time",
            cause=f"first on line {found[0].line}",
            mend="keep one of them" if selector else "say which document is meant",
        )


def parse(text: str, name: str) -> Tree:
    """The tree of `text`. Raises ConfigError with file and line for what is no YAML, a key that stands twice, too much of it."""
    import yaml

    if len(text) > LARGEST:
        raise ConfigError(f"{name} is larger than {LARGEST >> 20} MiB", mend="keep what a release changes in a file of its own")
    try:
        # the Python parser: its marks count letters, and it does not recurse
        return _Reader(name, text, yaml.parse(text, Loader=yaml.SafeLoader)).tree()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
        raise ConfigError(f"{where}: this is not YAML", cause=problem, mend="mend it there, and commit") from error


class _Reader:
    """Builds the tree from YAML's events."""

    def __init__(self, name: str, text: str, events: Iterator[Any]) -> None:
        self.name, self.text, self.events = name, text, events
        self.aliased: set[str] = set()
        self.count = 0

    def tree(self) -> Tree:
        documents = [self.node(next(self.events), 0, False) for event in self.events if kind(event) == "DocumentStart"]
        return Tree(self.name, self.text, tuple(each for each in documents if each.form != "scalar" or each.text), frozenset(self.aliased))

    def node(self, event: Any, depth: int, flow: bool) -> Node:
        mark = event.start_mark
        self.count += 1
        if depth > DEEPEST or self.count > MOST:
            raise ConfigError(f"{self.name}:{mark.line + 1}: nested too deep, or too many values", mend="write less into one file")
        start = self.after_properties(event)
        made = Node("scalar", start, event.end_mark.index, mark.line + 1, mark.column, anchor=event.anchor or "", flow=flow)
        if kind(event) == "Alias":
            self.aliased.add(event.anchor)
            made.form = "alias"
            return made
        made.tag = event.tag or ""
        if kind(event) == "Scalar":
            made.text, made.style = event.value, event.style or ""
            if made.style in tuple("|>") and "+" not in self.text[start : start + 3]:
                made.end = start + len(self.text[start : made.end].rstrip())  # YAML counts the empty lines after it in
            return made
        made.flow = flow or bool(event.flow_style)
        made.form = "mapping" if kind(event) == "MappingStart" else "list"
        (self.mapping if made.form == "mapping" else self.sequence)(made, depth)
        return made

    def sequence(self, made: Node, depth: int) -> None:
        while kind(event := next(self.events)) != "SequenceEnd":
            made.values.append(self.node(event, depth + 1, made.flow))
        made.end = event.end_mark.index

    def mapping(self, made: Node, depth: int) -> None:
        seen: dict[str, int] = {}
        while kind(event := next(self.events)) != "MappingEnd":
            key = self.node(event, depth + 1, made.flow)
            value = self.node(next(self.events), depth + 1, made.flow)
            if not made.values and not made.flow and (made.anchor or made.tag):
                made.column = key.column  # an anchor stands on the line above
            made.values += [key, value]
            if key.form != "scalar":
                continue
            if key.text in seen:
                line = seen[key.text]
                raise ConfigError(
                    f"{self.name}:{key.line}: {key.text!r} stands here a second time",
                    cause=f"first on line {line}",
                    mend=f"keep one {key.text!r}",
                )
            seen[key.text] = key.line
            made.items.append((key, value))
        made.end = event.end_mark.index

    def after_properties(self, event: Any) -> int:
        """Where the value itself begins, behind an anchor and a tag."""
        at: int = event.start_mark.index
        if kind(event) == "Alias" or not (event.anchor or event.tag):
            return at
        end = event.end_mark.index
        while at < end and self.text[at] in "&!":
            while at < end and not self.text[at].isspace():
                at += 1
            while at < end and self.text[at].isspace():
                at += 1
        return at


def _is(document: Node, selector: Selector) -> bool:
    if document.form != "mapping" or _said(document, "kind") != selector.kind:
        return False
    meta = document.get("metadata")
    if meta is None or meta.form != "mapping" or _said(meta, "name") != selector.name:
        return False
    return not selector.namespace or _said(meta, "namespace") in ("", selector.namespace)


def _title(document: Node) -> str:
    meta = document.get("metadata")
    said = _said(document, "kind"), _said(meta, "name") if meta else ""
    return " ".join(filter(None, said))


def _said(mapping: Node, key: str) -> str:
    found = mapping.get(key)
    return found.text if found and found.form == "scalar" else ""
