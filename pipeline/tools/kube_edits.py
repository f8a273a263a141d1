"""Which objects of a release were deleted or edited behind its keeper's back, and how.

The metadata says which were written to; only those are held against the manifest, field by field.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import AuthError
from pipeline.tools import kube_drift, manifest
from pipeline.tools.kube import Conflict, Kube
from pipeline.tools.kube_fields import PEOPLE, without_added
from pipeline.tools.kube_objects import SCALE, edits

Object = Mapping[str, Any]
SHOWN = 3  # fields of one object that are named
TRIES = 20  # times that an object is written which its controller writes to at the same moment


@dataclass(frozen=True)
class Edited:
    """What was `said` of each object that is not as it was released, in words; `unknown` are the kinds that this user may not list."""

    said: tuple[str, ...]
    unknown: tuple[str, ...] = ()


def edited(
    kube: Kube, places: Mapping[str, str], wanted: Callable[[], Mapping[str, Object]], managers: Sequence[str],
    known: Mapping[str, Object] | None = None, needed: Sequence[str] = (),
) -> Edited:  # fmt: skip
    """Look at the objects at `places`, each with its stamp from when it was good ("" if that is not known): one request for each kind of
    object that is not `known`. `wanted` gives the manifest's objects by path, and is asked only if something was written to. Of what pods
    have `needed` to start, whoever made it, nothing may be gone."""
    seen, unknown, found = dict(known or {}), [], []
    for collection, those in manifest.by_collection(place for place in {**places, **dict.fromkeys(needed)} if place not in seen).items():
        try:
            seen.update(manifest.read(kube, those, metadata=True))
        except AuthError:
            unknown.append(collection.rpartition("/")[2])
    there = [place for place in sorted(places) if place.split("/")[-2] not in unknown]
    found += [f"{called(place)} is gone" for place in there if place not in seen]
    others = [place for place in needed if place not in seen and place not in places and place.split("/")[-2] not in unknown]
    found += [f"{called(place)} is gone: pods cannot start again without it" for place in others]
    touched = [place for place in there if place in seen and is_touched(seen[place], places[place], managers)]
    objects = wanted() if touched else {}
    for place in touched:
        if place in objects and (said := _said(kube, objects[place], place, seen[place], managers)):
            found.append(f"{called(place)} was edited: " + "; ".join(said[:SHOWN]))
    return Edited(tuple(found), tuple(unknown))


def take_out(kube: Kube, place: str, wanted: Object, managers: Sequence[str]) -> list[str]:
    """Take out of the object at `place` what people added by hand, which no apply of `wanted` takes away. Return the paths of the fields.

    Raises Conflict if somebody writes to it all the time, else as the cluster's client does.
    """
    for left in reversed(range(TRIES)):
        live = kube.get(place)
        rest, gone = without_added(live, wanted, managers) if live else ({}, [])
        if not gone:
            return []
        try:
            kube.replace(place, rest)
        except Conflict:
            if not left:
                raise
        else:
            return gone
    return []


def is_peoples(value: Object) -> bool:
    """Whether somebody wrote to an object by hand."""
    return any(str(entry.get("manager", "")).startswith(PEOPLE) for entry in value.get("metadata", {}).get("managedFields") or [])


def stamps(objects: Mapping[str, Object], managers: Sequence[str]) -> dict[str, str]:
    """The state of each object as one word: its version, and when its own managers and others last wrote to it."""
    return {place: " ".join(_stamp(value, managers)) for place, value in objects.items()}


def stamps_of_good(kube: Kube, objects: Mapping[str, Object], wanted: Mapping[str, Object], managers: Sequence[str]) -> dict[str, str]:
    """The same for objects that are noted as good: "" for one that was edited and is not as `wanted`, so that it goes on being told."""
    found = stamps(objects, managers)
    for place, value in objects.items():
        if is_touched(value, "", managers):
            with contextlib.suppress(AuthError):
                found[place] = "" if kube_drift.compare(kube, wanted[place], place) else found[place]
    return found


def is_touched(value: Object, stamp: str, managers: Sequence[str]) -> bool:
    """Whether somebody may have changed an object since its state was `stamp` ("" if that is not known). What controllers write to a
    status is no edit, nor what an autoscaler does."""
    version, own, others = stamp.split(" ") if stamp else ("", "", "")
    now = _stamp(value, managers)
    if now[0] == version:
        return False
    if edits(value, managers, others.strip("-")) or (stamp and now[1] != own):
        return True
    return bool(stamp) and not _is_explained(value, managers, others.strip("-"))


def _is_explained(value: Object, managers: Sequence[str], since: str) -> bool:
    """Whether it is named who wrote to the object since: who takes a field away, or scales to 0, leaves no trace."""
    metadata = value.get("metadata", {})
    for entry in metadata.get("managedFields") or []:
        by, part, at = entry.get("manager"), entry.get("subresource"), str(entry.get("time") or "")
        if part == SCALE or (part and "generation" not in metadata):
            return True
        if not part and by not in managers and at > since:
            return True
    return False


def _said(kube: Kube, wanted: Object, place: str, seen: Object, managers: Sequence[str]) -> list[str]:
    """What of one object is not as its manifest says; who wrote to it, if this user may not compare it."""
    try:
        return [text for each in kube_drift.compare(kube, wanted, place) for text in each.said]
    except AuthError:
        return edits(seen, managers)


def called(place: str) -> str:
    """Return what people call the object at a path: its kind and its name."""
    return "/".join(place.split("/")[-2:])


def _stamp(value: Object, managers: Sequence[str]) -> tuple[str, str, str]:
    """(version, when its own managers wrote, when others did): the generation counts where there is one, since it leaves the status out."""
    metadata = value.get("metadata", {})
    version = str(metadata.get("generation") or metadata.get("resourceVersion") or "-")
    entries = [entry for entry in metadata.get("managedFields") or [] if not entry.get("subresource")]
    own = [str(entry.get("time")) for entry in entries if entry.get("manager") in managers and entry.get("time")]
    others = [str(entry.get("time")) for entry in entries if entry.get("manager") not in managers and entry.get("time")]
    return version, max(own, default="-"), max(others, default="-")
