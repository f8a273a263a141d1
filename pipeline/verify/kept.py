"""What keeps a release's objects, and what it wants them to be: the newest revision that Helm stored (for Flux too), or the pipeline."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.errors import IntegrityError, Transient
from pipeline.tools import helm_stored, kube_objects
from pipeline.tools.flux import Ref
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_drift import Drifted, compare
from pipeline.tools.kube_fields import Difference
from pipeline.tools.kube_kinds import kinds
from pipeline.verify.parallel import a_few_at_once
from pipeline.verify.view import View

Object = Mapping[str, Any]
LEFT_ALONE = "helm.toolkit.fluxcd.io/driftDetection"  # an annotation: disabled takes an object out of Flux's detection


@dataclass(frozen=True)
class Keeper:
    """A release as its keeper has it: Helm's `name` of it in `storage`, revision `number`, its objects by default in `namespace`; of one
    that Flux keeps, `ref` leads to the HelmRelease and `value` is that; or to a Kustomization, and then there is no number."""

    name: str
    storage: str
    number: int
    namespace: str
    ref: Ref | None = None
    value: Object | None = None

    def __str__(self) -> str:
        return f"revision {self.number} of {self.name}" if self.number else f"Kustomization {self.name}"

    @property
    def ignored(self) -> Sequence[Object]:
        """The fields that Flux is told to leave as they are."""
        found = ((self.value or {}).get("spec") or {}).get("driftDetection") or {}
        return found.get("ignore") or []


def of_flux(ref: Ref, view: View) -> Keeper:
    """The release of a HelmRelease. Raises Transient where there is none, or nothing was released yet."""
    value = view.once(("get", ref.path), lambda: view.client().get(ref.path))
    if value is None:
        raise Transient(f"there is no {ref}")
    status = value.get("status") or {}
    history = status.get("history") or []
    if not history:
        raise Transient(f"{ref} has released nothing yet")
    last = history[0]
    storage = str(status.get("storageNamespace") or ref.namespace)
    return Keeper(str(last.get("name")), storage, int(last.get("version") or 0), str(last.get("namespace") or ref.namespace), ref, value)


def of_name(name: str, view: View) -> Keeper:
    """Return the release of that name that Helm keeps, or the pipeline itself. Raise Transient if none is deployed."""
    number = view.once(("newest", name), lambda: helm_stored.newest(view.client(), view.namespace, name))
    if not number:
        raise Transient(f"nobody keeps a release {name} that is deployed in namespace {view.namespace}")
    return Keeper(name, view.namespace, number, view.namespace)


def drifted(keeper: Keeper, view: View, seconds: float) -> list[Drifted]:
    """Every object that is not as its newest revision says, all asked at once: what an apply of it would change, tried without writing.

    Raises Transient where the revision is gone, Unreachable where the cluster does not answer, AuthError where the trial is not allowed.
    """
    which = (keeper.storage, keeper.name, keeper.number)
    try:
        wanted: Sequence[Object] = view.once(("stored", *which), lambda: helm_stored.of(view.client(), *which).objects)
    except IntegrityError as error:
        raise Transient(error.what) from error  # the next revision may have put it away
    found: list[Drifted] = view.once(("drifted", *which), lambda: _drifted(view.client(), keeper, wanted, seconds))
    return found


def _drifted(kube: Kube, keeper: Keeper, wanted: Sequence[Object], seconds: float) -> list[Drifted]:
    versions = list(dict.fromkeys(str(each.get("apiVersion")) for each in wanted))
    known = dict(zip(versions, all_of(a_few_at_once([partial(kinds, kube, each) for each in versions], seconds)), strict=True))
    asks = [partial(_one, kube, keeper, each, _place(each, known, keeper.namespace)) for each in wanted]
    return [each for several in all_of(a_few_at_once(asks, seconds)) for each in several]


def _one(kube: Kube, keeper: Keeper, wanted: Object, where: str) -> list[Drifted]:
    if not where:
        what = f"{wanted.get('kind')} {kube_objects.name(wanted)}"
        return [Drifted(what, why=f"is of a kind that the cluster does not know any more ({wanted.get('apiVersion')})")]
    return compare(kube, wanted, where, lambda field, live: _left(field, live, keeper), LEFT_ALONE)


def _left(difference: Difference, live: Object, keeper: Keeper) -> bool:
    """Whether Flux is told to leave that field of that object as it is."""
    for rule in keeper.ignored:
        inside = any(difference.pointer == each or difference.pointer.startswith(f"{each}/") for each in rule.get("paths") or [])
        if inside and _meant(rule.get("target") or {}, live):
            return True
    return False


def _meant(target: Object, live: Object) -> bool:
    """Whether a rule's target is this object. Names are regular expressions there, matched whole.

    Source: https://fluxcd.io/flux/components/helm/helmreleases/#ignore-rules
    """
    group, _, version = str(live.get("apiVersion", "")).rpartition("/")
    meta = live.get("metadata") or {}
    own = {"group": group, "version": version, "kind": str(live.get("kind", "")), "namespace": str(meta.get("namespace", ""))}
    own["name"] = str(meta.get("name", ""))
    if any(target.get(key) and not _fits(str(target[key]), value) for key, value in own.items()):
        return False
    selectors = ((target.get("labelSelector"), meta.get("labels")), (target.get("annotationSelector"), meta.get("annotations")))
    return all(_selected(str(selector), values or {}) for selector, values in selectors if selector)


def _fits(pattern: str, value: str) -> bool:
    try:
        return re.fullmatch(pattern, value) is not None
    except re.error:
        return pattern == value


def _selected(selector: str, values: Mapping[str, str]) -> bool:
    pairs = [part.partition("=") for part in selector.replace("==", "=").split(",") if part]
    return all(values.get(key.strip()) == value.strip() if equal else key.strip() in values for key, equal, value in pairs)


def _place(value: Object, known: Mapping[str, Mapping[str, tuple[str, bool]]], namespace: str) -> str:
    version, kind = str(value.get("apiVersion")), str(value.get("kind"))
    if kind not in known[version]:
        return ""
    plural, namespaced = known[version][kind]
    own = str((value.get("metadata") or {}).get("namespace") or namespace)
    return path(version, plural, own if namespaced else "", kube_objects.name(value))


def all_of(answers: Sequence[Any]) -> list[Any]:
    """The answers; the first that is an error is raised."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return list(answers)
