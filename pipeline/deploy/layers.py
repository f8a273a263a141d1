"""Values files laid over each other, and `values` over all of them, as helm lays its own; each value with the line it was written on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.yamlfile import Document, keys_like, kind, scalar
from pipeline.yamlfile import read as read_yaml

OTHER = ("bool", "int", "float", "null")  # what YAML 1.1 has beside text; helm's reader leaves a date as it is written
OTHERWISE = re.compile(
    r"[yYnN]|0o[0-7]+|[-+]?\d+(\.\d*)?[eE][-+]?\d+|[-+]?0\d+|<<"
)  # what PyYAML takes for text and helm's reader does not
Path_ = tuple[str, ...]
Fill = Callable[[str, str], Any]  # (text, its place) -> what it stands for


@dataclass(frozen=True)
class Layers:
    """The documents from below to above, and the blueprint's own `values` on top."""

    documents: tuple[Document, ...]
    values: Mapping[str, Any]

    def merged(self, fill: Fill) -> dict[str, Any]:
        """One mapping, with `fill` applied to each text. A null of an upper layer stays: to helm it removes the chart's own default."""
        low: dict[str, Any] = {}
        for document in self.documents:
            low = over(low, _filled(document.data, (), partial(_told, document, fill)))
        return over(low, _filled(self.values, (), lambda path, text: fill(text, ".".join(("values", *path)))))

    def origin(self, path: Path_) -> str:
        """Where the value at `path` was written last: FILE:LINE: and its name, or its name in the blueprint."""
        if _has(self.values, path):
            return ".".join(("values", *path))
        found = next((each for each in reversed(self.documents) if path in each.places), None)
        return _said(found, path) if found else ".".join(("values", *path))


def read(root: Path, files: Sequence[str], values: Mapping[str, Any]) -> Layers:
    """The layers that a blueprint names; files are below `root`. Raises ConfigError with file and line for what is wrong with one."""
    return Layers(tuple(_document(root, name) for name in files), values)


def over(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """`high` laid over `low`: mappings key by key, everything else is replaced. Source: mergeMaps in helm.sh/helm/v4/pkg/cli/values."""
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        merged[key] = over(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _document(root: Path, name: str) -> Document:
    path = root / name
    if not path.is_file():
        near = sorted(each.relative_to(root).as_posix() for each in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        mend = f"beside it are: {', '.join(near)}" if near else "write it, or name another"
        raise ConfigError(f"there is no values file {name}{keys_like(name, near)}", mend=mend)
    if not path.resolve().is_relative_to(root.resolve()):
        raise ConfigError(f"values file {name} leads out of the working copy", mend="copy it into the working copy")
    found = read_yaml(path)
    _same_to_helm(path, name)
    places = {key: type(place)(name, place.line) for key, place in found.places.items()}
    if not isinstance(found.data, dict):
        raise ConfigError(f"{places[()]}: a values file holds a mapping, not {type(found.data).__name__}", mend="write `key: value` lines")
    return Document(found.data, places)


def _said(document: Document, path: Path_) -> str:
    return f"{document.place(path)}: {'.'.join(path)}"


def _same_to_helm(path: Path, name: str) -> None:
    """Raises ConfigError for a word that is text here and something else to helm: `enabled: no` must not turn into what counts as true."""
    import yaml

    resolver: Any = yaml.resolver.Resolver()
    events: Iterator[Any] = yaml.parse(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    for event in events:
        if kind(event) != "Scalar" or event.style or not isinstance(scalar(event.value), str):
            continue
        kind_of = resolver.resolve(yaml.ScalarNode, event.value, (True, False)).rpartition(":")[2]
        if (kind_of in OTHER and ":" not in event.value) or OTHERWISE.fullmatch(event.value):  # 1:30 is text to it, too
            where = f"{name}:{event.start_mark.line + 1}"
            raise ConfigError(
                f"{where}: {event.value!r} is not text to helm",
                mend=f'write true, false or the plain number, or put quotes around "{event.value}"',
            )


def _told(document: Document, fill: Fill, path: Path_, text: str) -> Any:
    return fill(text, _said(document, path))


def _filled(value: Any, path: Path_, fill: Callable[[Path_, str], Any]) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _filled(item, (*path, str(key)), fill) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(item, (*path, str(index)), fill) for index, item in enumerate(value)]
    return fill(path, value) if isinstance(value, str) else value


def _has(value: Any, path: Path_) -> bool:
    for key in path:
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list | tuple) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return False
    return True
