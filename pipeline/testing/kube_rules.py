"""The small rules of the Kubernetes API that its fake keeps: selectors, collections, merge patches, Status objects."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

Object = dict[str, Any]
KINDS = {  # what a cluster says that it knows: apiVersion -> plural -> kind
    "v1": {"configmaps": "ConfigMap", "services": "Service", "persistentvolumeclaims": "PersistentVolumeClaim", "pods": "Pod",
           "secrets": "Secret", "serviceaccounts": "ServiceAccount"},
    "apps/v1": {"deployments": "Deployment", "statefulsets": "StatefulSet", "daemonsets": "DaemonSet"},
    "batch/v1": {"jobs": "Job", "cronjobs": "CronJob"},
    "networking.k8s.io/v1": {"ingresses": "Ingress", "networkpolicies": "NetworkPolicy"},
    "policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
    "autoscaling/v2": {"horizontalpodautoscalers": "HorizontalPodAutoscaler"},
}  # fmt: skip
DISCOVERY: dict[str, Object] = {
    f"/{'apis' if '/' in version else 'api'}/{version}": {
        "kind": "APIResourceList",
        "resources": [{"name": plural, "kind": kind, "namespaced": True} for plural, kind in kinds.items()],
    }
    for version, kinds in KINDS.items()
}


def status(code: int, reason: str) -> Object:
    return {"kind": "Status", "code": code, "reason": reason, "message": HTTPStatus(code).phrase.lower()}


def is_collection(path: str) -> bool:
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    return bool(rest) and len(rest) == (3 if rest[0] == "namespaces" and len(rest) > 2 else 1)


def within(collection: str, path: str) -> bool:
    return path.rpartition("/")[0] == collection


def namespace_of(path: str) -> str:
    """The namespace that an object at `path` lies in, "" where it lies in none."""
    before, _, rest = path.partition("/namespaces/")
    return rest.partition("/")[0] if "/" in rest and before else ""


def named(fields: str, value: Object) -> bool:
    """Whether an object is the one that a field selector metadata.name=NAME names, where it names one."""
    key, _, wanted = fields.partition("=")
    return key != "metadata.name" or value["metadata"].get("name") == wanted


def selects(selector: str, value: Object) -> bool:
    labels = value.get("metadata", {}).get("labels") or {}
    pairs = [part.split("=", 1) for part in selector.split(",") if part]
    return all(labels.get(key) == wanted for key, wanted in pairs)


def merged(old: Any, new: Any) -> Any:
    """A JSON merge patch (RFC 7386)."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    joined = {key: value for key, value in old.items() if not (key in new and new[key] is None)}
    return joined | {key: merged(old.get(key), value) for key, value in new.items() if value is not None}
