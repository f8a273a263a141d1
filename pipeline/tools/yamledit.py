"""Scalars of a YAML text changed or put in where they stand; every other byte stays as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Scalar = str | int | float | bool | None
Path = tuple[str, ...]


@dataclass(frozen=True)
class Selector:
    """Which document of a file is meant. A document that names no namespace of its own counts as being in `namespace` (kustomize may set
    it); "" as `namespace` takes any."""

    kind: str
    name: str
    namespace: str = ""


@dataclass(frozen=True)
class Value:
    """What stands at a path: the plain value and its line, from 1."""

    value: Scalar
    line: int


def edit(text: str, selector: Selector | None, changes: Mapping[Path, Scalar], name: str = "the file") -> str:
    """`text` with the scalars at the paths of `changes` made to be what those say; the same text where they are already.

    `selector` None means the only document. Keys that are not there are put at the end of the deepest mapping that is. `name` is how errors
    call the file. Raises ConfigError, with file and line, where the text is no YAML, the document is not there or there twice, a key stands
    twice, or a path leads through a scalar, a list, an alias or a merge.
    """
    raise NotImplementedError


def read(text: str, selector: Selector | None, paths: Sequence[Path], name: str = "the file") -> dict[Path, Value | None]:
    """What stands at `paths`, None where nothing does. Raises as `edit`, and ConfigError where a mapping or a list stands."""
    raise NotImplementedError
