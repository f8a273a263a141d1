"""What belongs to a release is what its manifest says: no label of any convention is needed, and an edit by hand is told."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from pipeline.errors import IntegrityError, VerifyError
from pipeline.testing import FakeClock
from pipeline.tools.kube import connect, path
from pipeline.tools.kube_objects import ROOT_CA
from pipeline.verify.checks import Checks, make
from pipeline.verify.objects import Objects
from pipeline.verify.view import View
from tests.verify.releases import RELEASE, pod, secret
from tests.verify.worlds import SPACE, Shop

MARKS = {"app": "podinfo"}
MANIFEST = """apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: podinfo}}
  template: {spec: {containers: [{name: app, image: web}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {A: "1"}
"""
MAP, WEB = path("v1", "configmaps", SPACE, "web"), path("apps/v1", "deployments", SPACE, "web")


@pytest.fixture
def podinfo(at: Shop) -> Shop:
    at.fake.put(path("v1", "secrets", SPACE, "sh.helm.release.v1.probe.v3"), secret(MANIFEST))
    at.fake.put(MAP, {"kind": "ConfigMap", "metadata": {"name": "web"}, "data": {"A": "1"}})
    template = {"spec": {"containers": [{"name": "app", "image": "web"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": MARKS}, "template": template}
    status = {"observedGeneration": 1, "updatedReplicas": 1, "replicas": 1, "availableReplicas": 1, "readyReplicas": 1}
    at.fake.put(WEB, {"kind": "Deployment", "metadata": {"name": "web"}, "spec": spec, "status": status})
    of = [{"kind": "ReplicaSet", "name": "web-1"}]
    one = pod("web-1-a")
    at.fake.put(path("v1", "pods", SPACE, "web-1-a"), {**one, "metadata": {"name": "web-1-a", "labels": MARKS, "ownerReferences": of}})
    other = [{"kind": "ReplicaSet", "name": "neighbour-1"}]
    bad = pod("neighbour-1-a", ready=False)
    at.fake.put(path("v1", "pods", SPACE, "neighbour-1-a"), {**bad, "metadata": {"name": "n", "labels": MARKS, "ownerReferences": other}})
    return at


def verify(at: Shop, **options: Any) -> str:
    """The evidence of the pods."""
    report = make(Checks(**{"cluster": RELEASE.cluster, "deadline": 1.0, **options}), RELEASE, at.site)
    return report.checks[0].evidence


def edit(at: Shop, place: str, field: dict[str, Any], **more: Any) -> None:
    value = copy.deepcopy(at.fake.objects[place]) | more
    entry = {"manager": "kubectl-set", "time": "2026-01-02T03:04:05Z", "fieldsV1": field}
    value["metadata"]["managedFields"] = [entry]
    at.fake.put(place, value)


def test_its_pods_are_those_of_its_workloads_and_a_neighbours_are_not(podinfo: Shop) -> None:
    assert verify(podinfo) == "1 ready on sha256:d1d1d1d1d1d1: web-1-a"


def test_objects_are_those_of_the_manifest(podinfo: Shop) -> None:
    checks = (Objects("release"), Objects(("Deployment",)))
    report = make(Checks(RELEASE.cluster, checks=checks, deadline=1.0), RELEASE, podinfo.site)
    assert [each.evidence for each in report.checks[1:]] == ["healthy: Pod web-1-a, Deployment web", "healthy: Deployment web"]
    podinfo.fake.drop(WEB)
    with pytest.raises(VerifyError) as caught:
        make(Checks(RELEASE.cluster, checks=checks, deadline=1.0), RELEASE, podinfo.site)
    assert "Deployment web is not there" in caught.value.cause


def test_a_variable_or_a_config_map_that_was_edited_is_told_by_verify(podinfo: Shop) -> None:
    containers = [{"name": "app", "image": "web", "env": [{"name": "FOO", "value": "bar"}]}]
    spec = podinfo.fake.objects[WEB]["spec"] | {"template": {"spec": {"containers": containers}}}
    env: dict[str, Any] = {"f:env": {".": {}, 'k:{"name":"FOO"}': {".": {}, "f:value": {}}}}
    field = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"app"}': env}}}}}
    edit(podinfo, WEB, field, spec=spec, status={**podinfo.fake.objects[WEB]["status"], "observedGeneration": 2})
    edit(podinfo, MAP, {"f:data": {"f:A": {}}}, data={"A": "2"})
    with pytest.raises(VerifyError) as caught:
        verify(podinfo)
    assert "deployments/web was edited: spec.template.spec.containers[app].env" in caught.value.cause
    assert 'configmaps/web was edited: data.A is "2", "1" is wanted (by kubectl-set' in caught.value.cause
    assert "inv deploy" in caught.value.mend


@pytest.mark.parametrize("keeper", ["", "helm.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/name"])
def test_an_edit_is_told_at_once_if_no_controller_mends_it(podinfo: Shop, keeper: str) -> None:
    """3.12: nothing but a person changes it, and the deadline is not waited for; what Flux made, it may put back."""
    labelled = MANIFEST.replace("metadata: {name: web}", f"metadata: {{name: web, labels: {{{keeper}: web}}}}") if keeper else MANIFEST
    podinfo.fake.put(path("v1", "secrets", SPACE, "sh.helm.release.v1.probe.v3"), secret(labelled))
    edit(podinfo, MAP, {"f:data": {"f:A": {}}}, data={"A": "2"})
    clock = FakeClock()
    began = clock.monotonic()
    with pytest.raises(VerifyError) as caught:
        make(Checks(RELEASE.cluster, deadline=60.0), RELEASE, replace(podinfo.site, clock=clock))
    assert (clock.monotonic() > began) == bool(keeper), "waited for"
    assert ("no controller mends it" in caught.value.what) == (not keeper)


def test_an_edit_beside_a_rollout_is_told_at_once_and_a_rollout_alone_is_waited_for(podinfo: Shop) -> None:
    pod_of = path("v1", "pods", SPACE, "web-1-a")
    starting = pod("web-1-a", ready=False)
    podinfo.fake.put(pod_of, {**starting, "metadata": podinfo.fake.objects[pod_of]["metadata"]})
    clock = FakeClock()
    began = clock.monotonic()
    with pytest.raises(VerifyError, match="do not hold after"):
        make(Checks(RELEASE.cluster, deadline=60.0), RELEASE, replace(podinfo.site, clock=clock))
    waited = clock.monotonic()
    assert waited > began
    edit(podinfo, MAP, {"f:data": {"f:A": {}}}, data={"A": "2"})
    with pytest.raises(VerifyError, match="no controller mends it"):
        make(Checks(RELEASE.cluster, deadline=60.0), RELEASE, replace(podinfo.site, clock=clock))
    assert clock.monotonic() == waited


def test_a_workload_that_was_scaled_by_hand_is_told_and_one_that_an_autoscaler_scaled_is_not(podinfo: Shop) -> None:
    podinfo.fake.put(
        path("v1", "secrets", SPACE, "sh.helm.release.v1.probe.v3"), secret(MANIFEST.replace("spec:\n  sel", "spec:\n  replicas: 1\n  sel"))
    )

    def scale(replicas: int, manager: str) -> None:
        """As the API notes it: without a time."""
        value = copy.deepcopy(podinfo.fake.objects[WEB])
        value["spec"]["replicas"] = replicas
        value["metadata"]["managedFields"] = [{"manager": manager, "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
        podinfo.fake.put(WEB, value | {"status": value["status"] | {"observedGeneration": 9}})

    scale(3, "kubectl")
    with pytest.raises(VerifyError) as caught:
        verify(podinfo)
    assert "deployments/web was edited: spec.replicas is 3, 1 is wanted (by kubectl scale)" in caught.value.cause
    scale(3, "kube-controller-manager")
    assert verify(podinfo).startswith("1 ready")
    scaler = {"metadata": {"name": "web"}, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}}}
    podinfo.fake.put(path("autoscaling/v2", "horizontalpodautoscalers", SPACE, "web"), scaler)
    scale(3, "kubectl")
    assert verify(podinfo).startswith("1 ready"), "the autoscaler decides"
    scale(0, "kubectl")
    with pytest.raises(VerifyError) as caught:
        verify(podinfo)
    assert "spec.replicas is 0, 1 is wanted (by kubectl scale)" in caught.value.cause, "an autoscaler leaves what has none"


@pytest.mark.parametrize(
    ("spec", "gone"),
    [
        ({"volumes": [{"secret": {"secretName": "own"}}]}, "secrets/own"),
        (
            {"volumes": [{"projected": {"sources": [{"secret": {"name": "own"}}, {"configMap": {"name": ROOT_CA}}]}}]},
            "secrets/own",
        ),
        ({"containers": [{"name": "app", "envFrom": [{"secretRef": {"name": "own"}}]}]}, "secrets/own"),
        ({"initContainers": [{"name": "i", "env": [{"valueFrom": {"configMapKeyRef": {"name": "own", "key": "k"}}}]}]}, "configmaps/own"),
        ({"volumes": [{"configMap": {"name": "own"}}]}, "configmaps/own"),
        ({"volumes": [{"secret": {"secretName": "own", "optional": True}}, {"configMap": {"name": "web"}}, {"emptyDir": {}}]}, ""),
        ({"containers": [{"name": "app", "env": [{"name": "A", "value": "1"}], "envFrom": [{"configMapRef": {"name": "web"}}]}]}, ""),
    ],
)
def test_what_pods_cannot_start_without_is_missed_whoever_made_it(podinfo: Shop, spec: dict[str, Any], gone: str) -> None:
    """They run on without it, until a node goes or somebody restarts them."""
    place = path("v1", "pods", SPACE, "web-1-a")
    one = copy.deepcopy(podinfo.fake.objects[place])
    podinfo.fake.put(place, one | {"spec": {**one.get("spec", {}), **spec}})
    if not gone:
        assert verify(podinfo).startswith("1 ready")
        return
    with pytest.raises(VerifyError) as caught:
        verify(podinfo)
    assert f"{gone} is gone: pods cannot start again without it" in caught.value.cause
    kind, name = gone.split("/")
    podinfo.fake.put(path("v1", kind, SPACE, name), {"metadata": {"name": name}})
    assert verify(podinfo).startswith("1 ready")


def test_what_may_not_be_listed_is_unknown_and_not_edited(podinfo: Shop) -> None:
    refused: Any = (403, {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no"}, {})
    podinfo.fake.fault = lambda _method, target: refused if "/configmaps" in target else None
    assert "whether configmaps were edited is unknown" in verify(podinfo)


def test_a_revision_that_nobody_keeps_is_unverified_and_not_condemned(podinfo: Shop) -> None:
    podinfo.fake.drop(path("v1", "secrets", SPACE, "sh.helm.release.v1.probe.v3"))
    with pytest.raises(IntegrityError, match="revision 3 of probe is not there any more") as caught:
        make(Checks(RELEASE.cluster, deadline=0.5), RELEASE, podinfo.site)
    assert "inv status" in caught.value.mend


def test_a_label_that_the_blueprint_names_is_asked_for(podinfo: Shop) -> None:
    view = View(lambda: connect(podinfo.site, RELEASE.cluster), SPACE, "app=podinfo")
    assert len(view.pods()) == 2
