"""Takes a release away: what it made goes, what holds data stays unless that is said too, and what is somebody else's always."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.deploy import history, manifest_store, secret, stored, unfinished
from pipeline.deploy.data import holds_data
from pipeline.deploy.spec import HELM, Engined
from pipeline.deploy.work import STAGE, Work, at_work
from pipeline.events import What
from pipeline.stage import Removal, Site, Stays
from pipeline.tools import helm_stored, manifest
from pipeline.tools.kube import Kube, connect, path
from pipeline.tools.kube_objects import INSTANCE, labels, name, notes

KEPT = {"helm.sh/resource-policy": "keep", "kubecfg.ksonnet.io/garbage-collect-strategy": "ignore"}
NEVER = ("Namespace", "PersistentVolume", "CustomResourceDefinition")
DATA = "it may hold data"


@dataclass(frozen=True)
class Thing:
    """An object of the release as it lies in the cluster, and why it stays; "" where it goes."""

    place: str
    value: Mapping[str, Any]
    why: str

    def __str__(self) -> str:
        return f"{self.value.get('kind')}/{name(self.value)}"


def removal(spec: Engined, with_data: bool, site: Site) -> Removal:
    """What taking the release away would delete and what would stay. Only looks, and takes no lock. Raises what the cluster's client
    raises, IntegrityError for a revision that cannot be read."""
    kube = connect(site, spec.cluster)
    things = look(kube, spec, with_data=with_data)
    goes = frozenset(thing.place for thing in things if not thing.why)
    known = history.read(kube, spec.namespace, spec.release, spec.keeper)

    def go() -> None:
        with at_work(spec, site) as work:
            _go(work, goes, with_data=with_data)

    stays = tuple(Stays(str(thing), thing.why) for thing in things if thing.why)
    gone = tuple(str(thing) for thing in things if not thing.why)
    return Removal(spec.release, spec.namespace, gone, stays, go if known or goes else None)


def look(kube: Kube, spec: Engined, *, with_data: bool) -> list[Thing]:
    """The objects that the release has in the cluster, each with the reason why it stays."""
    found = [(place, live) for place in _places(kube, spec) if (live := kube.get(place)) is not None]
    found += [(place, live) for place, live in _claims(kube, spec, found) if place not in {place for place, _ in found}]
    things = [Thing(place, live, _why(live, spec, with_data=with_data)) for place, live in found]
    if any(thing.why == DATA for thing in things):
        why = "it may be the key to data that stays"
        things = [Thing(each.place, each.value, each.why or why if each.value.get("kind") == "Secret" else each.why) for each in things]
    return things


def _places(kube: Kube, spec: Engined) -> list[str]:
    """Where the objects of the newest revision lie; of manifests, those of every revision that is kept."""
    ordered = sorted(stored.kept(kube, spec), key=lambda each: -int(labels(each[0]).get("version") or 0))
    releases = [release for _, release in ordered]
    if spec.keeper is not HELM:
        return list(dict.fromkeys(place for each in releases for place in manifest_store.places(each)))
    objects = list(helm_stored.parsed(str(releases[0].get("manifest") or ""))) if releases else []
    return list(manifest.places(kube, objects, spec.namespace))


def _claims(kube: Kube, spec: Engined, found: list[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The volume claims that the release's StatefulSets have made. Their names are Kubernetes' own: template, set, ordinal."""
    names = [
        rf"{re.escape(name(template))}-{re.escape(name(live))}-[0-9]+"
        for _, live in found
        if live.get("kind") == "StatefulSet"
        for template in (live.get("spec") or {}).get("volumeClaimTemplates") or []
    ]
    for claim in kube.list(path("v1", "persistentvolumeclaims", spec.namespace))["items"] if names else []:
        if re.fullmatch("|".join(names), name(claim)):
            place = path("v1", "persistentvolumeclaims", spec.namespace, name(claim))
            yield place, {**claim, "apiVersion": "v1", "kind": "PersistentVolumeClaim"}


def _why(live: Mapping[str, Any], spec: Engined, *, with_data: bool) -> str:
    kind = str(live.get("kind"))
    if kind in NEVER:
        return "others may need it"
    if any(notes(live).get(key) == value for key, value in KEPT.items()):
        return "its annotations say that it is kept"
    if spec.keeper is not HELM and kind != "PersistentVolumeClaim" and labels(live).get(INSTANCE) != spec.release:
        return "it is somebody else's by now"
    return DATA if holds_data(live) and not with_data else ""


def _go(work: Work, goes: frozenset[str], *, with_data: bool) -> None:
    """Delete what was told, and nothing else: what has changed since then is seen here, under the lock."""
    spec, site = work.spec, work.site
    revisions = unfinished.checked(work)
    things = look(work.kube, spec, with_data=with_data)  # type: ignore[arg-type]  # the spec of a Work has an engine
    kept = {thing.place for thing in things if thing.why or thing.place not in goes}
    if revisions:
        work.lease.assert_held()
        work.engine.take_away(work, revisions[0].number, kept)
    for thing in things:
        if thing.place not in kept and thing.value.get("kind") == "PersistentVolumeClaim":
            work.lease.assert_held()
            work.kube.delete(thing.place)
    secret.prune(work.kube, spec, ())
    for thing in things:
        if thing.place in kept:
            site.tell(What.WARN, STAGE, f"{thing} stays: {thing.why or 'it was not there when this was told'}")
