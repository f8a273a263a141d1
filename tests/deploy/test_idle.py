"""Scaled to nothing by hand: helm calls it deployed, nobody is served, and the next deploy has something to do."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.deploy.history import where
from pipeline.deploy.idle import idle, replicas
from pipeline.tools.kube import Kube
from pipeline.tools.kubeconfig import load
from tests.deploy.cluster import NAMESPACE, RELEASE, Cluster

MANIFEST = """---
# Source: web/templates/web.yaml
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {replicas: 2}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker}
spec: {template: {}}
---
kind: Service
metadata: {name: web}
spec: {replicas: 7}
"""


def deployment(name: str, wanted: int | None) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {} if wanted is None else {"replicas": wanted}}


@pytest.fixture
def kube(cluster: Cluster) -> Iterator[Kube]:
    release = base64.b64encode(base64.b64encode(gzip.compress(json.dumps({"manifest": MANIFEST}).encode()))).decode()
    cluster.fake.put(where(NAMESPACE, RELEASE, 3), {"metadata": {"name": "sh.helm.release.v1.web.v3"}, "data": {"release": release}})
    made = Kube(load(str(cluster.fake.kubeconfig())))
    yield made
    made.close()


def test_d14_what_was_scaled_to_nothing_is_said(kube: Kube) -> None:
    found = idle(kube, NAMESPACE, RELEASE, 3, [deployment("web", 0), deployment("worker", 0)])
    assert found == ["Deployment web was scaled to 0, its chart says 2"]


def test_d14_what_an_autoscaler_may_do_is_left_alone_and_nothing_is_asked(kube: Kube) -> None:
    before = kube.requests
    assert idle(kube, NAMESPACE, RELEASE, 3, [deployment("web", 1), deployment("worker", None)]) == []
    assert kube.requests == before
    assert idle(kube, NAMESPACE, RELEASE, 3, [deployment("worker", 0)]) == []


def test_a_revision_that_cannot_be_read_accuses_nobody(kube: Kube) -> None:
    assert idle(kube, NAMESPACE, RELEASE, 4, [deployment("web", 0)]) == []
    assert replicas("a: [") == {}
    assert replicas("- a list\n--- text\n") == {}
