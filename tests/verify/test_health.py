from __future__ import annotations

from typing import Any

import pytest

from pipeline.verify import health
from tests.verify.releases import pod


def workload(**status: int) -> dict[str, Any]:
    return {"metadata": {"name": "web", "generation": 2}, "spec": {"replicas": 2}, "status": {"observedGeneration": 2, **status}}


def test_a_pod() -> None:
    assert health.pod(pod()) == ""
    assert health.pod(pod(ready=False)) == "is not ready (not ready)"
    done = pod(ready=False)
    done["status"]["phase"] = "Succeeded"
    assert health.pod(done) == ""
    evicted = pod(ready=False)
    evicted["status"]["phase"] = "Failed"
    assert health.pod(evicted).startswith("is not ready")
    evicted["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet"}]
    assert health.pod(evicted) == ""


@pytest.mark.parametrize(
    ("status", "wrong"),
    [
        ({"updatedReplicas": 2, "replicas": 2, "availableReplicas": 2}, ""),
        ({"updatedReplicas": 2, "replicas": 2, "availableReplicas": 1}, "1 of 2 new pods are available"),
        ({"updatedReplicas": 2, "replicas": 3, "availableReplicas": 2}, "1 old pods are left"),
        ({"observedGeneration": 1}, "the new version has not been taken up yet"),
    ],
)
def test_a_deployment(status: dict[str, int], wrong: str) -> None:
    assert health.deployment(workload(**status)) == wrong


@pytest.mark.parametrize(
    ("status", "wrong"),
    [
        ({"readyReplicas": 2, "updatedReplicas": 2}, ""),
        ({"readyReplicas": 1, "updatedReplicas": 2}, "1 of 2 pods are ready"),
        ({"readyReplicas": 2, "updatedReplicas": 1}, "1 of 2 pods are of the new version"),
        ({"observedGeneration": 1}, "the new version has not been taken up yet"),
    ],
)
def test_a_stateful_set(status: dict[str, int], wrong: str) -> None:
    assert health.stateful_set(workload(**status)) == wrong


def test_a_stateful_set_that_is_rolled_out_in_part_or_by_hand() -> None:
    part = workload(readyReplicas=2, updatedReplicas=1)
    part["spec"]["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    assert health.stateful_set(part) == ""
    part["spec"]["updateStrategy"] = {"type": "OnDelete"}
    assert health.stateful_set(part) == ""


def test_a_daemon_set() -> None:
    assert health.daemon_set(workload(desiredNumberScheduled=2, updatedNumberScheduled=2, numberAvailable=2)) == ""
    assert health.daemon_set(workload(desiredNumberScheduled=2, updatedNumberScheduled=1)) == "1 of 2 pods are of the new version"
    assert health.daemon_set(workload(desiredNumberScheduled=2, updatedNumberScheduled=2)) == "0 of 2 pods are available"


def endpoints(*ready: bool | None, name: str = "web") -> dict[str, Any]:
    found = [{"addresses": ["10.0.0.1"], "conditions": {} if each is None else {"ready": each}} for each in ready]
    return {"metadata": {"name": f"{name}-x", "labels": {health.SERVICE_NAME: name}}, "endpoints": found}


def test_a_service() -> None:
    web: dict[str, Any] = {"metadata": {"name": "web"}, "spec": {"type": "ClusterIP"}}
    assert health.service(web, [endpoints(False, True)]) == ""
    assert health.service(web, [endpoints(None)]) == ""  # unknown counts as ready: the API's own rule
    assert health.service(web, [endpoints(False)]) == "has no ready endpoint (1 that are not)"
    assert health.service(web, [endpoints(True, name="other")]) == "has no ready endpoint"
    balancer: dict[str, Any] = {"metadata": {"name": "web"}, "spec": {"type": "LoadBalancer"}}
    assert health.service(balancer, [endpoints(True)]) == "has no external address yet"
    balancer["status"] = {"loadBalancer": {"ingress": [{"ip": "10.0.0.9"}]}}
    assert health.service(balancer, [endpoints(True)]) == ""
    assert health.service({"metadata": {"name": "web"}, "spec": {"type": "ExternalName"}}, []) == ""


def test_an_ingress_and_a_route() -> None:
    assert "no ingress controller" in health.ingress({"status": {"loadBalancer": {}}})
    assert health.ingress({"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.9"}]}}}) == ""
    route = {"metadata": {"name": "web", "namespace": "shop"}, "spec": {"routes": [{"services": [{"name": "web"}]}]}}
    assert health.ingress_route(route, lambda name: name == "web") == ""
    assert health.ingress_route(route, lambda _name: False) == "leads to Service web, which is not there"
    assert health.ingress_route({"spec": {"routes": []}}, lambda _name: True) == "has no route"
    elsewhere = {"metadata": {"namespace": "shop"}, "spec": {"routes": [{"services": [{"name": "web", "namespace": "other"}]}]}}
    assert health.ingress_route(elsewhere, lambda _name: False) == ""


def test_a_claim_and_a_job() -> None:
    assert health.claim({"status": {"phase": "Bound"}}) == ""
    assert health.claim({}) == "is not bound (Pending)"
    assert health.job({"status": {"conditions": [{"type": "Complete", "status": "True"}]}}) == ""
    assert health.job({"status": {"active": 1}}) == "is not complete (1 running, 0 failed)"
    failed = [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often"}]
    assert health.job({"status": {"conditions": failed}}) == "failed (BackoffLimitExceeded: too often)"
