"""Workloads that somebody scaled to nothing although the manifests say how many pods they have: live, whole, and serving nobody.

An autoscaler that goes down to nothing leaves the number out of its chart, as it has to: there nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.deploy import stored
from pipeline.deploy.spec import HELM, Keeper
from pipeline.errors import ConfigError
from pipeline.tools import helm_stored
from pipeline.tools.kube import Kube
from pipeline.tools.kube_objects import name
from pipeline.tools.manifest import WORKLOADS


def idle(
    kube: Kube, namespace: str, release: str, number: int, deployments: Sequence[Mapping[str, Any]], keeper: Keeper = HELM
) -> list[str]:
    """Each of them in words. Asks for the stored revision `number` only if a workload has no pods wanted."""
    still = [_called(each) for each in deployments if each.get("spec", {}).get("replicas") == 0]
    if not still:
        return []
    wanted = replicas(str(stored.read(kube, namespace, release, number, keeper).get("manifest") or ""))
    return [f"{each} was scaled to 0, its chart says {wanted[each]}" for each in still if wanted.get(each, 0) > 0]


def replicas(manifest: str) -> dict[str, int]:
    """How many pods the manifest gives each workload that it gives any number; {} if it cannot be read."""
    try:
        found = list(helm_stored.parsed(manifest))
    except ConfigError:
        return {}
    those = [each for each in found if each.get("kind") in WORKLOADS and isinstance(each.get("spec"), dict)]
    return {_called(each): each["spec"]["replicas"] for each in those if isinstance(each["spec"].get("replicas"), int)}


def _called(workload: Mapping[str, Any]) -> str:
    return f"{workload.get('kind') or 'Deployment'} {name(workload)}"
