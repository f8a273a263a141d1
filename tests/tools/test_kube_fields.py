"""Fields of a Deployment that kubectl scaled, gave another image and a variable, restarted and labelled, as the API of 1.34 gave it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.tools.kube_fields import NOTHING, added, differences, taken, without_added, writer

CASE = json.loads((Path(__file__).parents[1] / "cases/kube_fields/edited.json").read_text())
CONTAINER = "spec.template.spec.containers[app]"


def live() -> dict[str, Any]:
    return copy.deepcopy(CASE["live"])


def test_what_differs_is_named_with_who_wrote_it() -> None:
    found = {each.path: (each.live, each.wanted, writer(CASE["live"], each.steps)) for each in differences(CASE["live"], CASE["after"])}
    assert found == {
        "spec.replicas": (1, 0, "kubectl scale"),
        f"{CONTAINER}.image": ("none.invalid/other", "none.invalid/web", "kubectl-set at 2026-11-21T15:25:48Z"),
    }


def test_a_field_is_pointed_to_as_flux_names_it() -> None:
    pointers = [each.pointer for each in differences(CASE["live"], CASE["after"])]
    assert pointers == ["/spec/replicas", "/spec/template/spec/containers/0/image"]
    assert differences({"a/b": {"c~d": 1}}, {"a/b": {"c~d": 2}})[0].pointer == "/a~1b/c~0d"


def test_what_kubectl_added_beside_the_chart_is_found_and_a_restart_is_no_edit() -> None:
    assert [(each.path, each.live) for each in added(CASE["live"], CASE["manifest"])] == [
        (f"{CONTAINER}.env", [{"name": "MODE", "value": "debug"}])
    ]


def test_what_a_controller_added_is_nobodys_edit() -> None:
    value = live()
    for entry in value["metadata"]["managedFields"]:
        entry["manager"] = entry["manager"].replace("kubectl", "some-operator")
    assert added(value, CASE["manifest"]) == []


def test_an_element_of_a_list_that_was_added_is_named_by_its_name() -> None:
    wanted = copy.deepcopy(CASE["manifest"])
    wanted["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "OTHER", "value": "x"}]
    assert [each.path for each in added(CASE["live"], wanted)] == [f"{CONTAINER}.env[MODE]"]


def test_a_port_whose_manifest_leaves_the_protocol_out_was_not_added() -> None:
    ports: dict[str, Any] = {"k:" + json.dumps({"port": number, "protocol": "TCP"}): {".": {}} for number in (80, 90)}
    owned = [{"manager": "kubectl-client-side-apply", "fieldsV1": {"f:spec": {"f:ports": ports}}}]
    value = {"metadata": {"managedFields": owned}, "spec": {"ports": [{"port": each, "protocol": "TCP"} for each in (80, 90)]}}
    assert [each.steps for each in added(value, {"spec": {"ports": [{"port": 80}]}})] == [("spec", "ports", 1)]


def test_what_was_added_is_taken_out_and_nothing_else() -> None:
    value, wanted = live(), copy.deepcopy(CASE["manifest"])
    container = value["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "ONE"}, {"name": "OWN"}, {"name": "TWO"}]
    variables: dict[str, Any] = {"k:" + json.dumps({"name": name}): {".": {}} for name in ("ONE", "TWO")}
    by_hand = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"app"}': {"f:env": variables}}}}}}
    value["metadata"]["managedFields"].append({"manager": "kubectl-set", "fieldsV1": by_hand})
    wanted["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "OWN"}]
    left, paths = without_added(value, wanted, ["helm"])
    assert left["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "OWN"}]
    assert {f"{CONTAINER}.env[ONE]", f"{CONTAINER}.env[TWO]"} <= set(paths)
    value["metadata"]["managedFields"].append({"manager": "helm", "fieldsV1": by_hand})
    assert without_added(value, wanted, ["helm"]) == (value, []), "what the release owns too is not taken out"


def test_what_the_server_keeps_is_no_difference() -> None:
    other = live()
    other["metadata"] |= {"resourceVersion": "1", "generation": 99, "uid": "x", "managedFields": []}
    other["status"] = {}
    assert differences(live(), other) == []


@pytest.mark.parametrize(
    ("one", "other", "path"),
    [
        ({"a": 1}, {"a": "1"}, "a"),
        ({"a": True}, {"a": 1}, "a"),
        ({"a": [1, 2]}, {"a": [1]}, "a"),
        ({"a": [1, 2]}, {"a": [1, 3]}, "a[1]"),
        ({"a": [{"name": "x", "v": 1}]}, {"a": [{"name": "y", "v": 1}]}, "a[x] a[y]"),
        ({"a": [{"port": 80}, {"port": 90}]}, {"a": [{"port": 90}, {"port": 80}]}, ""),
        ({"a": [{"port": 80}, {"port": 80}]}, {"a": [{"port": 80}, {"port": 81}]}, "a[1].port"),
        ({"a": []}, {"a": [{"name": "x"}]}, "a[x]"),
        ({}, {"a": {"b": 1}}, "a"),
    ],
)
def test_lists_are_held_against_one_another_by_what_names_their_elements(one: Any, other: Any, path: str) -> None:
    assert " ".join(each.path for each in differences(one, other)) == path


def test_what_is_not_there_is_told_from_null() -> None:
    (found,) = differences({}, {"a": None})
    assert (found.live, found.wanted) == (NOTHING, None)
    assert repr(found.live) == "nothing"


def test_a_field_that_was_taken_away_is_nobodys() -> None:
    value = live()
    del value["spec"]["replicas"]
    value["metadata"]["managedFields"] = value["metadata"]["managedFields"][1:]
    (found,) = [each for each in differences(value, CASE["after"]) if each.path == "spec.replicas"]
    assert (found.live, writer(value, found.steps)) == (NOTHING, "")


def test_a_part_of_a_field_that_is_owned_whole_has_its_owner() -> None:
    assert writer(CASE["live"], ("spec", "selector", "matchLabels", "a")) == "helm-controller at 2026-11-21T15:25:45Z"
    assert writer(CASE["live"], ("spec", "template", "spec", "containers", 7, "image")) == ""
    assert writer({"metadata": {}}, ("spec",)) == ""


def test_what_was_written_by_hand_is_not_its_keepers_any_more() -> None:
    found = {each.path: each.live for each in taken(CASE["live"], "helm-controller")}
    assert found == {
        "spec.replicas": 1,
        f"{CONTAINER}.env[MODE].name": "MODE",
        f"{CONTAINER}.env[MODE].value": "debug",
        f"{CONTAINER}.image": "none.invalid/other",
    }


def test_what_the_keeper_wrote_again_is_its_own() -> None:
    value = live()
    keeper = next(entry for entry in value["metadata"]["managedFields"] if entry["manager"] == "helm-controller")
    keeper["fieldsV1"]["f:spec"] |= {"f:replicas": {}}
    assert "spec.replicas" not in [each.path for each in taken(value, "helm-controller")]
    assert "spec.replicas" in [each.path for each in taken(value, "another-controller")]
    assert taken({"metadata": {"name": "x"}}, "helm-controller") == []


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_what_people_put_into_a_secret_is_theirs(kind: str) -> None:
    """A chart makes it empty, and somebody fills it: that may be the only place where it is."""
    owned = [{"manager": "kubectl-patch", "fieldsV1": {"f:data": {"f:password": {}}}}]
    value = {"kind": kind, "metadata": {"managedFields": owned}, "data": {"password": "aHVudGVyMg=="}}
    left, paths = without_added(value, {"kind": kind}, ["helm"])
    assert (left == value, paths) == ((True, []) if kind == "Secret" else (False, ["data"]))
