"""The comments by which Flux's image automation knows the lines that it may write: read, put on and taken off, all else byte for byte.

tag: main-1a2b3c4-1700000000 # {"$imagepolicy": "flux-system:web:tag"}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Path = tuple[str, ...]


@dataclass(frozen=True)
class Document:
    """One document of a YAML file by what it is; "" stands for any."""

    kind: str = "HelmRelease"
    name: str = ""
    namespace: str = ""


@dataclass(frozen=True)
class Marker:
    """The policy `namespace`/`policy` whose newest image is written, and which `part` of it: "" the whole reference."""

    namespace: str
    policy: str
    part: Literal["", "tag", "name", "digest"] = ""

    def __str__(self) -> str:
        """The comment itself."""
        part = f":{self.part}" if self.part else ""
        return f'# {{"$imagepolicy": "{self.namespace}:{self.policy}{part}"}}'


@dataclass(frozen=True)
class Marked:
    """A line that the image automation writes: its number (from 1), and the marker on it."""

    line: int
    marker: Marker


def written_by_automation(text: str, document: Document | None = None, *, name: str = "") -> dict[Path, Marked]:
    """The lines with a marker, by the path of their scalar from the document's root: ("spec", "values", "image", "tag").

    Of the first document that is `document` (by default the first HelmRelease); `name` is how errors call the file. Raises ConfigError
    where the text is not YAML, or a marker is one that Flux does not read.
    """
    raise NotImplementedError


def put(text: str, wanted: Mapping[Path, Marker], document: Document | None = None, *, name: str = "") -> str:
    """`text` with exactly these markers in that document: missing ones are put on, others are taken off.

    Raises ConfigError where a path is not there or is no scalar on one line, or the line has a comment of somebody's own.
    """
    raise NotImplementedError


def refuse(written: Mapping[Path, object], marked: Mapping[Path, Marked], name: str) -> None:
    """Never both: raises ConfigError where a line that the pipeline writes (`written`, by full path) is the automation's."""
    raise NotImplementedError
