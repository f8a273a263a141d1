"""The state of each object of a release when it was good, and what of it differs now: how an edit by hand is seen, and told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.tools.kube import Kube
from pipeline.tools.kube_objects import edits, name, selector

Object = Mapping[str, Any]


def seen(kube: Kube, release: str, places: Iterable[str], known: Mapping[str, Sequence[Object]] | None = None) -> dict[str, Object]:
    """The metadata of the release's objects that are there, by path: one request for each kind, less those `known` by collection."""
    found = {}
    for collection in sorted({place.rpartition("/")[0] for place in places}):
        given = (known or {}).get(collection)
        items = kube.list(collection, selector(release), metadata=True)["items"] if given is None else given
        found.update({f"{collection}/{name(item)}": item for item in items})
    return found


def stamps(objects: Mapping[str, Object], places: Iterable[str], managers: Sequence[str]) -> dict[str, str]:
    """The state of each object of `places` as one word: its version, and when its own managers and others last wrote to it."""
    return {place: " ".join(_stamp(objects[place], managers)) for place in places if place in objects}


def drift(objects: Mapping[str, Object], noted: Mapping[str, str], managers: Sequence[str]) -> list[str]:
    """What was deleted or edited since the stamps were `noted`, and by whom. What controllers write to a status is no edit."""
    found = []
    for place, stamp in sorted(noted.items()):
        kind, called = place.split("/")[-2:]
        what = f"{kind}/{called}"
        if place not in objects:
            found.append(f"{what} is gone")
            continue
        version, own, others = stamp.split(" ")
        now = _stamp(objects[place], managers)
        if now[0] == version:
            continue
        by = edits(objects[place], managers, "" if others == "-" else others)
        if now[1] != own:
            by.append(f"{managers[0]} wrote to it at {now[1]}, outside this pipeline")
        if by:
            found.append(f"{what} was edited: " + "; ".join(by[:3]))
    return found


def _stamp(value: Object, managers: Sequence[str]) -> tuple[str, str, str]:
    """(version, when its own managers wrote, when others did): the generation counts where there is one, since it leaves the status out."""
    metadata = value.get("metadata", {})
    version = str(metadata.get("generation") or metadata.get("resourceVersion") or "-")
    entries = [entry for entry in metadata.get("managedFields") or [] if not entry.get("subresource")]
    own = [str(entry.get("time")) for entry in entries if entry.get("manager") in managers and entry.get("time")]
    others = [str(entry.get("time")) for entry in entries if entry.get("manager") not in managers and entry.get("time")]
    return version, max(own, default="-"), max(others, default="-")
