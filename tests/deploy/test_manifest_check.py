"""Objects are checked before anything is applied: every mistake is named with the object it is in."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.artifacts import Image, Images, Source
from pipeline.deploy.manifest_check import apart, check, flattened, pull_secrets
from pipeline.errors import ConfigError

RELAY = Image("reg.test/team/relay", "sha256:" + "a" * 64, "v1")
IMAGES = Images(Source("7e" * 20, "c" * 40, False, "/w"), (RELAY,))
Object = dict[str, Any]


def objects() -> list[Object]:
    container = {"name": "relay", "image": RELAY.reference, "ports": [{"name": "http", "containerPort": 8088}, {"containerPort": 9418}]}
    template = {"metadata": {"labels": {"app": "relay"}}, "spec": {"containers": [container], "imagePullSecrets": [{"name": "pull"}]}}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "relay"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "relay", "namespace": "shop"}, "spec": {
            "selector": {"app": "relay"}, "ports": [{"port": 80, "targetPort": "http"}, {"port": 9418}]}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "relay"}, "spec": {"template": template}},
    ]  # fmt: skip


def test_every_object_and_every_pod_carries_the_releases_name() -> None:
    given = objects()
    before = copy.deepcopy(given)
    made = check(given, IMAGES, "shop", "web")
    assert given == before, "what was given is not changed"
    assert {each["metadata"]["labels"]["app.kubernetes.io/instance"] for each in made} == {"web"}
    assert made[2]["spec"]["template"]["metadata"]["labels"] == {"app": "relay", "app.kubernetes.io/instance": "web"}
    assert "namespace" not in made[1]["metadata"], "kubectl is told the namespace, and knows which kinds have one"
    assert pull_secrets(given) == [{"name": "pull"}]


def put(path: str, value: Any) -> Callable[[list[Object]], None]:
    """A change: `value` at a dotted path, whose first word is the object's number."""

    def change(given: list[Object]) -> None:
        *way, last = path.split(".")
        found: Any = given
        for word in way:
            found = found[int(word)] if isinstance(found, list) else found[word]
        found[int(last) if isinstance(found, list) else last] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda given: given.append(given[0]), "ConfigMap relay is there twice"),
        (put("0.metadata.namespace", "other"), "ConfigMap relay is of namespace other, the stage deploys to shop"),
        (put("0.kind", "Namespace"), "Namespace relay is another namespace, the stage deploys to shop"),
        (put("2.kind", "Job"), "the manifests hold nothing that runs"),
        (put("2.spec.template.spec.containers.0.image", "busybox:1"), r"image reg\.test/team/relay@sha256:a+ is not used"),
        (put("2.spec.template.spec.containers.0.image", "reg.test/team/relay:v1"), r"Deployment relay runs reg\.test/team/relay:v1"),
        (put("1.spec.ports.0.targetPort", "web"), "Service relay port 80 leads to port web, which no container has"),
        (put("1.spec.ports.1.targetPort", 9419), "Service relay port 9418 leads to port 9419"),
        (put("1.spec.ports.1", {"port": 9420}), "Service relay port 9420 leads to port 9420"),
        (put("2.metadata.labels", {"app.kubernetes.io/instance": "theirs"}), "labelled app.kubernetes.io/instance=theirs"),
        (
            put("2.spec.template.metadata.labels", {"app": "relay", "app.kubernetes.io/instance": "theirs"}),
            "labelled app.kubernetes.io/instance=theirs",
        ),
    ],
)
def test_a_mistake_is_named_with_its_object(change: Callable[[list[Object]], None], said: str) -> None:
    given = objects()
    change(given)
    with pytest.raises(ConfigError, match=said) as caught:
        check(given, IMAGES, "shop", "web")
    assert caught.value.mend


def test_an_image_counts_wherever_it_runs() -> None:
    other = Image("reg.test/team/job", "sha256:" + "b" * 64, "v1")
    both = Images(IMAGES.source, (RELAY, other))
    with pytest.raises(ConfigError, match=r"reg\.test/team/job@sha256:b+ is not used"):
        check(objects(), both, "shop", "web")
    pod = {"spec": {"template": {"spec": {"containers": [{"name": "job", "image": other.reference}]}}}}
    cron = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"}, "spec": {"jobTemplate": pod}}
    assert len(check([*objects(), cron], both, "shop", "web")) == 4


def test_a_service_of_other_pods_is_left_alone() -> None:
    given = objects()
    given[1]["spec"] = {"selector": {"app": "elsewhere"}, "ports": [{"port": 1}]}
    assert len(check(given, IMAGES, "shop", "web")) == 3


def test_lists_are_taken_apart_and_empty_documents_left_out() -> None:
    one = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    assert list(flattened([None, {}, {"apiVersion": "v1", "kind": "List", "items": [one, one]}], "m")) == [one, one]
    with pytest.raises(ConfigError, match="m holds something that is no object"):
        list(flattened(["text"], "m"))
    with pytest.raises(ConfigError, match=r"a ConfigMap has no metadata\.name"):
        list(flattened([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "a-"}}], "m"))


def test_a_service_leads_to_a_number_that_no_container_lists() -> None:
    given = objects()
    put("2.spec.template.spec.containers.0.ports", [])(given)
    put("1.spec.ports", [{"port": 80, "targetPort": 8088}])(given)
    assert check(given, IMAGES, "shop", "web")


def test_the_stages_own_namespace_is_no_object_of_the_release() -> None:
    own = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "a"}}}
    space, rest = apart(check([own, *objects()], IMAGES, "shop", "web"))
    assert space["metadata"]["labels"]["team"] == "a"
    assert [each["kind"] for each in rest] == ["ConfigMap", "Service", "Deployment"]


def test_an_image_by_tag_and_digest_is_one_by_digest() -> None:
    given = objects()
    put("2.spec.template.spec.containers.0.image", f"{RELAY.repository}:v1@{RELAY.digest}")(given)
    assert check(given, IMAGES, "shop", "web")


def test_before_the_build_nothing_is_said_of_images() -> None:
    given = objects()
    put("2.spec.template.spec.containers.0.image", "theirs:1")(given)
    assert check(given, None, "shop", "web")
