"""Tries a release out on the server before anything is written: what would change, whose fields it would take, what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipeline.deploy.manifest_check import called
from pipeline.deploy.manifest_spec import Manifests
from pipeline.errors import ConfigError, PipelineError
from pipeline.tools import kube_apply
from pipeline.tools.kube import Conflict, Kube
from pipeline.tools.kube_objects import INSTANCE, labels

Object = Mapping[str, Any]
Made = dict[str, Any]
KEPT_OUT = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")  # of metadata: not the author's
OF_TOOLS = ("deployment.kubernetes.io/", "kubectl.kubernetes.io/", "kubecfg.ksonnet.io/")  # annotations that tools write
LONGEST = 60  # characters of a value that is shown


@dataclass(frozen=True)
class Trial:
    """What applying one object would do: `lines` say each change ("+" alone for a new object), `taken` are (field, manager) of others."""

    path: str
    called: str
    lines: tuple[str, ...]
    taken: tuple[tuple[str, str], ...] = ()


def attempt(kube: Kube, spec: Manifests, objects: Sequence[Made], places: Sequence[str], ours: frozenset[str]) -> list[Trial]:
    """Apply every object as a dry run. `ours` are the paths of what the release had before.

    Raises ConfigError for a field that is not known or cannot change, for an object that is somebody else's, and, where the stage
    says `conflicts: refuse`, for a field that another manager set.
    """
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(lambda pair: _one(kube, spec, pair[0], pair[1], ours), zip(objects, places, strict=True)))


def _one(kube: Kube, spec: Manifests, value: Made, place: str, ours: frozenset[str]) -> Trial:
    what = called(value)
    live = kube.get(place)
    if live is not None:
        _check_owner(spec, what, live, place in ours)
    try:
        after, taken = _tried(kube, spec, value, place)
    except PipelineError as error:
        raise kube_apply.refusal(what, error) from error
    if taken and spec.conflicts == "refuse":
        raise _conflict(what, taken)
    return Trial(place, what, ("+",) if live is None else tuple(differences(live, after)), tuple(taken))


def _tried(kube: Kube, spec: Manifests, value: Made, place: str) -> tuple[Object, list[tuple[str, str]]]:
    """What the object would be, and the (field, manager) that it would take from others."""
    try:
        return kube.apply(place, value, manager=spec.managers[0], force=False, trial=True), []
    except Conflict as error:
        taken = [(field, by) for field, by in kube_apply.conflicts(error.cause) if by not in spec.managers]
        return kube.apply(place, value, manager=spec.managers[0], trial=True), taken


def _check_owner(spec: Manifests, what: str, live: Object, ours: bool) -> None:
    owner = labels(live).get(INSTANCE, "")
    if ours or owner == spec.release or (not owner and spec.adopt):
        return
    whose = f"it belongs to release {owner}" if owner else "it was not made by this release"
    mend = "rename it in the manifests, or delete it"
    raise ConfigError(
        f"{what} is there already, and {whose}",
        mend=mend if owner else f"{mend}; or, if it is this application's, let the release take it over: adopt: true",
    )


def _conflict(what: str, taken: Sequence[tuple[str, str]]) -> ConfigError:
    cause = "\n".join(f"{field} was set by {by}" for field, by in taken)
    mend = "take these fields out of the manifests, take the edit back, or let the release have them: conflicts: take"
    return ConfigError(f"{what}: {len(taken)} field(s) are another manager's", cause=cause, mend=mend)


def differences(before: Object, after: Object) -> Iterator[str]:
    """Each field that differs, as "spec.replicas: 1 -> 2". What a Secret holds is never shown."""
    secret = after.get("kind") == "Secret"
    old, new = dict(_leaves(_authored(before), "")), dict(_leaves(_authored(after), ""))
    for field in sorted(old.keys() | new.keys()):
        if old.get(field) == new.get(field):
            continue
        if secret and field.startswith(("data.", "stringData.")):
            yield f"{field}: changed"
        elif field not in new:
            yield f"{field}: {_short(old[field])} is taken away"
        elif field not in old:
            yield f"{field}: {_short(new[field])} is added"
        else:
            yield f"{field}: {_short(old[field])} -> {_short(new[field])}"


def _authored(value: Object) -> Object:
    metadata = {key: item for key, item in value.get("metadata", {}).items() if key not in KEPT_OUT}
    notes = {key: item for key, item in (metadata.get("annotations") or {}).items() if not key.startswith(OF_TOOLS)}
    return {**{key: item for key, item in value.items() if key != "status"}, "metadata": {**metadata, "annotations": notes}}


def _leaves(value: Any, field: str) -> Iterator[tuple[str, Any]]:
    """Each leaf by its name; the items of a list by their own names where they have such."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{field}.{key}" if field else str(key))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            called_ = item.get("name", index) if isinstance(item, dict) else index
            yield from _leaves(item, f"{field}[{called_}]")
    elif value not in ({}, []):
        yield field, value


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST else f"{text[:20]}…{text[-LONGEST + 21 :]}"
