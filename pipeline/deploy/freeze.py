"""What a release's lease tells people: that deploys are frozen, by whom and since when, and who is at work."""

from __future__ import annotations

import datetime
from typing import Any

from pipeline.clock import Clock
from pipeline.deploy.holder import Holder
from pipeline.records import actor
from pipeline.stage import Freeze
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_objects import notes

FREEZE, FROZEN_BY, FROZEN_SINCE = "pipeline/freeze", "pipeline/frozen-by", "pipeline/frozen-since"


def freeze(kube: Kube, namespace: str, release: str, message: str, clock: Clock) -> None:
    """Let nobody begin to deploy this release until `thaw`; whoever tries is shown `message`, by whom and since when. Who has begun
    may finish."""
    since = datetime.datetime.fromtimestamp(clock.now(), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    _note(kube, namespace, release, {FREEZE: message, FROZEN_BY: actor(), FROZEN_SINCE: since})


def thaw(kube: Kube, namespace: str, release: str) -> None:
    """Let deploys go on."""
    _note(kube, namespace, release, {FREEZE: None, FROZEN_BY: None, FROZEN_SINCE: None})


def look(kube: Kube, namespace: str, release: str) -> dict[str, Any]:
    """The release's lease as it is, {} where there is none yet."""
    return kube.get(path("coordination.k8s.io/v1", "leases", namespace, f"pipeline-{release}")) or {}


def frozen(found: dict[str, Any]) -> Freeze | None:
    """The freeze that a lease carries."""
    said = notes(found)
    return Freeze(said[FREEZE], said.get(FROZEN_BY, ""), said.get(FROZEN_SINCE, "")) if said.get(FREEZE) else None


def holder(found: dict[str, Any]) -> str:
    """Who holds a lease and since when, in words; "" where nobody does, or one who surely is dead."""
    spec = found.get("spec") or {}
    identity = str(spec.get("holderIdentity") or "")
    who = Holder.read(identity)
    if not identity or (who is not None and who.surely_dead):
        return ""
    return f"{who.person if who else identity} since {spec.get('acquireTime', 'an unknown time')}"


def _note(kube: Kube, namespace: str, release: str, said: dict[str, str | None]) -> None:
    collection, name = path("coordination.k8s.io/v1", "leases", namespace), f"pipeline-{release}"
    if look(kube, namespace, release):
        kube.merge(f"{collection}/{name}", {"metadata": {"annotations": said}})
    elif any(said.values()):
        metadata = {"name": name, "annotations": said}
        kube.create(collection, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}})
