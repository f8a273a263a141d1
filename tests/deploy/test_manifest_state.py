"""What was touched since a release was good is told, by whom; what controllers write is not."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pipeline.deploy.manifest_state import drift, stamps

MAP, WEB = "/api/v1/namespaces/shop/configmaps/web", "/apis/apps/v1/namespaces/shop/deployments/web"
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
    then = stamps(world(), [MAP, WEB, "/gone"], ("pipeline",))
    assert then == {MAP: f"5 {NOON} -", WEB: f"3 {NOON} {NOON}"}
    assert drift(world(), then, ("pipeline",)) == []


@pytest.mark.parametrize(
    ("which", "version", "by", "said"),
    [
        (MAP, {"resourceVersion": "6"}, entry("kubectl-edit", {"f:data": {"f:b": {}}}, LATER), "data.b by kubectl-edit"),
        (WEB, {"generation": 4}, entry("kubectl", {"f:spec": {"f:replicas": {}}}, LATER), "spec.replicas by kubectl"),
        (WEB, {"generation": 4}, entry("kcm", {"f:spec": {"f:replicas": {}}}, LATER, "scale"), ""),
        (WEB, {"resourceVersion": "9"}, entry("kcm", {"f:status": {}}, LATER, "status"), ""),
        (MAP, {"resourceVersion": "6"}, entry("kcm", {"f:metadata": {"f:annotations": {}}}, LATER), ""),
    ],
)
def test_an_edit_is_told_and_a_controllers_work_is_not(which: str, version: dict[str, Any], by: dict[str, Any], said: str) -> None:
    then, now = stamps(world(), [MAP, WEB], ("pipeline",)), copy.deepcopy(world())
    now[which]["metadata"].update(version)
    now[which]["metadata"]["managedFields"].append(by)
    found = drift(now, then, ("pipeline",))
    assert len(found) == bool(said)
    assert not said or f"was edited: {said} at {LATER}" in found[0]
    assert "paused" not in str(found), "what was edited before it was good is not told again"


def test_what_is_gone_and_what_the_same_tool_did_by_hand_is_told() -> None:
    then, now = stamps(world(), [MAP, WEB], ("pipeline",)), copy.deepcopy(world())
    del now[WEB]
    now[MAP]["metadata"].update(resourceVersion="6", managedFields=[entry("pipeline", {"f:data": {"f:a": {}}}, LATER)])
    assert drift(now, then, ("pipeline",)) == [
        f"configmaps/web was edited: pipeline wrote to it at {LATER}, outside this pipeline",
        "deployments/web is gone",
    ]
