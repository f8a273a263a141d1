"""Which kinds of object a cluster knows, and where it keeps them: asked of its own lists."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.tools.kube import Kube, path

# what every cluster knows, so that nobody has to ask: apiVersion -> kind -> plural
BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "v1": {"ConfigMap": "configmaps", "Secret": "secrets", "Service": "services", "ServiceAccount": "serviceaccounts",
           "PersistentVolumeClaim": "persistentvolumeclaims", "Pod": "pods"},
    "apps/v1": {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"},
    "batch/v1": {"Job": "jobs", "CronJob": "cronjobs"},
    "networking.k8s.io/v1": {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "rbac.authorization.k8s.io/v1": {"Role": "roles", "RoleBinding": "rolebindings"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
}  # fmt: skip


def kinds(kube: Kube, version: str) -> dict[str, tuple[str, bool]]:
    """kind -> (plural, whether it lies in a namespace) of one API version (v1 or group/version); {} where the cluster has none of it.

    Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
    """
    listed = kube.get(path(version, "").rstrip("/")) or {}
    return {
        str(each["kind"]): (str(each["name"]), bool(each["namespaced"]))
        for each in listed.get("resources") or []
        if "/" not in str(each["name"])
    }
