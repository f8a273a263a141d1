"""Versions as https://semver.org 2.0.0 writes them: read, compared, written by a pattern."""

from __future__ import annotations

import re
from dataclasses import dataclass

NUMBER = r"(?:0|[1-9][0-9]*)"
IDENTIFIER = rf"(?:{NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
VERSION = re.compile(
    rf"v?(?P<major>{NUMBER})\.(?P<minor>{NUMBER})\.(?P<patch>{NUMBER})"
    rf"(?:-(?P<pre>{IDENTIFIER}(?:\.{IDENTIFIER})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
LONGEST = 256  # characters, as node-semver has it


@dataclass(frozen=True)
class Version:
    """A version; `raw` as it was written (with the `v` and the build metadata), `pre` the pre-release identifiers ("" in a release)."""

    raw: str
    major: int
    minor: int
    patch: int
    pre: str = ""

    @property
    def version(self) -> str:
        """Without the `v` and the build metadata."""
        return f"{self.major}.{self.minor}.{self.patch}" + (f"-{self.pre}" if self.pre else "")

    @property
    def key(self) -> tuple[tuple[int, int, int], bool, tuple[tuple[bool, int, str], ...]]:
        """Orders versions by precedence (section 11): a pre-release is before its release, numbers before words, fewer before more."""
        parts = tuple((not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in self.pre.split(".")) if self.pre else ()
        return (self.major, self.minor, self.patch), not self.pre, parts


def parse(text: str) -> Version | None:
    """The version that `text` is, a `v` before it allowed; None where it is none."""
    found = VERSION.fullmatch(text) if len(text) <= LONGEST else None
    if not found:
        return None
    return Version(text, int(found["major"]), int(found["minor"]), int(found["patch"]), found["pre"] or "")
