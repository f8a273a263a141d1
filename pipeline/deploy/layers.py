"""Values files laid over each other, and `values` over all of them, as helm lays its own; each value with the line it was written on.

A values file is written for helm, and is what it is to helm: braces in it are no words of ours, and helm gets the file itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.tools import goyaml, placeholders
from pipeline.yamlfile import LARGEST, Document, Place, keys_like

Path_ = tuple[str, ...]
EXACT = 1 << 53  # helm keeps numbers of a values file as float64
SEPARATOR = re.compile(r"(?m)^(?:%.*|---(?![ \t\r]*(?:#|$)).*)")


@dataclass(frozen=True)
class Layers:
    """The documents from below to above with the text of each, and the blueprint's own `values` on top."""

    documents: tuple[Document, ...]
    texts: tuple[str, ...]
    values: Mapping[str, Any]

    def merged(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """One mapping of the files and `values`, which are the blueprint's own as they are filled in. A null of an upper layer stays: to
        helm it removes the chart's own default."""
        low: dict[str, Any] = {}
        for document in self.documents:
            low = over(low, document.data)
        return over(low, values)

    def told(self) -> Iterator[str]:
        """What there is to say of the files: keys that stand twice, and what looks like a word of ours inside a text."""
        for document in self.documents:
            yield from document.twice
            for path, word, _ in placeholders.meant(document.data):
                yield f"{_said(document, path)} holds {{{word}}}, which stays as it is: words are filled in under `values` alone"
        for data in (*(document.data for document in self.documents), self.values):
            for path, value in numbers(data):
                if abs(value) > EXACT and int(float(value)) != value:
                    yield f"{self.origin(path)} is {value}, of which helm makes {int(float(value))}: put it in quotes"

    def origin(self, path: Path_) -> str:
        """Where the value at `path` was written last: FILE:LINE: and its name, or its name in the blueprint."""
        if _has(self.values, path):
            return ".".join(("values", *path))
        found = next((each for each in reversed(self.documents) if path in each.places), None)
        return _said(found, path) if found else ".".join(("values", *path))


def read(root: Path, files: Sequence[str], values: Mapping[str, Any]) -> Layers:
    """The layers that a blueprint names; files are below `root`. Raises ConfigError with file and line for what is wrong with one."""
    found = [_document(root, name) for name in files]
    return Layers(tuple(document for document, _ in found), tuple(text for _, text in found), values)


def over(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """`high` laid over `low`: mappings key by key, everything else is replaced. Source: mergeMaps in helm.sh/helm/v4/pkg/cli/values."""
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        merged[key] = over(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def numbers(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, int]]:
    """Each whole number in `value`, with its path."""
    if isinstance(value, Mapping | list | tuple):
        for key, each in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from numbers(each, (*path, str(key)))
    elif isinstance(value, int):
        yield path, value


def _document(root: Path, name: str) -> tuple[Document, str]:
    path = root / name
    if not path.is_file():
        near = sorted(each.relative_to(root).as_posix() for each in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        mend = f"beside it are: {', '.join(near)}" if near else "write it, or name another"
        raise ConfigError(f"there is no values file {name}{keys_like(name, near)}", mend=mend)
    if not path.resolve().is_relative_to(root.resolve()):
        raise ConfigError(f"values file {name} leads out of the working copy", mend="copy it into the working copy")
    try:
        if path.stat().st_size > LARGEST:
            raise ConfigError(
                f"values file {name} is larger than {LARGEST >> 20} MiB", mend="a release has to fit into a Secret: see what is in it"
            )
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"values file {name} cannot be read", cause=str(error), mend="write it as UTF-8") from error
    found = goyaml.documents(text, name)
    if odd := SEPARATOR.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        raise ConfigError(
            f"{name}:{line}: {odd[0].strip()!r} is no separator to Helm 4, and one to Helm 3", mend="write --- on a line of its own"
        )
    if more := [each for each in found[1:] if each.data is not None]:
        raise ConfigError(
            f"{more[0].place(())}: a second document starts here",
            mend="write one: Helm 3 reads the first alone, though nothing is in it; Helm 4 lays all over each other",
        )
    first = found[0] if found and found[0].data is not None else Document({}, {(): Place(name, 1)})
    if not isinstance(first.data, dict):
        raise ConfigError(
            f"{first.place(())}: a values file holds a mapping, not {type(first.data).__name__}", mend="write `key: value` lines"
        )
    for place, word, alone in placeholders.meant(first.data):
        if alone:
            raise ConfigError(
                f"{_said(first, place)} is {{{word}}}, and a values file is given to helm as it is",
                mend=f"write {'.'.join(place)} under the stage's `values`, where it is filled in; the text itself is {{{{{word}}}}} there",
            )
    return first, text


def _said(document: Document, path: Path_) -> str:
    return f"{document.place(path)}: {'.'.join(path)}"


def _has(value: Any, path: Path_) -> bool:
    for key in path:
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list | tuple) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return False
    return True
