"""Scalars of a YAML text changed or put in where they stand; every other byte stays as it was."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ConfigError
from pipeline.tools import yamledit_scalar as scalar
from pipeline.tools.yamledit_scalar import Scalar
from pipeline.tools.yamledit_tree import Node, Selector, Tree, parse

__all__ = ["Scalar", "Selector", "Value", "edit", "read"]

Path = tuple[str, ...]
Span = tuple[int, int, int, str]  # from, to, rank of what is put in at one place (the deeper the earlier), and the new text
END = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]|\Z")
FIRST = -10_000
COMMENT = re.compile(r"[ \t]*[,}\]]*[ \t]*(#[^\r\n]*)?")
BLOCK_HEADER = re.compile(r"[|>][-+0-9]*([ \t]+#[^\r\n]*)?")
INDENTED = re.compile(r"[\r\n]( +)[^ \r\n]")


@dataclass(frozen=True)
class Value:
    """What stands at a path: the plain value, its line (from 1), and the comment behind it on that line ("# …", "" where none)."""

    value: Scalar
    line: int
    comment: str = ""


@dataclass(frozen=True)
class Found:
    """How far a path leads: `node` is what stands at its end, or the deepest thing that is there, and `rest` the keys that are not."""

    node: Node
    above: Node | None
    rest: Path


def edit(text: str, selector: Selector | None, changes: Mapping[Path, Scalar], name: str = "the file") -> str:
    """`text` with the scalars at the paths of `changes` made to be what those say; the same text where they are already.

    `selector` None means the only document. Keys that are not there are put at the end of the deepest mapping that is. `name` is how errors
    call the file. Raises ConfigError, with file and line, where the text is no YAML, the document is not there or there twice, a key stands
    twice, or a path leads through a scalar, a list, an alias or a merge.
    """
    tree = parse(text, name)
    document = tree.choose(selector)
    new: dict[int, tuple[Found, dict[str, Any]]] = {}
    spans: list[Span] = []
    for path, value in _apart(changes, name).items():
        found = _walk(tree, document, path)
        if found.rest:
            _lay(new.setdefault(id(found.node), (found, {}))[1], found.rest, value)
        elif not scalar.same(_scalar(tree, found.node, path).text, found.node.style, value):
            spans.append(_replaced(text, found.node, value))
    step = _step(document)
    spans += [_inserted(tree, found, keys, step) for found, keys in new.values()]
    made = text
    for start, end, _, put in sorted(spans, reverse=True):
        made = made[:start] + put + made[end:]
    if spans:
        _prove(tree, document, made, changes)
    return made


def read(text: str, selector: Selector | None, paths: Iterable[Path], name: str = "the file") -> dict[Path, Value | None]:
    """What stands at `paths`, None where nothing does. Raises as `edit`, and ConfigError where a mapping or a list stands."""
    tree = parse(text, name)
    document = tree.choose(selector)
    values: dict[Path, Value | None] = {}
    for path in paths:
        found = _walk(tree, document, path)
        if found.rest:
            values[path] = None
        else:
            node = _scalar(tree, found.node, path)
            comment = COMMENT.match(text, node.end)
            values[path] = Value(scalar.value_of(node.text, node.style), node.line, (comment and comment[1]) or "")
    return values


def _walk(tree: Tree, document: Node, path: Path) -> Found:
    """As far as `path` leads. Raises ConfigError where it cannot be followed, or what it leads through stands for something else too."""
    node, above = document, None
    for depth, key in enumerate(path):
        said = ".".join(path[:depth]) or "the document"
        _own(tree, node, said)
        if node.form == "scalar" and scalar.value_of(node.text, node.style) is None:
            return Found(node, above, path[depth:])
        if node.form != "mapping":
            what = {"list": "a list", "scalar": "one value"}[node.form]
            raise ConfigError(
                f"{tree.place(node)}: {said} is {what}, and {'.'.join(path)} would be below it",
                mend=f"make it a mapping with the key {key!r}, or name another path",
            )
        below = node.get(key)
        if below is None:
            if node.merges:
                raise ConfigError(f"{tree.place(node)}: {said} takes keys from <<, perhaps {key!r} too", mend=f"write {key!r} out there")
            return Found(node, above, path[depth:])
        node, above = below, node
    _own(tree, node, ".".join(path))
    return Found(node, above, ())


def _own(tree: Tree, node: Node, said: str) -> None:
    if node.form == "alias":
        raise ConfigError(f"{tree.place(node)}: {said} is an alias of what stands elsewhere", mend="write out what is meant there")
    if node.anchor and node.anchor in tree.aliased:
        raise ConfigError(
            f"{tree.place(node)}: {said} is used a second time, as *{node.anchor}, and would change there too",
            mend=f"write out what is meant where *{node.anchor} stands",
        )


def _scalar(tree: Tree, node: Node, path: Path) -> Node:
    said = ".".join(path)
    if node.form != "scalar":
        raise ConfigError(f"{tree.place(node)}: {said} is a {node.form}, one value was expected", mend=f"name a path below {said}")
    if node.tag:
        raise ConfigError(f"{tree.place(node)}: {said} has the tag {node.tag!r}", mend="write the plain value")
    return node


def _apart(changes: Mapping[Path, Scalar], name: str) -> Mapping[Path, Scalar]:
    """`changes`, where no path leads through another one. Raises ConfigError."""
    for path in changes:
        inner = [other for other in changes if other[: len(path)] == path and other != path]
        if inner or not path or not all(path):
            other = ".".join(inner[0]) if inner else "nothing"
            raise ConfigError(f"{name}: {'.'.join(path)!r} cannot be one value and hold {other} too", mend="name one of the two")
    return changes


def _lay(keys: dict[str, Any], path: Path, value: Scalar) -> None:
    for key in path[:-1]:
        keys = keys.setdefault(key, {})
    keys[path[-1]] = value


def _replaced(text: str, node: Node, value: Scalar) -> Span:
    old = text[node.start : node.end]
    if node.style in tuple("|>"):
        rest = old[len(old.rstrip()) :]
        indent = INDENTED.search(old)
        kept = scalar.block(value, old, indent[1]) if indent and node.style == "|" else None
        header = BLOCK_HEADER.match(old)
        comment = header[1] or "" if header else ""
        return node.start, node.end, FIRST, (kept or scalar.write(value, '"') + comment) + rest
    new = scalar.write(value, node.style, node.flow)
    if not old:
        new = f" {new}" if text[node.start - 1] == ":" else f": {new}"
    return node.start, node.end, FIRST, new


def _inserted(tree: Tree, found: Found, keys: dict[str, Any], step: int) -> Span:
    text, node = tree.text, found.node
    if node.form == "scalar":
        above = found.above
        if node.flow or node.end > node.start or above is None:
            gap = " " if node.end == node.start else ""
            return node.start, node.end, FIRST, gap + scalar.flow(keys)
        return _below(text, node.end, keys, above.column + step, step)
    if node.flow:
        inner = scalar.flow(keys)[1:-1]
        if not node.values:
            return node.start, node.end, FIRST, f"{{{inner}}}"
        at = max(value.last() for value in node.values)
        return at, at, 0, f", {inner}"
    return _below(text, node.last(), keys, node.column, step)


def _below(text: str, at: int, keys: dict[str, Any], column: int, step: int) -> Span:
    """Whole lines behind the line in which `at` stands; before it, where it stands at the line's very beginning."""
    lines = scalar.lines(keys, column, step)
    first = END.search(text)
    end = first[0] if first and first[0] else "\n"
    if at and text[at - 1] in "\r\n":
        return at, at, -column, "".join(line + end for line in lines)
    found = END.search(text, at)
    behind = found.start() if found else len(text)
    return behind, behind, -column, "".join(end + line for line in lines)


def _step(document: Node) -> int:
    """By how many blanks the document indents."""
    for _, value in document.items:
        if value.form == "mapping" and not value.flow:
            return max(value.column - document.column, 1)
    return 2


def _prove(tree: Tree, document: Node, made: str, changes: Mapping[Path, Scalar]) -> None:
    """Raises ConfigError where the new text says anything else than the old one with the changes: better refused than half right."""
    wanted = [_plain(each) for each in tree.documents]
    changed = wanted[next(index for index, each in enumerate(tree.documents) if each is document)]
    for path, value in changes.items():
        below = changed
        for key in path[:-1]:
            if not isinstance(below.get(key), dict):
                below[key] = {}  # the value was empty, and became a mapping
            below = below[key]
        below[path[-1]] = _exact(value)
    try:
        right = [_plain(each) for each in parse(made, tree.name).documents] == wanted
    except ConfigError:
        right = False
    if not right:
        paths = ", ".join(".".join(path) for path in changes)
        raise ConfigError(
            f"{tree.place(document)}: {paths} cannot be written there without changing something else",
            mend="end the file with a line break and write mappings one key a line; then run again",
        )


def _plain(node: Node) -> Any:
    if node.form == "alias":
        return "alias", node.anchor
    if node.form == "list":
        return [_plain(each) for each in node.values]
    if node.form == "mapping":
        pairs = zip(node.values[::2], node.values[1::2], strict=True)
        return {key.text if key.form == "scalar" else repr(_plain(key)): _plain(value) for key, value in pairs}
    return (node.tag, node.text) if node.tag else _exact(scalar.value_of(node.text, node.style))


def _exact(value: Scalar) -> tuple[str, Scalar]:
    return type(value).__name__, value  # 1, 1.0 and True are equal to Python
