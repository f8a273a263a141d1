"""What may go, and why everything else stays, and how that is shown: pure, from what was seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.stage import Left, Use
from pipeline.tools.image_list import Dated


@dataclass(frozen=True)
class Place:
    """A repository that is tidied: `registry` is the site's name for it, `address` where it answers, `names` what images are called there
    after their commits, `keep` how many of the newest stay."""

    registry: str
    address: str
    repository: str
    names: tuple[str, ...]
    keep: int


@dataclass(frozen=True)
class Seen:
    """All that was seen: what is needed (`uses`), what stages left behind, and the images of each place."""

    uses: tuple[Use, ...]
    left: tuple[Left, ...]
    images: tuple[tuple[Place, tuple[Dated, ...]], ...]


@dataclass(frozen=True)
class Row:
    """One thing, and why it stays; "" where it goes. `item` is what goes, `place` where an image lies."""

    kind: str
    name: str
    why: str
    item: Left | Dated
    place: Place | None = None


def decide(seen: Seen) -> tuple[Row, ...]:
    """Everything that was seen, each with the reason why it stays. A revision that goes needs nothing any more."""
    going = {each.name for each in seen.left if not each.why and not each.marks}
    needed: dict[str, str] = {}
    for use in seen.uses:
        if use.of not in going:
            needed.setdefault(use.mark, use.why)
    left = [Row(each.kind, each.name, each.why or _need(each.marks, needed), each) for each in seen.left]
    return (*left, *(row for place, images in seen.images for row in _images(place, images, needed)))


def rows(known: Sequence[Row]) -> list[dict[str, Any]]:
    """Each row as plain JSON values."""
    return [{"kind": row.kind, "name": row.name, "goes": not row.why, "why": row.why} for row in known]


def table(known: Sequence[Row], *, dry: bool) -> str:
    """What goes, then what stays with the reason, then the count of each kind."""
    words = ("would go", "stays") if dry else ("gone", "stays")
    kinds, width = max((len(row.kind) for row in known), default=0), max((len(row.name) for row in known), default=0)
    ordered = sorted(known, key=lambda row: bool(row.why))
    lines = [f"{words[bool(row.why)]:<8}  {row.kind:<{kinds}}  {row.name:<{width}}  {row.why}".rstrip() for row in ordered]
    gone, stays = Counter(row.kind for row in known if not row.why), Counter(row.kind for row in known if row.why)
    counts = [f"{kind}s: {gone[kind]} {words[0]}, {stays[kind]} stay" for kind in dict.fromkeys(row.kind for row in known)]
    return "\n".join([*lines, "; ".join(counts) or "there is nothing of this release, so nothing goes"])


def _images(place: Place, images: Sequence[Dated], needed: Mapping[str, str]) -> Iterable[Row]:
    """The images of a place, the newest first, those of an unknown age last. A part of an index that stays has to stay too."""
    ordered = sorted(images, key=lambda each: (-(each.time or 0.0), each.image.tags))
    newest = {each.image.digest for each in [each for each in ordered if each.time is not None][: place.keep]}
    rows = [Row("image", _called(place, each), _why(place, each, newest, needed), each, place) for each in ordered]
    parts = {child: row for row in rows if row.why for child in row.item.image.children}  # type: ignore[union-attr]
    for row in rows:
        whole = parts.get(row.item.image.digest)  # type: ignore[union-attr]
        yield replace(row, why=f"it is a part of {whole.name.partition(' (')[0]}") if whole and not row.why else row


def _called(place: Place, each: Dated) -> str:
    return f"{place.repository}:{', '.join(each.image.tags)} ({each.image.digest[:19]})"


def _why(place: Place, each: Dated, newest: Collection[str], needed: Mapping[str, str]) -> str:
    if why := _need(each.image.marks, needed):
        return why
    if each.image.digest in newest:
        return f"it is one of the newest {place.keep}"
    if each.strange:
        return f"tag {', '.join(each.strange[:3])} is not named after a commit"
    return "its commit is not known here: git fetch, if it is one of yours" if each.time is None else ""


def _need(marks: Iterable[str], needed: Mapping[str, str]) -> str:
    return next((needed[mark] for mark in marks if mark in needed), "")
