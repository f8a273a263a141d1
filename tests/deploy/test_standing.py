"""What is live is told as it is: edited, verified, gone back to."""

from __future__ import annotations

import copy
import dataclasses

from pipeline.deploy import shared
from pipeline.deploy.helm import find, make
from pipeline.stage import Site
from pipeline.tools.kube import path
from tests.deploy.cluster import NAMESPACE, WEB, Cluster
from tests.deploy.test_helm import images, spec

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
    assert shared.edited(spec(), site) == []
    value = copy.deepcopy(cluster.fake.objects[WEB])
    value["spec"]["paused"] = True
    entry = {"manager": "kubectl-edit", "time": "2026-11-21T13:00:00Z", "fieldsV1": {"f:spec": {"f:paused": {}}}}
    value["metadata"]["managedFields"] = [entry]
    cluster.fake.put(WEB, value)
    (said,) = shared.edited(spec(), site)
    assert said.startswith("deployments/web was edited: ")
    assert "spec.paused was added, which the chart says nothing of (by kubectl-edit" in said
