"""What was touched since a release was good is told, by whom; what controllers write is not."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.deploy import drift
from pipeline.deploy.helm import find, make
from pipeline.stage import Site
from pipeline.tools.kube import connect
from pipeline.tools.kube_edits import is_touched, stamps
from tests.deploy.cluster import Cluster, workload
from tests.deploy.test_helm import images, spec

MAP, WEB = "/api/v1/namespaces/shop/configmaps/web", "/apis/apps/v1/namespaces/shop/deployments/web"
CONFIG = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {A: "1"}\n'
NOON, LATER = "2026-11-21T12:00:00Z", "2026-11-21T13:00:00Z"


def entry(manager: str, fields: dict[str, Any], time: str = NOON, subresource: str = "") -> dict[str, Any]:
    return {"manager": manager, "time": time, "fieldsV1": fields, "subresource": subresource}


def world() -> dict[str, Any]:
    data: dict[str, Any] = {"f:data": {"f:a": {}}, "f:metadata": {"f:labels": {}}}
    return {
        MAP: {"metadata": {"name": "web", "resourceVersion": "5", "managedFields": [entry("pipeline", data)]}},
        WEB: {"metadata": {"name": "web", "resourceVersion": "7", "generation": 3, "managedFields": [
            entry("pipeline", {"f:spec": {"f:replicas": {}}}), entry("lens", {"f:spec": {"f:paused": {}}})]}},
    }  # fmt: skip


def test_nothing_touched_is_no_drift() -> None:
    then = stamps(world(), ("pipeline",))
    assert then == {MAP: f"5 {NOON} -", WEB: f"3 {NOON} {NOON}"}
    assert not any(is_touched(value, then[place], ("pipeline",)) for place, value in world().items())


@pytest.mark.parametrize(
    ("which", "version", "by", "touched"),
    [
        (MAP, {"resourceVersion": "6"}, entry("kubectl-edit", {"f:data": {"f:b": {}}}, LATER), True),
        (WEB, {"generation": 4}, entry("kubectl", {"f:spec": {"f:replicas": {}}}, LATER), True),
        (WEB, {"generation": 4}, entry("kube-controller-manager", {"f:spec": {"f:replicas": {}}}, LATER, "scale"), False),
        (WEB, {"generation": 4}, entry("kubectl", {"f:spec": {"f:replicas": {}}}, "", "scale"), True),
        (WEB, {"resourceVersion": "9"}, entry("kcm", {"f:status": {}}, LATER, "status"), False),
        (MAP, {"resourceVersion": "6"}, entry("kcm", {"f:metadata": {"f:annotations": {}}}, LATER), False),
        (MAP, {"resourceVersion": "6"}, entry("pipeline", {"f:data": {"f:a": {}}}, LATER), True),
    ],
)
def test_what_somebody_wrote_to_is_looked_at_and_a_controllers_work_is_not(
    which: str, version: dict[str, Any], by: dict[str, Any], touched: bool
) -> None:
    then, now = stamps(world(), ("pipeline",)), copy.deepcopy(world())
    now[which]["metadata"].update(version)
    now[which]["metadata"]["managedFields"].append(by)
    assert [place for place in now if is_touched(now[place], then[place], ("pipeline",))] == ([which] if touched else [])
    if which == MAP and touched:
        assert is_touched(now[which], "", ("helm",)), "nothing was noted of it, and its keeper did not write this"


@pytest.mark.parametrize(("which", "version"), [(WEB, {"generation": 4}), (MAP, {"resourceVersion": "6"})])
def test_what_was_written_to_without_a_trace_is_looked_at(which: str, version: dict[str, Any]) -> None:
    """So the API notes `kubectl scale --replicas=0`, and a field that `kubectl edit` took away."""
    then, now = stamps(world(), ("pipeline",)), copy.deepcopy(world())
    now[which]["metadata"].update(version)
    assert [place for place in now if is_touched(now[place], then[place], ("pipeline",))] == [which]


class OfWeb:
    """The release of the fake cluster, good, with a ConfigMap beside its Deployment."""

    def __init__(self, site: Site, cluster: Cluster) -> None:
        cluster.chart(workload(), CONFIG)
        self.site, self.fake = site, cluster.fake
        self.images, self.spec = images(), spec()
        self.number = make(self.spec, self.images, site).revision

    def why(self) -> str:
        """Why it is not live as it is wanted, once the rollout of an edit is over."""
        until = time.monotonic() + 20
        while "rollout" in (finding := find(self.spec, self.images, self.site)).why and time.monotonic() < until:
            time.sleep(0.05)
        return "" if finding.artifact else finding.why

    def edit(self, place: str, change: Callable[[dict[str, Any]], None], manager: str = "kubectl-edit") -> None:
        """What a person does: the change, and the server's note of who made it."""
        value = copy.deepcopy(self.fake.objects[place])
        change(value)
        field: dict[str, Any] = {"f:data": {"f:A": {}}} if "configmaps" in place else {"f:spec": {"f:template": {}}}
        value["metadata"].setdefault("managedFields", []).append(entry(manager, field, LATER))
        self.fake.put(place, value)


@pytest.fixture
def web(site: Site, cluster: Cluster) -> OfWeb:
    return OfWeb(site, cluster)


def test_a_config_map_of_a_chart_that_was_edited_or_deleted_is_told_by_find(web: OfWeb) -> None:
    assert web.why() == ""
    web.edit(MAP, lambda value: value["data"].update(A="2"))
    assert web.why() == f'configmaps/web was edited: data.A is "2", "1" is wanted (by kubectl-edit at {LATER})'
    web.fake.drop(MAP)
    assert web.why() == "configmaps/web is gone"
    assert make(web.spec, web.images, web.site).revision == web.number + 1
    assert web.why() == "", "the blueprint wins"


def test_a_variable_that_was_added_by_hand_is_told_and_one_of_a_webhook_is_not(web: OfWeb) -> None:
    """`kubectl set env` adds what the chart says nothing of; what a webhook injects is nobody's edit."""

    def inject(value: dict[str, Any]) -> None:
        value["spec"]["template"]["spec"]["priorityClassName"] = "low"

    web.edit(WEB, inject, "some-webhook")
    assert web.why() == ""
    web.edit(WEB, lambda value: value["spec"]["template"]["spec"]["containers"][0].update(image="other:1"), "kubectl-set")
    assert "deployments/web was edited: spec.template.spec.containers" in web.why()


def test_an_edit_that_was_there_when_the_release_was_noted_good_goes_on_being_told(web: OfWeb) -> None:
    """It is not noted as a part of what was good: somebody edited while the rollout went on."""
    web.edit(MAP, lambda value: value["data"].update(A="2"))
    drift.note(connect(web.site, web.spec.cluster), web.spec, web.number, {})
    assert web.why() == f'configmaps/web was edited: data.A is "2", "1" is wanted (by kubectl-edit at {LATER})'


def test_a_writer_whose_fields_are_as_wanted_does_not_make_a_release_unknown(web: OfWeb) -> None:
    web.edit(MAP, lambda value: value["data"].update(A="1"), "some-controller")
    drift.note(connect(web.site, web.spec.cluster), web.spec, web.number, {})
    before = len(web.fake.asked)
    assert "configmaps" not in web.why()
    assert not [target for method, target in web.fake.asked[before:] if method == "PATCH"], "its state is noted, and nothing is tried"
