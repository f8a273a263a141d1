"""What is live is told as it is: edited, verified, gone back to."""

from __future__ import annotations

import copy
import dataclasses
import types
from typing import Any

import pytest

from pipeline.artifacts import Source
from pipeline.deploy import shared
from pipeline.deploy.helm import DRIVER, find, make
from pipeline.report import planned, status
from pipeline.stage import Site, Stage
from pipeline.tools.kube import path
from tests.deploy.cluster import LEASE, NAMESPACE, WEB, Cluster
from tests.deploy.test_helm import images, spec

REVISIONS = path("v1", "secrets", NAMESPACE) + "?labelSelector=owner%3Dhelm%2Cname%3Dweb"
RUNNING = path("apps/v1", "deployments", NAMESPACE) + "?fieldSelector=metadata.name%3Dweb"
SECRET = path("v1", "secrets", NAMESPACE, "sh.helm.release.v1.web.v1")


def test_a_release_that_nobody_saw_come_up_is_good_once_it_was_verified(site: Site, cluster: Cluster) -> None:
    made = make(spec(), images(), site)
    kept = cluster.fake.objects[SECRET]["metadata"]
    kept["labels"]["rollout"] = "started"
    kept["annotations"] = {}
    assert "nobody saw the rollout of revision 1 complete" in shared.standing(spec(), site).remarks[0]
    shared.confirm(spec(), dataclasses.replace(made, revision=7), site)
    assert shared.standing(spec(), site).remarks, "that was another revision"
    shared.confirm(spec(), made, site)
    assert shared.standing(spec(), site).remarks == ()
    assert find(spec(), images(), site).artifact == made
    why = find(spec(), images("b"), site).why
    assert why.startswith("image sha256:aaaaaaaaaaaa… is live, sha256:bbbbbbbbbbbb… is wanted"), "in full"


def test_what_failed_and_was_left_as_it_is_was_not_taken_back(site: Site, cluster: Cluster) -> None:
    """There was nothing to go back to: it is live, and the next release of the same commit is nobody's old decision."""
    make(spec(), images(), site)
    cluster.fake.objects[SECRET]["metadata"]["labels"]["rollout"] = "failed"
    assert shared.standing(spec(), site).taken == ()


def test_what_was_edited_by_hand_is_told_beside_the_facts(site: Site, cluster: Cluster) -> None:
    make(spec(), images(), site)
    assert list(shared.standing(spec(), site).edited()) == []
    value = copy.deepcopy(cluster.fake.objects[WEB])
    value["spec"]["paused"] = True
    entry = {"manager": "kubectl-edit", "time": "2026-11-21T13:00:00Z", "fieldsV1": {"f:spec": {"f:paused": {}}}}
    value["metadata"]["managedFields"] = [entry]
    cluster.fake.put(WEB, value)
    (said,) = list(shared.standing(spec(), site).edited())
    assert said.startswith("deployments/web was edited: ")
    assert "spec.paused was added, which the chart says nothing of (by kubectl-edit" in said


@pytest.fixture
def asked(site: Site, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the cluster is asked once a release of another commit is live."""
    make(spec(), images(), site)
    here = Source("9" * 40, "8" * 40, False, str(site.root))
    monkeypatch.setattr(status, "snapshot", lambda *_, **__: here)
    cluster.fake.asked.clear()
    return cluster.fake.asked


def test_status_asks_for_each_thing_once(site: Site, asked: list[tuple[str, str]]) -> None:
    blueprint: Any = types.SimpleNamespace(app="web", name="web", environment="lab", plan=(Stage("deploy", DRIVER, spec()),))
    (live,) = status.gather(blueprint, site)["live"]
    assert (live["revision"], live["remarks"]) == (1, [])
    assert asked == [("GET", LEASE), ("GET", REVISIONS), ("GET", RUNNING)]


def test_a_plan_asks_for_each_thing_once(site: Site, asked: list[tuple[str, str]]) -> None:
    deploy = Stage("deploy", DRIVER, spec())
    known, unasked = planned.standings((deploy,), site)
    (said,) = planned.refusals(deploy, known["deploy"], Source("9" * 40, "8" * 40, False, str(site.root)), site)
    assert (unasked, "is live" in said) == (None, True)
    assert asked == [("GET", LEASE), ("GET", REVISIONS), ("GET", path("v1", "namespaces", name=NAMESPACE)), ("GET", RUNNING)]
