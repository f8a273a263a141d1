"""Holds an object as it is against the same as it should be, field by field, and says who wrote a field: read from managedFields.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import jsontext

Object = Mapping[str, Any]
OWN = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")  # metadata that the server writes
PEOPLE = "kubectl"  # what the names of those begin with whom an edit by hand is put down to
DEFAULTS = {"protocol": "TCP"}  # keys of a list's elements that a manifest may leave out
RESTARTED = "restartedAt"  # what `kubectl rollout restart` leaves is no edit


class Nothing:
    """What is not there."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING = Nothing()


@dataclass(frozen=True)
class Difference:
    """One field that is not as it should be: `steps` lead to it (a number is an index into the list as it is there), `path` is the same
    as people write it, with an element of a list by its name. NOTHING stands for a field that is not there."""

    steps: tuple[str | int, ...]
    path: str
    live: Any
    wanted: Any

    @property
    def pointer(self) -> str:
        """The field as a JSON pointer (RFC 6901)."""
        return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in self.steps)


def differences(live: Object, wanted: Object) -> list[Difference]:
    """All that differs, without the status and what the server keeps of the metadata."""
    return list(_differences(_bare(live), _bare(wanted), (), ""))


def added(live: Object, wanted: Object) -> list[Difference]:
    """Fields that somebody set by hand and `wanted` says nothing of: no apply of `wanted` would take them away.

    None of the metadata, since a label or an annotation of others is no edit of what was released. None of a Secret: charts make empty
    ones that people fill, and what they put in may be nowhere else.
    """
    found: dict[str, Difference] = {}
    if live.get("kind", wanted.get("kind")) == "Secret":
        return []
    for entry in live.get("metadata", {}).get("managedFields") or []:
        if not str(entry.get("manager", "")).startswith(PEOPLE) or entry.get("subresource"):
            continue
        for key, inner in (entry.get("fieldsV1") or {}).items():
            name = key.removeprefix("f:")
            if key.startswith("f:") and name not in ("metadata", "status", "apiVersion", "kind"):
                for each in _added(inner or {}, live.get(name, NOTHING), wanted.get(name, NOTHING), (name,), name):
                    found.setdefault(each.path, each)
    return list(found.values())


def without_added(live: Object, wanted: Object, managers: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the object without what was `added`, and the paths of that. What one of `managers` owns as well stays."""
    entries = [entry for entry in live.get("metadata", {}).get("managedFields") or [] if entry.get("manager") in managers]
    ours = [entry.get("fieldsV1") or {} for entry in entries]
    gone = [each for each in added(live, wanted) if not any(_owns(fields, live, each.steps) for fields in ours)]
    left: dict[str, Any] = copy.deepcopy(dict(live))
    for each in sorted(gone, key=lambda one: [str(step).zfill(9) for step in one.steps], reverse=True):  # the last of a list goes first
        above: Any = left
        for step in each.steps[:-1]:
            above = above[step]
        del above[each.steps[-1]]
    return left, [each.path for each in gone]


def taken(live: Object, keeper: str) -> list[Difference]:
    """Fields that somebody wrote by hand, so that they are not `keeper`'s any more (or never were): each with its value, and NOTHING as
    what is wanted, since that is not known here. None of the metadata and the status."""
    entries = live.get("metadata", {}).get("managedFields") or []
    own = [entry.get("fieldsV1") or {} for entry in entries if entry.get("manager") == keeper]
    found: dict[str, Difference] = {}
    for entry in entries:
        if not str(entry.get("manager", "")).startswith(PEOPLE):
            continue
        fields = {key: inner for key, inner in (entry.get("fieldsV1") or {}).items() if key not in ("f:metadata", "f:status")}
        for each in _leaves(fields, live, (), ""):
            if RESTARTED not in each.path and not any(_owns(one, live, each.steps) for one in own):
                found.setdefault(each.path, each)
    return list(found.values())


def writer(live: Object, steps: Sequence[str | int]) -> str:
    """Who wrote the field last, as "kubectl-edit at 2026-01-02T03:04:05Z" (a subresource's writer has no time); "" where nobody owns it,
    as one that was taken away."""
    entries = [entry for entry in live.get("metadata", {}).get("managedFields") or [] if entry.get("subresource") != "status"]
    own = [entry for entry in entries if _owns(entry.get("fieldsV1") or {}, live, steps)]
    if not own:
        return ""
    last = max(own, key=lambda entry: str(entry.get("time") or ""))
    by = " ".join(filter(None, (str(last.get("manager") or "somebody"), str(last.get("subresource") or ""))))
    return by + (f" at {last['time']}" if last.get("time") else "")


def _bare(value: Object) -> dict[str, Any]:
    meta = {key: each for key, each in (value.get("metadata") or {}).items() if key not in OWN}
    return {**{key: each for key, each in value.items() if key not in ("status", "apiVersion", "kind")}, "metadata": meta}


def _differences(live: Any, wanted: Any, steps: tuple[str | int, ...], path: str) -> Iterator[Difference]:
    if isinstance(live, Mapping) and isinstance(wanted, Mapping):
        for key in dict.fromkeys((*live, *wanted)):
            inner = f"{path}.{key}" if path else str(key)
            yield from _differences(live.get(key, NOTHING), wanted.get(key, NOTHING), (*steps, key), inner)
    elif isinstance(live, list) and isinstance(wanted, list) and (word := _named_by(live, wanted)):
        here = {each[word]: number for number, each in enumerate(live)}
        there = {each[word]: each for each in wanted}
        for called in dict.fromkeys((*here, *there)):
            number = here.get(called, len(live))
            element = live[number] if called in here else NOTHING
            yield from _differences(element, there.get(called, NOTHING), (*steps, number), f"{path}[{called}]")
    elif isinstance(live, list) and isinstance(wanted, list) and len(live) == len(wanted):
        for number, (one, other) in enumerate(zip(live, wanted, strict=True)):
            yield from _differences(one, other, (*steps, number), f"{path}[{number}]")
    elif type(live) is not type(wanted) or live != wanted:
        yield Difference(steps, path, live, wanted)


def _named_by(*lists: Sequence[Any]) -> str:
    """The key by which the elements of all these lists are told apart, "" where there is none: as Kubernetes merges them, or nearly."""
    for word in ("name", "mountPath", "containerPort", "port", "key", "ip", "type", "uid"):
        values = [[each.get(word) if isinstance(each, Mapping) else None for each in one] for one in lists]
        if any(values) and all(None not in one and len(set(map(str, one))) == len(one) for one in values):
            return word
    return ""


def _added(fields: Object, live: Any, wanted: Any, steps: tuple[str | int, ...], path: str) -> Iterator[Difference]:
    """What of an owner's `fields` is in `live` and not in `wanted`: the highest field of which that holds."""
    if live is NOTHING or RESTARTED in path:
        return
    words = [key for key in fields if key != "."]
    if words and all(RESTARTED in key for key in words):
        return
    if wanted is NOTHING:
        yield Difference(steps, path, live, NOTHING)
        return
    for key, inner in fields.items():
        kind, _, word = key.partition(":")
        if kind == "f" and isinstance(live, Mapping):
            there = wanted.get(word, NOTHING) if isinstance(wanted, Mapping) else NOTHING
            yield from _added(inner or {}, live.get(word, NOTHING), there, (*steps, word), f"{path}.{word}")
        elif kind == "k" and isinstance(live, list):
            number = _element(live, word)
            if number is None:
                continue
            twin = _element(wanted, word) if isinstance(wanted, list) else None
            there = wanted[twin] if twin is not None else NOTHING
            yield from _added(inner or {}, live[number], there, (*steps, number), f"{path}[{_called(live[number], number)}]")


def _leaves(fields: Object, live: Any, steps: tuple[str | int, ...], path: str) -> Iterator[Difference]:
    """What of an owner's `fields` is there, down to those that have none below them."""
    words = [key for key in fields if key != "."]
    if not words and steps and live is not NOTHING:
        yield Difference(steps, path, live, NOTHING)
    for key in words:
        kind, _, word = key.partition(":")
        if kind == "f" and isinstance(live, Mapping):
            yield from _leaves(fields[key] or {}, live.get(word, NOTHING), (*steps, word), f"{path}.{word}" if path else word)
        elif kind == "k" and isinstance(live, list) and (number := _element(live, word)) is not None:
            yield from _leaves(fields[key] or {}, live[number], (*steps, number), f"{path}[{_called(live[number], number)}]")


def _owns(fields: Object, live: Any, steps: Sequence[str | int]) -> bool:
    """Whether an owner's `fields` have the field in them, or one that it is a part of."""
    if not steps:
        return True
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        inner = fields.get(f"f:{step}")
        below = live.get(step, NOTHING) if isinstance(live, Mapping) else NOTHING
        return inner is not None and (not inner or _owns(inner, below, rest))
    if not isinstance(live, list) or step >= len(live):
        return False
    keys = [key for key in fields if key.startswith("k:") and _element([live[step]], key[2:]) == 0]
    return any(_owns(fields[key] or {}, live[step], rest) for key in keys)


def _element(values: Sequence[Any], keys: str) -> int | None:
    """Where the element is that has these keys, as managedFields writes them ({"name":"app"})."""
    try:
        wanted = jsontext.loads(keys)
    except ValueError:
        return None
    for number, each in enumerate(values):
        if not isinstance(each, Mapping) or not isinstance(wanted, Mapping):
            continue
        if all(each.get(key, DEFAULTS.get(key)) == value for key, value in wanted.items()):
            return number
    return None


def _called(element: Any, number: int) -> str:
    return str(element.get("name", number)) if isinstance(element, Mapping) else str(number)
