"""What a release would change, field by field, and never what a Secret holds."""

from __future__ import annotations

from typing import Any

from pipeline.deploy.manifest_trial import differences

BEFORE: dict[str, Any] = {
    "kind": "Deployment",
    "metadata": {"name": "web", "resourceVersion": "1", "managedFields": [1], "annotations": {"deployment.kubernetes.io/revision": "1"}},
    "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "app", "image": "a", "env": [{"name": "A", "value": "1"}]}]}}},
    "status": {"replicas": 1},
}


def test_each_field_is_named_as_people_name_it() -> None:
    container = {"name": "app", "image": "b", "env": [{"name": "B", "value": "x" * 100}]}
    after = {
        **BEFORE,
        "metadata": {"name": "web", "resourceVersion": "2", "annotations": {"note": "n"}},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}},
        "status": {},
    }
    found = list(differences(BEFORE, after))
    assert found[0] == "metadata.annotations.note: n is added"
    assert "spec.template.spec.containers[app].image: a -> b" in found
    assert "spec.template.spec.containers[app].env[A].value: 1 is taken away" in found
    assert all(len(line) < 140 for line in found)
    assert len(found) == 6
    assert list(differences(BEFORE, BEFORE)) == []


def test_r01_a_secrets_values_are_never_shown() -> None:
    before = {"kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "b2xk", "b": "c2FtZQ=="}}
    after = {"kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "bmV3", "b": "c2FtZQ==", "c": "bW9yZQ=="}}
    assert list(differences(before, after)) == ["data.a: changed", "data.c: changed"]
