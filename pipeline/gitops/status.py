"""What Flux says of a blueprint's objects: one row each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.gitops.place import INFRASTRUCTURE, Place
from pipeline.safe import clean
from pipeline.tools import unreleased
from pipeline.tools.flux import Ref, State, state
from pipeline.tools.flux_words import words
from pipeline.tools.kube import Kube

HEADS = ("KIND", "NAME", "REVISION", "STATE", "SINCE", "MESSAGE")
WIDEST = 100  # letters of a message in the table


@dataclass(frozen=True)
class Row:
    """One object. `state` is ready, waiting, suspended, failed or absent; `since` ISO 8601, when it became so; `mend` what to do."""

    kind: str
    namespace: str
    name: str
    revision: str
    state: str
    since: str
    message: str
    mend: str


def refs(place: Place) -> Iterator[Ref]:
    """The objects, in the order in which a commit goes through them."""
    flux = place.flux
    yield Ref("GitRepository", flux.system, flux.source)
    if place.gitops.oci:
        yield Ref("OCIRepository", flux.system, flux.release)
    yield Ref("Kustomization", flux.system, flux.kustomization)
    yield Ref("Kustomization", flux.system, INFRASTRUCTURE)
    yield Ref("HelmRelease", flux.namespace, flux.release)


def gather(place: Place, kube: Kube) -> list[Row]:
    """A row for each object. Raises as the client does; a cluster without Flux has none of them."""
    first = "take `suspend: true` out of it once its images are written" if place.gitops.automation else "inv release"
    return [row(ref, kube.get(ref.path), first) for ref in refs(place)]


def row(ref: Ref, value: Mapping[str, Any] | None, first: str = "inv release") -> Row:
    """What the object says; `first` is what makes the first release."""
    if value is None:
        mend = "inv flux.init" if ref.kind in ("HelmRelease", "OCIRepository") or ref.name == INFRASTRUCTURE else "inv flux.bootstrap"
        return Row(ref.kind, ref.namespace, ref.name, "", "absent", "", "there is no such object", mend)
    found = state(ref, value)
    what, message, mend = ("waiting", "for the first release", first) if unreleased.waits(value) else _said(found)
    return Row(ref.kind, ref.namespace, ref.name, found.revision, what, found.ready.since, message, mend)


def table(rows: list[Row]) -> str:
    """The rows as people read them; what mends one stands below."""
    lines = [
        HEADS,
        *((each.kind, f"{each.namespace}/{each.name}", _short(each.revision), each.state, each.since, _cut(each.message)) for each in rows),
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    mends = [f"{each.kind} {each.name}: {each.mend.splitlines()[0]}" for each in rows if each.mend]
    return "\n".join(map(clean, [*shown, *([""] if mends else []), *mends]))


def as_json(rows: list[Row]) -> list[dict[str, str]]:
    return [asdict(each) for each in rows]


def _said(found: State) -> tuple[str, str, str]:
    """(state, message, mend)."""
    why = words(found)
    if why:
        cause = why.cause.splitlines()[0] if why.cause else ""
        return ("suspended" if why.kind == "suspended" else "failed"), f"{why.what}{f': {cause}' if cause else ''}", why.mend
    if found.settled:
        return "ready", found.ready.message, ""
    return "waiting", found.reconciling.message or found.ready.message, ""


def _short(revision: str) -> str:
    """A revision with its commit as people write it: main@1a2b3c4."""
    head, at, commit = revision.rpartition("@sha1:")
    return f"{head}@{commit[:7]}" if at else revision.removeprefix("sha1:")[:40]


def _cut(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= WIDEST else f"{line[: WIDEST - 1]}…"
