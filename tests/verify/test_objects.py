from __future__ import annotations

import pytest

from pipeline.verify.health import SERVICE_NAME
from pipeline.verify.objects import Objects, question
from pipeline.verify.web import Unreachable
from tests.verify.worlds import LABELS, Shop

GOOD = {"observedGeneration": 1, "updatedReplicas": 1, "replicas": 1, "availableReplicas": 1}


def asked(check: Objects, at: Shop) -> tuple[bool, str]:
    one = question(check, at.world)
    found = one.judge(one.ask(at.view, 5))
    return found.passed, found.evidence


@pytest.fixture
def healthy(at: Shop) -> Shop:
    """A pod, its Deployment and its Service, as they should be."""
    at.pod()
    at.put("Deployment", "probe", spec={"replicas": 1}, status=GOOD)
    at.service()
    at.put("EndpointSlice", "probe-x", {**LABELS, SERVICE_NAME: "probe"}, endpoints=[{"conditions": {"ready": True}}])
    return at


def test_all_of_the_release_is_healthy(healthy: Shop) -> None:
    assert asked(Objects("release"), healthy) == (True, "healthy: Pod probe-1, Service probe, Deployment probe")


def test_one_request_a_kind_however_many_objects_there_are(healthy: Shop) -> None:
    for number in range(10):
        healthy.put("Deployment", f"probe-{number}", spec={"replicas": 1}, status=GOOD)
    assert asked(Objects(("Deployment", "Service")), healthy) == (True, "healthy: 11 Deployments, Service probe")
    assert len(healthy.fake.asked) == 3


def test_what_is_not_healthy_is_named(healthy: Shop) -> None:
    healthy.put("Deployment", "probe", spec={"replicas": 1}, status={**GOOD, "availableReplicas": 0})
    healthy.put("EndpointSlice", "probe-x", {**LABELS, SERVICE_NAME: "probe"}, endpoints=[])
    passed, evidence = asked(Objects("release"), healthy)
    assert not passed
    assert evidence == "Service probe has no ready endpoint; Deployment probe 0 of 1 new pods are available"


def test_a_kind_that_is_asked_for_has_to_be_there(healthy: Shop) -> None:
    passed, evidence = asked(Objects(("Deployment", "Ingress")), healthy)
    assert (passed, evidence) == (False, "Ingress is not there: none carries app.kubernetes.io/instance=probe")


def test_objects_by_name_need_no_label(healthy: Shop) -> None:
    healthy.service("other")
    healthy.fake.objects[healthy.service("other")]["metadata"]["labels"] = {}
    healthy.put("EndpointSlice", "other-x", {SERVICE_NAME: "other"}, endpoints=[{"conditions": {}}])
    assert asked(Objects(("Service/other",)), healthy) == (True, "healthy: Service other")
    assert asked(Objects(("Job/migrate",)), healthy) == (False, "Job migrate is not there")


def test_endpoints_without_the_releases_label_are_looked_for_by_their_service(healthy: Shop) -> None:
    healthy.put("EndpointSlice", "probe-x", {SERVICE_NAME: "probe"}, endpoints=[{"conditions": {"ready": True}}])
    assert asked(Objects(("Service",)), healthy)[0]


def test_nothing_at_all_is_no_health(at: Shop) -> None:
    assert asked(Objects("release"), at) == (False, "the release has no object")


def test_a_cluster_that_does_not_answer_says_nothing(at: Shop) -> None:
    at.fake.stop()
    with pytest.raises(Unreachable):
        asked(Objects(("Pod",)), at)
    at.fake.start()


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (("Deployement",), "did you mean 'Deployment'"),
        ("all", "no kind that is known"),
        ((), "names none"),
        (("Service/Bad Name",), "no name of an object"),
    ],
)
def test_i01_kinds_and_names_are_read_strictly(wrong: str | tuple[str, ...], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Objects(wrong)
