"""Which kinds of object a cluster knows, and where it keeps them: asked of its own lists."""

from __future__ import annotations

from pipeline.tools.kube import Kube, path


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
