"""Keeps a Kubernetes Secret in step with its sources: written only when it differs, put back when a release is taken back."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from pipeline.tools.kube import Kube, path

Before = dict[str, str] | None  # the content before, in base64 as the API gives it; None where there was no such Secret


def keep(kube: Kube, namespace: str, name: str, data: Mapping[str, str]) -> tuple[bool, Before]:
    """Make the Secret hold `data`. Gives whether it was changed, and what it held before. Keys that others added stay."""
    where = path("v1", "secrets", namespace, name)
    found = kube.get(where)
    before: Before = None if found is None else dict(found.get("data") or {})
    packed = _packed(data)
    if before is not None and packed.items() <= before.items():
        return False, before
    kube.apply(where, _secret(name, packed))
    return True, before


def holds(kube: Kube, namespace: str, name: str, data: Mapping[str, str]) -> bool:
    """Whether the Secret holds `data` already."""
    found = kube.get(path("v1", "secrets", namespace, name)) or {}
    return _packed(data).items() <= dict(found.get("data") or {}).items()


def put_back(kube: Kube, namespace: str, name: str, keys: Mapping[str, str], before: Before) -> None:
    """Give the Secret's `keys` what they held before; delete it where there was none."""
    where = path("v1", "secrets", namespace, name)
    if before is None:
        kube.delete(where)
    else:
        kube.merge(where, {"data": {key: before.get(key) for key in keys}})


def _packed(data: Mapping[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}


def _secret(name: str, data: Mapping[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"app.kubernetes.io/managed-by": "pipeline"}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": dict(data)}
