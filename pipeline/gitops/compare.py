"""What a GitOps repository holds, beside what it should: which files are to be written, and which are people's and stay."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from pipeline.gitops.layout import Layout

Read = Callable[[str], bytes | None]


@dataclass(frozen=True)
class Verdict:
    """One generated file: `there` as it is, `wanted` as it is generated now (None: it is not any more).

    `state` says what is done: it is new, changed or gone where nobody touched it since it was generated last; kept where somebody did.
    """

    path: str
    state: Literal["same", "new", "changed", "gone", "kept"]
    there: bytes | None
    wanted: bytes | None

    @property
    def writes(self) -> bool:
        return self.state in ("new", "changed", "gone")

    def lines(self) -> list[str]:
        """What differs, as a unified diff."""
        before, after = ((text or b"").decode(errors="replace").splitlines() for text in (self.there, self.wanted))
        return list(difflib.unified_diff(before, after, self.path, f"{self.path} (generated)", lineterm="", n=1))


def compare(layout: Layout, head: Read, last: Read, names: Iterable[str] = ()) -> list[Verdict]:
    """A verdict for each file of the layout, and for files of its chart that it has no more (`names` are those there are).

    `head` reads a file as it is, `last` as it was generated last (None: never, or that cannot be told).
    """
    found = [_verdict(layout, path, head(path), last) for path in layout.files]
    left = (name for name in names if layout.chart and name.startswith(f"{layout.chart}/") and name not in layout.files)
    for path in left:
        there, before = head(path), last(path)
        if before is not None:  # what was never generated is people's own file beside the chart's
            found.append(Verdict(path, "gone" if there == before else "kept", there, None))
    return found


def _verdict(layout: Layout, path: str, there: bytes | None, last: Read) -> Verdict:
    if there is None:
        deleted = last(path) is not None  # somebody took it away: that is a change, too
        return Verdict(path, "kept" if deleted else "new", None, layout.files[path])
    wanted = layout.at(path, there)
    if there == wanted or path in layout.once:
        return Verdict(path, "same", there, wanted)
    before = last(path)
    untouched = before is not None and layout.untouched(path, before, there)
    return Verdict(path, "changed" if untouched else "kept", there, wanted)
