from __future__ import annotations

import dataclasses

import pytest

from pipeline.artifacts import Image
from pipeline.verify.pods import digest_of, judge
from tests.verify.releases import CONFIG, DIGEST, OTHER, RELEASE, REPOSITORY, pod


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
    assert digest_of(image_id) == digest


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


def test_an_image_that_was_not_pushed_fails_unless_it_is_named_beside() -> None:
    mixed = pod()
    mixed["status"]["containerStatuses"].append(
        {"name": "db", "image": "mirror.example:5000/library/postgres:16", "imageID": f"mirror.example:5000/library/postgres@{OTHER}"}
    )
    assert not judge(RELEASE, [mixed]).passed
    assert judge(RELEASE, [mixed], beside=("mirror.example:5000/library/postgres",)).passed


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
