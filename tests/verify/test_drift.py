from __future__ import annotations

import base64
import copy
import gzip
import json
from typing import Any

import pytest
import yaml

from pipeline.errors import AuthError, Transient, VerifyError
from pipeline.events import Event, What
from pipeline.testing import FakeClock
from pipeline.testing.kube import Fault
from pipeline.tools.kube import path
from pipeline.verify.drift import Drift, question
from pipeline.verify.question import Question
from pipeline.verify.web import Unreachable
from tests.verify.worlds import NAME, SPACE, Shop

FLUX = f"HelmRelease/{NAME}"
HELM_RELEASE = path("helm.toolkit.fluxcd.io/v2", "helmreleases", SPACE, NAME)
DEPLOYMENT = path("apps/v1", "deployments", SPACE, "web")
PASSWORD = path("v1", "secrets", SPACE, "password")
KINDS = {
    "/api/v1": [("secrets", "Secret"), ("configmaps", "ConfigMap")],
    "/apis/apps/v1": [("deployments", "Deployment")],
}
OBJECTS: list[dict[str, Any]] = [
    {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 1, "paused": False}},
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password"}, "data": {"word": "YmxhY2tiaXJk"}},
]


def keep(at: Shop, version: int = 3, **spec: Any) -> None:
    """A release as Helm stores it, the HelmRelease that Flux keeps of it, and its objects as they were released."""
    manifest = yaml.safe_dump_all(OBJECTS)
    packed = base64.b64encode(gzip.compress(json.dumps({"manifest": manifest}).encode()))
    labels = {"owner": "helm", "name": NAME, "status": "deployed", "version": str(version)}
    name = f"sh.helm.release.v1.{NAME}.v{version}"
    stored = {"metadata": {"name": name, "labels": labels}, "data": {"release": base64.b64encode(packed).decode()}}
    at.fake.put(path("v1", "secrets", SPACE, name), stored)
    history = [{"name": NAME, "namespace": SPACE, "version": version, "status": "deployed"}]
    status = {
        "storageNamespace": SPACE,
        "history": history,
        "conditions": [{"type": "Ready", "status": "True", "reason": "UpgradeSucceeded"}],
    }
    meta = {"name": NAME, "namespace": SPACE}
    at.fake.put(HELM_RELEASE, {"metadata": meta, "spec": {"driftDetection": {"mode": "enabled"}, **spec}, "status": status})
    for target, kinds in KINDS.items():
        listed = [{"name": plural, "kind": kind, "namespaced": True} for plural, kind in kinds]
        at.fake.objects[target] = {"kind": "APIResourceList", "resources": listed}
    for target, value in ((DEPLOYMENT, OBJECTS[0]), (PASSWORD, OBJECTS[1])):
        value = copy.deepcopy(value)
        value["metadata"]["namespace"] = SPACE
        at.fake.put(target, value)


def edit(at: Shop, target: str = DEPLOYMENT, by: str = "kubectl-edit", **fields: Any) -> None:
    """Change fields of the spec (of a Secret, its data), as somebody would."""
    value = at.fake.objects[target]
    key = "spec" if "spec" in value else "data"
    value[key] |= fields
    entry = {"manager": by, "time": "2026-01-02T03:04:05Z", "fieldsV1": {f"f:{key}": {f"f:{name}": {} for name in fields}}}
    value["metadata"].setdefault("managedFields", []).append(entry)


def asked(one: Question, at: Shop) -> tuple[bool, str]:
    found = one.judge(one.ask(at.look(), 5))
    return found.passed, found.evidence


@pytest.mark.parametrize("drift", [FLUX, "release"])
def test_a_release_that_nobody_touched_passes(at: Shop, drift: str) -> None:
    keep(at)
    assert asked(question(Drift(drift), at.world), at) == (True, "every object is as revision 3 of probe says")
    writes = [(method, target) for method, target in at.fake.asked if method != "GET"]
    assert [method for method, _ in writes] == ["PATCH", "PATCH"]
    assert all("dryRun=All" in target for _, target in writes)


@pytest.mark.parametrize("drift", [FLUX, "release"])
def test_what_was_edited_is_named_with_who_did_it(at: Shop, drift: str) -> None:
    keep(at)
    edit(at, replicas=5)
    one = question(Drift(drift), at.world)
    said = "Deployment web: spec.replicas is 5, 1 is wanted (by kubectl-edit at 2026-01-02T03:04:05Z)"
    assert asked(one, at) == (False, said)
    assert ("inv deploy" if drift == "release" else "flux reconcile helmrelease probe -n coulomb") in one.mend


@pytest.mark.parametrize(
    ("drift", "spec", "final"),
    [
        ("release", {}, True),
        (FLUX, {}, False),
        (FLUX, {"suspend": True}, True),
        (FLUX, {"driftDetection": {"mode": "warn"}}, True),
    ],
)
def test_what_nobody_puts_back_is_final_and_what_flux_will_is_waited_for(at: Shop, drift: str, spec: dict[str, Any], final: bool) -> None:
    keep(at, **spec)
    one = question(Drift(drift), at.world)
    assert not one.is_final(one.ask(at.look(), 5)), "nothing has drifted"
    edit(at, replicas=5)
    assert one.is_final(one.ask(at.look(), 5)) is final


def test_what_is_gone_is_named(at: Shop) -> None:
    keep(at)
    at.fake.drop(DEPLOYMENT)
    assert asked(question(Drift(FLUX), at.world), at) == (False, "Deployment web is not there")


def test_of_a_secret_no_value_is_shown(at: Shop) -> None:
    keep(at)
    edit(at, PASSWORD, word="c2VjcmV0")
    passed, said = asked(question(Drift(FLUX), at.world), at)
    assert (passed, said) == (False, "Secret password: data.word is another (by kubectl-edit at 2026-01-02T03:04:05Z)")


def test_what_was_added_beside_the_chart_is_named_as_that(at: Shop) -> None:
    keep(at)
    edit(at, hostNetwork=True)
    passed, said = asked(question(Drift(FLUX), at.world), at)
    assert not passed
    assert said.startswith("Deployment web: spec.hostNetwork was added, which the chart says nothing of (by kubectl-edit")
    edit(at, by="some-operator", other=1)
    assert "other" not in asked(question(Drift(FLUX), at.world), at)[1]


def test_what_an_autoscaler_sets_is_no_drift(at: Shop) -> None:
    keep(at)
    edit(at, replicas=5)
    target = {"kind": "Deployment", "name": "web"}
    where = path("autoscaling/v2", "horizontalpodautoscalers", SPACE, "web")
    at.fake.put(where, {"metadata": {"name": "web"}, "spec": {"scaleTargetRef": target}})
    assert asked(question(Drift(FLUX), at.world), at)[0]
    edit(at, paused=True)
    assert "spec.paused is true, false is wanted" in asked(question(Drift(FLUX), at.world), at)[1]


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ({"paths": ["/spec/replicas"]}, True),
        ({"paths": ["/spec"], "target": {"kind": "Deployment", "name": "we.*"}}, True),
        ({"paths": ["/spec/replicas"], "target": {"kind": "StatefulSet"}}, False),
        ({"paths": ["/spec/replica"]}, False),
        ({"paths": ["/spec/replicas"], "target": {"labelSelector": "team=blue"}}, True),
        ({"paths": ["/spec/replicas"], "target": {"labelSelector": "team=red"}}, False),
    ],
)
def test_what_flux_is_told_to_ignore_is_left_alone(at: Shop, rule: dict[str, Any], left: bool) -> None:
    keep(at, driftDetection={"mode": "enabled", "ignore": [rule]})
    at.fake.objects[DEPLOYMENT]["metadata"]["labels"] = {"team": "blue"}
    edit(at, replicas=5)
    value = at.fake.objects[DEPLOYMENT]
    value |= {"apiVersion": "apps/v1", "kind": "Deployment"}
    assert asked(question(Drift(FLUX), at.world), at)[0] is left


def test_an_object_that_is_taken_out_of_detection_is_left_alone(at: Shop) -> None:
    keep(at)
    edit(at, replicas=5)
    at.fake.objects[DEPLOYMENT]["metadata"]["annotations"] = {"helm.toolkit.fluxcd.io/driftDetection": "disabled"}
    assert asked(question(Drift(FLUX), at.world), at)[0]


def test_flux_is_asked_once_and_what_it_put_back_is_told_with_when(at: Shop) -> None:
    keep(at)
    edit(at, replicas=5)
    clock, events = FakeClock(), list[Event]()
    world = at.world.__class__(**{**vars(at.world), "site": _site(at, clock, events)})
    one = question(Drift(FLUX, mend=True), world)
    assert not asked(one, at)[0]
    clock.sleep(1.5)
    passed, said = asked(one, at)
    assert not passed
    assert said.endswith("; Flux was asked 1.5 s ago")
    pokes = [target for method, target in at.fake.asked if method == "PATCH" and target.partition("?")[0] == HELM_RELEASE]
    assert len(pokes) == 1
    assert "reconcile.fluxcd.io/requestedAt" in at.fake.objects[HELM_RELEASE]["metadata"]["annotations"]
    assert [event.text for event in events if event.what == What.WARN and "Flux is asked to put it back" in event.text]
    at.fake.objects[DEPLOYMENT]["spec"]["replicas"] = 1
    passed, said = asked(one, at)
    assert passed
    assert "spec.replicas is 5, 1 is wanted" in said
    assert "put back by Flux 1.5 s after it was asked" in said


def test_what_flux_does_not_put_back_fails_in_its_time(at: Shop) -> None:
    keep(at)
    edit(at, replicas=5)
    clock = FakeClock()
    world = at.world.__class__(**{**vars(at.world), "site": _site(at, clock, [])})
    one = question(Drift(FLUX, mend=True, within=20), world)
    assert not asked(one, at)[0]
    clock.sleep(21)
    with pytest.raises(VerifyError, match="Flux did not put it back within 20 s") as caught:
        asked(one, at)
    assert "spec.replicas is 5" in caught.value.cause
    assert "says: UpgradeSucceeded" in caught.value.cause


@pytest.mark.parametrize(
    ("spec", "why", "mend"),
    [
        ({"suspend": True}, "it is suspended", "flux resume helmrelease probe -n coulomb"),
        ({"driftDetection": {}}, "its drift detection is disabled", "mode: enabled"),
        ({"driftDetection": {"mode": "warn"}}, "its drift detection is warn", "mode: enabled"),
    ],
)
def test_f03_where_flux_would_do_nothing_that_is_said_at_once(at: Shop, spec: dict[str, Any], why: str, mend: str) -> None:
    keep(at, **spec)
    edit(at, replicas=5)
    with pytest.raises(VerifyError, match=f"Flux does not put it back: {why}") as caught:
        asked(question(Drift(FLUX, mend=True), at.world), at)
    assert mend in caught.value.mend
    assert "spec.replicas is 5, 1 is wanted (by kubectl-edit" in caught.value.cause
    assert "annotations" not in at.fake.objects[HELM_RELEASE]["metadata"]


def test_what_flux_does_not_see_is_said_at_once(at: Shop) -> None:
    keep(at)
    edit(at, hostNetwork=True)
    with pytest.raises(VerifyError, match="the chart says nothing of these fields") as caught:
        asked(question(Drift(FLUX, mend=True), at.world), at)
    assert "kubectl edit" in caught.value.mend


def applied(at: Shop, **spec: Any) -> str:
    """A Kustomization that has applied a Deployment and a role; its path."""
    keep(at)
    entries = [
        {"id": f"{SPACE}_web_apps_Deployment", "v": "v1"},
        {"id": "_system__reader_rbac.authorization.k8s.io_ClusterRole", "v": "v1"},
    ]
    where = path("kustomize.toolkit.fluxcd.io/v1", "kustomizations", "flux-system", "apps")
    status = {"lastAppliedRevision": "main@sha1:" + "1a" * 20, "inventory": {"entries": entries}}
    at.fake.put(where, {"metadata": {"name": "apps", "namespace": "flux-system"}, "spec": spec, "status": status})
    role = {"resources": [{"name": "clusterroles", "kind": "ClusterRole", "namespaced": False}]}
    at.fake.objects["/apis/rbac.authorization.k8s.io/v1"] = role
    at.fake.put(path("rbac.authorization.k8s.io/v1", "clusterroles", name="system:reader"), {"metadata": {"name": "system:reader"}})
    return where


def test_what_a_kustomization_applied_is_its_own_until_somebody_writes_over_it(at: Shop) -> None:
    applied(at)
    one = question(Drift("Kustomization/apps"), at.world)
    assert asked(one, at) == (True, f"every object is as Kustomization apps at main@sha1:{'1a' * 20} says")
    edit(at, replicas=5)
    edit(at, by="some-controller", paused=True)
    said = "Deployment web: spec.replicas was set to 5 (by kubectl-edit at 2026-01-02T03:04:05Z)"
    assert asked(one, at) == (False, said)
    assert "flux reconcile kustomization apps -n flux-system" in one.mend
    at.fake.drop(DEPLOYMENT)
    assert asked(one, at) == (False, "Deployment web is not there")


def test_a_kustomization_is_asked_to_put_it_back(at: Shop) -> None:
    where = applied(at)
    edit(at, replicas=5)
    one = question(Drift("Kustomization/apps", mend=True), at.world)
    assert not asked(one, at)[0]
    assert "reconcile.fluxcd.io/requestedAt" in at.fake.objects[where]["metadata"]["annotations"]
    del at.fake.objects[DEPLOYMENT]["metadata"]["managedFields"]
    passed, said = asked(one, at)
    assert passed
    assert said.startswith("Deployment web: spec.replicas was set to 5 (by kubectl-edit at 2026-01-02T03:04:05Z): put back by Flux")


def test_f03_a_kustomization_that_is_suspended_puts_nothing_back(at: Shop) -> None:
    applied(at, suspend=True)
    edit(at, replicas=5)
    with pytest.raises(VerifyError, match="it is suspended") as caught:
        asked(question(Drift("Kustomization/apps", mend=True), at.world), at)
    assert caught.value.mend == "flux resume kustomization apps -n flux-system"


@pytest.mark.parametrize("word", ["Ignore", "IfNotPresent"])
def test_what_a_kustomization_is_told_to_let_alone_is_let_alone(at: Shop, word: str) -> None:
    applied(at)
    edit(at, replicas=5)
    at.fake.objects[DEPLOYMENT]["metadata"]["annotations"] = {"kustomize.toolkit.fluxcd.io/ssa": word}
    assert asked(question(Drift("Kustomization/apps"), at.world), at)[0]


def test_a_kustomization_that_is_not_there_or_has_applied_nothing_is_waited_for(at: Shop) -> None:
    with pytest.raises(Transient, match="there is no Kustomization flux-system/apps"):
        asked(question(Drift("Kustomization/apps"), at.world), at)
    at.fake.objects[applied(at)]["status"] = {}
    with pytest.raises(Transient, match="has applied nothing yet"):
        asked(question(Drift("Kustomization/apps"), at.world), at)


def test_flux_that_may_not_be_asked_is_told(at: Shop) -> None:
    keep(at)
    edit(at, replicas=5)
    forbidden: Fault = (403, {"kind": "Status", "message": "no"}, {})
    at.fake.fault = lambda method, target: forbidden if method == "PATCH" and "helmreleases" in target else None
    with pytest.raises(VerifyError, match="Flux could not be asked to put it back") as caught:
        asked(question(Drift(FLUX, mend=True), at.world), at)
    assert "flux reconcile helmrelease probe -n coulomb" in caught.value.mend


def test_a_release_of_manifests_is_looked_at_as_one_of_helms(at: Shop) -> None:
    keep(at)
    for secret in list(at.fake.objects):
        if "sh.helm.release" in secret:
            at.fake.objects[secret]["metadata"]["labels"]["owner"] = "pipeline"
    assert asked(question(Drift("release"), at.world), at)[0]
    edit(at, replicas=2)
    assert not asked(question(Drift("release"), at.world), at)[0]


def test_a_release_that_is_not_there_yet_is_waited_for(at: Shop) -> None:
    with pytest.raises(Transient, match="there is no HelmRelease coulomb/probe"):
        asked(question(Drift(FLUX), at.world), at)
    with pytest.raises(Transient, match="nobody keeps a release probe"):
        asked(question(Drift("release"), at.world), at)
    keep(at)
    at.fake.objects[HELM_RELEASE]["status"] = {}
    with pytest.raises(Transient, match="has released nothing yet"):
        asked(question(Drift(FLUX), at.world), at)
    keep(at)
    at.fake.drop(path("v1", "secrets", SPACE, f"sh.helm.release.v1.{NAME}.v3"))
    with pytest.raises(Transient, match="revision 3 of probe is not there any more"):
        asked(question(Drift(FLUX), at.world), at)


def test_a_kind_that_is_gone_is_named(at: Shop) -> None:
    keep(at)
    at.fake.objects["/apis/apps/v1"] = {"metadata": {}, "resources": []}
    assert "Deployment web is of a kind that the cluster does not know any more (apps/v1)" in asked(question(Drift(FLUX), at.world), at)[1]


@pytest.mark.parametrize(("code", "said"), [(422, "spec.selector: field is immutable"), (500, 'duplicate entries for key [name="A"]')])
def test_what_cannot_be_made_as_the_chart_says_is_named(at: Shop, code: int, said: str) -> None:
    keep(at)
    refused: Fault = (code, {"kind": "Status", "message": said}, {})
    at.fake.fault = lambda method, _target: refused if method == "PATCH" else None
    told = f"Deployment web cannot be made as the chart says: {said}; Secret password cannot be made as the chart says"
    assert asked(question(Drift(FLUX), at.world), at) == (False, told)


def test_an_api_that_fails_says_nothing_of_the_release(at: Shop) -> None:
    keep(at)
    failed: Fault = (500, {"kind": "Status", "message": "etcdserver: leader changed"}, {})
    at.fake.fault = lambda method, _target: failed if method == "PATCH" else None
    with pytest.raises(Unreachable):
        asked(question(Drift(FLUX), at.world), at)


def test_who_may_not_try_an_apply_is_told_so(at: Shop) -> None:
    keep(at)
    at.fake.fault = lambda method, _target: (403, {"kind": "Status", "message": "no"}, {}) if method == "PATCH" else None
    with pytest.raises(AuthError, match="patch"):
        asked(question(Drift(FLUX), at.world), at)


def test_a_look_that_comes_too_late_does_not_hide_what_the_one_before_saw(at: Shop) -> None:
    keep(at)
    edit(at, replicas=5)
    one = question(Drift(FLUX), at.world)
    first = asked(one, at)
    view = at.look()

    at.fake.fault = lambda _method, target: "drop" if "/deployments/" in target else None
    seen = one.judge(one.ask(view, 5))
    assert (seen.passed, seen.evidence) == first


def test_what_flux_put_back_beside_what_it_does_not_see_is_told_at_once(at: Shop) -> None:
    keep(at)
    edit(at, replicas=5, hostNetwork=True)
    one = question(Drift(FLUX, mend=True), at.world)
    assert not asked(one, at)[0]
    at.fake.objects[DEPLOYMENT]["spec"]["replicas"] = 1
    with pytest.raises(VerifyError, match="the chart says nothing of these fields"):
        asked(one, at)


def test_a_cluster_that_does_not_answer_says_nothing(at: Shop) -> None:
    at.fake.stop()
    with pytest.raises(Unreachable):
        asked(question(Drift(FLUX), at.world), at)
    with pytest.raises(Unreachable):
        asked(question(Drift("release"), at.world), at)
    at.fake.start()


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"drift": "Deployment/web"}, "is nothing that keeps objects"),
        ({"drift": "HelmRelease/--all"}, "is nothing that keeps objects"),
        ({"drift": "release", "mend": True}, "nobody puts back what Helm keeps"),
        ({"drift": "release", "namespace": "a"}, "not that of an object of Flux"),
        ({"drift": FLUX, "namespace": "A b"}, "is none"),
        ({"drift": FLUX, "within": 0.0}, "are not between"),
    ],
)
def test_i01_what_no_check_can_mean_is_refused(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Drift(**wrong)


def _site(at: Shop, clock: FakeClock, events: list[Event]) -> Any:
    import dataclasses

    return dataclasses.replace(at.site, clock=clock, sink=events.append)
