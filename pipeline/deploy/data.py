"""Which objects hold data, or may: nothing of the pipeline deletes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KINDS = frozenset({"PersistentVolumeClaim", "PersistentVolume", "Namespace"})
# API groups whose other kinds hold none. Of a kind of any other group nothing is known: it may be a database.
GROUPS = frozenset({
    "", "apps", "autoscaling", "batch", "cert-manager.io", "coordination.k8s.io", "discovery.k8s.io", "gateway.networking.k8s.io",
    "monitoring.coreos.com", "networking.k8s.io", "node.k8s.io", "policy", "rbac.authorization.k8s.io", "scheduling.k8s.io",
    "traefik.containo.us", "traefik.io",
})  # fmt: skip


def holds_data(value: Mapping[str, Any]) -> bool:
    """Return whether deleting the object may delete data: a volume, a StatefulSet that takes its volumes along, an unknown kind."""
    kind, group = str(value.get("kind") or ""), str(value.get("apiVersion") or "/").rpartition("/")[0]
    if not kind or kind in KINDS or group not in GROUPS:
        return True
    retention = (value.get("spec") or {}).get("persistentVolumeClaimRetentionPolicy") or {}
    return bool(retention.get("whenDeleted") == "Delete")
