"""Generated files and the working copy: which differ, and writing them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Difference:
    """A generated file that is not as it would be made: `path` from the root, its text `there` or None, the text `wanted`."""

    path: str
    there: str | None
    wanted: str

    def lines(self) -> list[str]:
        """What would change, as a unified diff."""
        before = (self.there or "").splitlines()
        return list(difflib.unified_diff(before, self.wanted.splitlines(), self.path, f"{self.path} (generated)", lineterm="", n=1))


def differences(root: Path, wanted: Mapping[str, str]) -> list[Difference]:
    """Those of the files that are not there, or not byte for byte as they would be written."""
    found = []
    for name, text in wanted.items():
        file = root / name
        there = file.read_bytes().decode(errors="replace") if file.is_file() else None
        if there != text:
            found.append(Difference(name, there, text))
    return found


def write(root: Path, changed: list[Difference]) -> None:
    """Put each file in place whole."""
    for each in changed:
        file = root / each.path
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.part")
        part.write_text(each.wanted)
        part.replace(file)
