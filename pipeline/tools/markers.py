"""The comments by which Flux's image automation knows the lines that it may write: read, put on and taken off, all else byte for byte.

    tag: main-1a2b3c4-1700000000 # {"$imagepolicy": "flux-system:web:tag"}

Which comments count was seen of kyaml 0.21, the library that the automation reads with: the one behind a scalar's end on its line, and the
one alone on the line above an item of a list. Not the one behind a key whose value is empty or stands on the next line, nor the one behind
a mapping in braces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from pipeline import jsontext
from pipeline.errors import ConfigError
from pipeline.tools.yamledit_tree import Node, Selector, parse

Path = tuple[str, ...]
Part = Literal["", "tag", "name", "digest"]
KEY = "$imagepolicy"
LINE = re.compile(r"[^\r\n]*")
BREAK = re.compile(r"\r\n|\r|\n")
ALONE = re.compile(r"[ \t]*#")
BEHIND = re.compile(r"(?:[ \t]+(#.*))?")
IN_BRACES = re.compile(r"(?:[ \t]*,)?(?:[ \t]+(#.*))?")
HEADER = re.compile(r"[|>][-+0-9]*(?:[ \t]+(#.*))?")
POLICY = re.compile(r"([a-z0-9][a-z0-9-]*):([a-z0-9][a-z0-9.-]*)(?::(tag|name|digest))?")
WRITTEN = f'# {{"{KEY}": "NAMESPACE:POLICY:tag"}}'


@dataclass(frozen=True)
class Marker:
    """The policy `namespace`/`policy` whose newest image is written, and which `part` of it: "" the whole reference."""

    namespace: str
    policy: str
    part: Part = ""

    def __str__(self) -> str:
        """The comment itself."""
        part = f":{self.part}" if self.part else ""
        return f'# {{"{KEY}": "{self.namespace}:{self.policy}{part}"}}'


@dataclass(frozen=True)
class Marked:
    """A line that the image automation writes: its number (from 1), and the marker on it."""

    line: int
    marker: Marker


@dataclass(frozen=True)
class Misread:
    """A comment that looks like a marker and by which Flux writes nothing: its line (from 1), and why."""

    line: int
    why: str


def written_by_automation(text: str, selector: Selector | None = None, *, name: str = "the file") -> dict[Path, Marked]:
    """The lines with a marker, by the path of their scalar from its document's root: ("spec", "values", "image", "tag").

    Of the document that `selector` means, of all where it is None; `name` is how errors call the file. Raises ConfigError where the text
    is not YAML or has no such document.
    """
    if KEY not in text:
        return {}
    tree = parse(text, name)
    found = {}
    for document in tree.documents if selector is None else (tree.choose(selector),):
        for path, node in _scalars(document, ()):
            line, comment = _comment(text, node)
            if marker := _marker(comment):
                found[path] = Marked(line, marker)
    return found


def misread(text: str, *, name: str = "the file") -> list[Misread]:
    """The comments that hold a marker's key and that Flux passes over without a word. Raises ConfigError where the text is not YAML."""
    read = {marked.line for marked in written_by_automation(text, name=name).values()}
    found = []
    for number, line in enumerate(BREAK.split(text), 1):
        comment = line[line.find("#") :] if "#" in line else ""
        if KEY in comment and number not in read:
            why = "it is not behind a value on that value's line" if _marker(comment) else f"it is not written as {WRITTEN}"
            found.append(Misread(number, why))
    return found


def put(text: str, wanted: Mapping[Path, Marker | None], selector: Selector | None = None, *, name: str = "the file") -> str:
    """`text` with these markers behind the scalars at these paths, None taking one off; the same text where they are so already.

    `selector` None means the only document. Raises ConfigError where it is not there, or a path has no place for a marker: no value yet,
    braces around it, a comment of somebody's own.
    """
    if not any(wanted.values()) and KEY not in text:
        return text
    there = dict(_scalars(parse(text, name).choose(selector), ()))
    edits = [_edit(text, there.get(path), marker, f"{name}: {'.'.join(path)}") for path, marker in wanted.items()]
    for start, end, new in sorted(filter(None, edits), reverse=True):
        text = text[:start] + new + text[end:]
    return text


def refuse(written: Mapping[Path, object], marked: Mapping[Path, Marked], name: str) -> None:
    """Never both: raises ConfigError where a line that the pipeline writes (`written`, by the paths that `marked` has) is the
    automation's. `name` is how the file is called."""
    both = [(found.line, path, found.marker) for path, found in marked.items() if path in written]
    if not both:
        return
    line, path, marker = min(both, key=lambda each: each[0])
    more = f", and {len(both) - 1} more" if len(both) > 1 else ""
    raise ConfigError(
        f"{name}:{line}: {'.'.join(path)} is written by Flux's image automation (policy {marker.namespace}/{marker.policy}{more})",
        cause="a release would write the same line, and each would take back what the other wrote",
        mend="choose one of the two.\n"
        "Flux: inv push publishes, Flux takes the newest by itself, inv verify asks what runs\n"
        f'the pipeline: take gitops.automation out of the blueprint, and the comments # {{"{KEY}": …}} out of {name}',
    )


def _edit(text: str, node: Node | None, marker: Marker | None, where: str) -> tuple[int, int, str] | None:
    """(from, to, new text) that puts the marker behind the scalar; None where there is nothing to do."""
    if node is None or (not node.text and not node.style):
        if marker is None:
            return None
        raise ConfigError(f"{where} has no value yet", mend='give it one, "" at least: Flux writes over values, and never makes one')
    line = node.line + text.count("\n", node.start, node.end)
    if node.flow or node.style in ("|", ">"):
        if marker is None:
            return None
        raise ConfigError(f"{where} (line {line}) is not written on a line of its own", mend="write key: value there, without braces")
    rest = cast(re.Match[str], LINE.match(text, node.end))
    comment = rest[0].strip()
    if comment and KEY not in comment:
        if marker is None:
            return None
        raise ConfigError(
            f"{where} (line {line}) has the comment {comment[:60]!r}, and a marker is the only one on its line",
            mend="move that comment to a line above",
        )
    new = f" {marker}" if marker else ""
    return None if _marker(comment) == marker and bool(comment) == bool(marker) else (rest.start(), rest.end(), new)


def _scalars(node: Node, path: Path) -> Iterator[tuple[Path, Node]]:
    """Each scalar below `node` by its path; what an alias stands for is at its anchor alone."""
    if node.form == "scalar":
        yield path, node
    elif node.form == "mapping":
        for key, value in node.items:
            yield from _scalars(value, (*path, key.text))
    elif node.form == "list":
        for number, value in enumerate(node.values):
            yield from _scalars(value, (*path, str(number)))


def _comment(text: str, node: Node) -> tuple[int, str]:
    """(line, comment) that kyaml reads as the scalar's; "" where there is none."""
    if not node.text and not node.style:
        return node.line, ""  # the comment behind it counts as its key's
    if node.style in ("|", ">"):
        found, line = HEADER.match(text, node.start), node.line
    else:
        found, line = (IN_BRACES if node.flow else BEHIND).match(text, node.end), node.line + text.count("\n", node.start, node.end)
    if found and found[1]:
        return line, found[1]
    above = _above(text, node)
    return (above[0], above[1]) if above else (line, "")


def _above(text: str, node: Node) -> tuple[int, str] | None:
    """The line and the comment that stands alone above an item of a list, or above a value that has a line of its own."""
    before = BREAK.split(text[: node.start])
    if before.pop().strip(" \t-"):
        return None
    while before and not before[-1].strip():
        before.pop()
    if not before or not ALONE.match(before[-1]) or (len(before) > 1 and ALONE.match(before[-2])):
        return None  # none, or a comment of several lines, which is no marker
    return len(before), before[-1].strip()


def _marker(comment: str) -> Marker | None:
    """The marker that a comment is."""
    try:
        found = jsontext.loads(comment.strip().lstrip("#"))
    except ValueError:
        return None
    named = found.get(KEY) if isinstance(found, dict) and all(isinstance(value, str) for value in found.values()) else None
    match = POLICY.fullmatch(named) if named else None
    return Marker(match[1], match[2], cast(Part, match[3] or "")) if match else None
