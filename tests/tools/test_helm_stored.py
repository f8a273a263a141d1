from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.testing.kube import FakeKube
from pipeline.tools.helm_stored import newest, objects, parsed, unpacked
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_kinds import kinds
from pipeline.tools.kubeconfig import load

MANIFEST = """---
# Source: web/templates/service.yaml
apiVersion: v1
kind: Service
metadata: {name: web}
---
apiVersion: v1
kind: ConfigMapList
items:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}
---
"""


def packed(release: Any) -> dict[str, Any]:
    """A release as helm packs it: JSON, gzip, base64, and the Secret's own base64."""
    inner = base64.b64encode(gzip.compress(json.dumps(release).encode()))
    return {"data": {"release": base64.b64encode(inner).decode()}}


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeKube]:
    made = FakeKube(tmp_path)
    yield made
    made.close()


@pytest.fixture
def kube(fake: FakeKube) -> Iterator[Kube]:
    made = Kube(load(str(fake.kubeconfig())))
    yield made
    made.close()


def stored(fake: FakeKube, number: int, status: str, release: Any) -> None:
    name = f"sh.helm.release.v1.web.v{number}"
    labels = {"owner": "helm", "name": "web", "status": status, "version": str(number)}
    fake.put(path("v1", "secrets", "shop", name), {"metadata": {"name": name, "labels": labels}, **packed(release)})


def test_the_newest_revision_is_the_one_that_is_deployed(fake: FakeKube, kube: Kube) -> None:
    assert newest(kube, "shop", "web") == 0
    stored(fake, 9, "superseded", {})
    stored(fake, 10, "deployed", {})
    stored(fake, 11, "failed", {})
    assert newest(kube, "shop", "web") == 10


def test_the_objects_of_a_revision_are_read_from_its_manifest(fake: FakeKube, kube: Kube) -> None:
    stored(fake, 3, "deployed", {"manifest": MANIFEST})
    assert [each["metadata"]["name"] for each in objects(kube, "shop", "web", 3)] == ["web", "a", "b"]
    assert objects(kube, "shop", "web", 4) == []


def test_a_manifest_of_nothing_has_no_objects() -> None:
    assert list(parsed("")) == []
    assert list(parsed("---\n# nothing\n---\n")) == []


@pytest.mark.parametrize("secret", [{}, {"data": {}}, {"data": {"release": "%%%"}}, {"data": {"release": "aGVsbG8="}}, packed([1])])
def test_what_cannot_be_read_is_no_release(secret: dict[str, Any]) -> None:
    assert unpacked(secret) == {}


def test_the_clusters_own_list_says_where_a_kind_lies(fake: FakeKube, kube: Kube) -> None:
    resources = [
        {"name": "deployments", "kind": "Deployment", "namespaced": True},
        {"name": "deployments/scale", "kind": "Scale", "namespaced": True},
    ]
    fake.objects["/apis/apps/v1"] = {"kind": "APIResourceList", "resources": resources}
    assert kinds(kube, "apps/v1") == {"Deployment": ("deployments", True)}
    assert kinds(kube, "example.org/v1") == {}


def test_a_manifest_is_read_as_helm_wrote_it() -> None:
    """Rows 22 and 23 of the strangers: what a chart gives is YAML for Go, where = is text, 0755 octal and a date no date."""
    manifest = """---
kind: AlertmanagerConfig
metadata: {name: a, annotations: {made: 2026-01-01, at: 1:30}}
spec: {matchers: [{name: x, matchType: =}], mode: 0755, on: y}
---
kind: List
items: [&a {kind: ConfigMap, metadata: {name: b}}, {<<: *a, metadata: {name: c}}]
"""
    first, second, third = parsed(manifest)
    assert first["metadata"]["annotations"] == {"made": "2026-01-01", "at": "1:30"}
    assert first["spec"] == {"matchers": [{"name": "x", "matchType": "="}], "mode": 493, "true": True}
    assert (second["metadata"]["name"], third["kind"], third["metadata"]["name"]) == ("b", "ConfigMap", "c")
