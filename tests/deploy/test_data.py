"""Which objects count as holding data."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.deploy.data import holds_data


@pytest.mark.parametrize(
    ("version", "kind", "spec", "held"),
    [
        ("v1", "PersistentVolumeClaim", {}, True),
        ("v1", "Namespace", {}, True),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition", {}, True),
        ("postgresql.cnpg.io/v1", "Cluster", {}, True),
        ("apps/v1", "StatefulSet", {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"}}, True),
        ("apps/v1", "StatefulSet", {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Delete"}}, False),
        ("apps/v1", "StatefulSet", {}, False),
        ("v1", "ConfigMap", {}, False),
        ("traefik.io/v1alpha1", "IngressRoute", {}, False),
        ("", "", {}, True),
    ],
)
def test_what_holds_data_or_may(version: str, kind: str, spec: dict[str, Any], held: bool) -> None:
    assert holds_data({"apiVersion": version, "kind": kind, "spec": spec}) is held
