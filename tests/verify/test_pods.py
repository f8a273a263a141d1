from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pipeline.artifacts import Check, Image
from pipeline.tools.references import digest_in
from pipeline.verify.pods import judge, stated
from tests.verify.releases import CONFIG, DIGEST, LABELS, OTHER, RELEASE, REPOSITORY, pod


@pytest.mark.parametrize(
    ("image_id", "digest"),
    [
        (f"{REPOSITORY}@{DIGEST}", DIGEST),
        (f"docker-pullable://{REPOSITORY}@{DIGEST}", DIGEST),
        (f"docker://{DIGEST}", DIGEST),
        (CONFIG, CONFIG),
        ("", ""),
    ],
)
def test_an_image_id_gives_its_digest(image_id: str, digest: str) -> None:
    assert digest_in(image_id) == digest


@pytest.mark.parametrize("image_id", [f"{REPOSITORY}@{DIGEST}", CONFIG])
def test_a_ready_pod_on_the_pushed_image_passes_and_is_named(image_id: str) -> None:
    check = judge(RELEASE, [pod(image_id=image_id), pod("probe-2")])
    assert check.passed
    assert check.evidence == "2 ready on sha256:d1d1d1d1d1d1: probe-1, probe-2"


def test_v01_one_pod_left_on_the_old_image_fails_with_both_digests() -> None:
    check = judge(RELEASE, [pod(), pod("probe-old", f"{REPOSITORY}@{OTHER}")])
    assert not check.passed
    assert check.evidence == "probe-old runs sha256:0d0d0d0d0d0d in container app, sha256:d1d1d1d1d1d1 was released"


def test_no_pods_is_no_pass() -> None:
    check = judge(RELEASE, [])
    assert not check.passed
    assert "no workload of the release has a pod in namespace coulomb" in check.evidence


def test_pods_that_end_do_not_count() -> None:
    ending = pod("ending", f"{REPOSITORY}@{OTHER}")
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    done = pod("done", f"{REPOSITORY}@{OTHER}", ready=False)
    done["status"]["phase"] = "Succeeded"
    assert judge(RELEASE, [ending, done, pod()]).passed
    assert not judge(RELEASE, [ending, done]).passed


def test_a_pod_that_is_not_ready_fails_with_the_reason() -> None:
    waiting = pod(ready=False, image_id="")
    waiting["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "ImagePullBackOff"}}
    assert judge(RELEASE, [waiting]).evidence == "probe-1 is not ready (ImagePullBackOff)"
    fresh = {"metadata": {"name": "probe-3"}, "status": {"phase": "Pending"}}
    assert judge(RELEASE, [fresh]).evidence == "probe-3 is not ready (Pending)"


POSTGRES, BUSYBOX = "postgres:16", f"docker.io/library/busybox@{OTHER}"


def beside(key: str, container: str, image: str, image_id: str, *, wanted: str = POSTGRES) -> Check:
    """The check of a pod that has one more container, which the manifest has with the image `wanted`, or has not."""
    mixed = pod()
    mixed["spec"] = {"containers": [{"name": "app", "image": f"{REPOSITORY}@{DIGEST}"}], "initContainers": []}
    mixed["spec"][key].append({"name": container, "image": image})
    statuses = {"containers": "containerStatuses", "initContainers": "initContainerStatuses"}[key]
    mixed["status"].setdefault(statuses, []).append({"name": container, "image": image, "imageID": image_id})
    template: dict[str, Any] = {"spec": {"containers": [{"name": "app", "image": f"{REPOSITORY}@{DIGEST}"}], "initContainers": []}}
    if wanted:
        template["spec"][key].append({"name": container, "image": wanted})
    selector = {"matchLabels": LABELS}
    said = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "probe"},
        "spec": {"selector": selector, "template": template},
    }
    return judge(RELEASE, [mixed], stated([said], RELEASE.namespace))


@pytest.mark.parametrize("key", ["containers", "initContainers"])
@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        (POSTGRES, POSTGRES),
        ("docker.io/library/postgres:16", POSTGRES),
        ("mirror.example:5000/hub/library/postgres:16", POSTGRES),  # what a cluster makes of it that pulls through a mirror
        (f"postgres:16@{OTHER}", POSTGRES),  # what a cluster makes of it that pins what it admits
        (BUSYBOX, BUSYBOX),
        ("redis", "redis:latest"),
    ],
)
def test_other_peoples_images_are_compared_with_the_manifest(key: str, image: str, wanted: str) -> None:
    check = beside(key, "other", image, f"{image.partition('@')[0].rpartition(':')[0] or image}@{OTHER}", wanted=wanted)
    assert check.passed, check.evidence
    assert "beside" not in check.evidence


@pytest.mark.parametrize(
    ("image", "wanted", "said"),
    [
        ("postgres:15", POSTGRES, "runs postgres:15 in container other, the manifest says postgres:16"),
        (f"postgres@{DIGEST}", f"postgres@{OTHER}", "the manifest says postgres@sha256:0d0d0d0d0d0d"),
        ("evil/postgres:16", "bitnami/postgres:16", "runs evil/postgres:16"),
        (f"{REPOSITORY}:old", f"{REPOSITORY}:old", "was released"),  # our own, of another version
        ("postgres:16", f"{REPOSITORY}@{DIGEST}", "was released"),  # another one where ours is to be
    ],
)
def test_what_the_manifest_does_not_say_fails(image: str, wanted: str, said: str) -> None:
    check = beside("containers", "other", image, f"postgres@{OTHER}", wanted=wanted)
    assert not check.passed
    assert said in check.evidence


def test_what_a_mesh_puts_beside_it_is_told_and_passes() -> None:
    check = beside("containers", "istio-proxy", "docker.io/istio/proxyv2:1.22", f"docker.io/istio/proxyv2@{OTHER}", wanted="")
    assert check.passed
    assert check.evidence.endswith("beside it, of no manifest: istio-proxy")


def test_an_image_that_only_an_init_container_runs_is_run() -> None:
    second = Image("registry.example/migrate", OTHER, "b2b2b2b")
    mixed = pod()
    mixed["status"]["initContainerStatuses"] = [{"name": "migrate", "imageID": f"registry.example/migrate@{OTHER}"}]
    assert judge(dataclasses.replace(RELEASE, images=(*RELEASE.images, second)), [mixed]).passed


def test_an_image_that_no_workload_of_the_manifest_names_is_not_missed() -> None:
    nightly = Image("registry.example/nightly", OTHER, "b2b2b2b")
    container = {"name": "app", "image": f"{REPOSITORY}@{DIGEST}"}
    spec = {"selector": {"matchLabels": LABELS}, "template": {"spec": {"containers": [container]}}}
    said = stated([{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "probe"}, "spec": spec}], RELEASE.namespace)
    both = dataclasses.replace(RELEASE, images=(*RELEASE.images, nightly))
    assert judge(both, [pod()], said).passed
    assert not judge(both, [pod()]).passed


def test_every_pushed_image_has_to_run_somewhere() -> None:
    second = Image("registry.example/worker", OTHER, "b2b2b2b")
    both = dataclasses.replace(RELEASE, images=(*RELEASE.images, second))
    check = judge(both, [pod()])
    assert not check.passed
    assert check.evidence == f"no pod runs registry.example/worker@{OTHER}"
    assert judge(both, [pod(), pod("worker-1", f"registry.example/worker@{OTHER}")]).passed


def test_a_crowd_of_wrong_pods_is_counted() -> None:
    crowd = [pod(f"probe-{number}", f"{REPOSITORY}@{OTHER}") for number in range(12)]
    evidence = judge(RELEASE, crowd).evidence
    assert evidence.endswith("and 7 more")
    assert evidence.count("probe-") == 5
