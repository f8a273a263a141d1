"""Which images of a stranger's manifests the build made is said in the blueprint; the files stay as they are."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.artifacts import Image, Images, Source
from pipeline.deploy.manifest_images import Replaced, check, replaced
from pipeline.errors import ConfigError
from pipeline.tools import placeholders

VOTE = Image("127.0.0.1:5000/apps/vote", "sha256:" + "a" * 64, "v1")
RESULT = Image("127.0.0.1:5000/apps/result", "sha256:" + "b" * 64, "v1")
IMAGES = Images(Source("7e" * 20, "c" * 40, False, "/w"), (VOTE, RESULT))
WORDS = placeholders.words(IMAGES.source, IMAGES.images, "voting")


def workload(*images: str, kind: str = "Deployment", key: str = "containers") -> dict[str, Any]:
    pod = {"spec": {key: [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]}}
    spec: dict[str, Any] = {"template": pod}
    return {"kind": kind, "spec": {"jobTemplate": {"spec": spec}} if kind == "CronJob" else spec}


def images(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["image"]] if isinstance(value.get("image"), str) else []
        return own + [each for item in value.values() for each in images(item)]
    return [each for item in value for each in images(item)] if isinstance(value, list) else []


@pytest.mark.parametrize("written", ["theirs/vote", "theirs/vote:latest", "theirs/vote:v2@sha256:" + "0" * 64])
@pytest.mark.parametrize("kind", ["Deployment", "CronJob", "Rollout"])
@pytest.mark.parametrize("key", ["containers", "initContainers"])
def test_what_is_named_gets_the_image_of_the_build_wherever_it_stands(written: str, kind: str, key: str) -> None:
    given = [workload(written, "postgres:16", kind=kind, key=key)]
    made = replaced(given, [Replaced("theirs/vote")], IMAGES, WORDS)
    assert images(made) == [VOTE.reference, "postgres:16"]
    assert images(given) == [written, "postgres:16"], "what was given is not changed"


def test_a_registry_with_a_port_is_part_of_the_name() -> None:
    made = replaced([workload("localhost:5000/a/web:1", "web:1")], [Replaced("localhost:5000/a/web", "{vote.repository}")], IMAGES, WORDS)
    assert images(made) == [VOTE.reference, "web:1"]


def test_a_new_name_says_which_image_of_a_set_is_meant() -> None:
    wanted = [Replaced("front", "{vote.repository}"), Replaced("back", RESULT.repository)]
    assert images(replaced([workload("front:1", "back")], wanted, IMAGES, WORDS)) == [VOTE.reference, RESULT.reference]


def test_the_only_image_of_a_build_needs_no_new_name() -> None:
    one = Images(IMAGES.source, (VOTE,))
    assert images(replaced([workload("theirs:1")], [Replaced("theirs")], one, WORDS)) == [VOTE.reference]


def test_which_image_is_meant_is_asked_if_it_is_not_known() -> None:
    with pytest.raises(ConfigError, match="which image theirs is") as caught:
        replaced([workload("theirs:1")], [Replaced("theirs")], IMAGES, WORDS)
    assert 'newName: "{vote.repository}" or newName: "{result.repository}"' in caught.value.mend
    with pytest.raises(ConfigError, match="which image theirs is"):
        replaced([workload("theirs:1")], [Replaced("theirs", "elsewhere.example/vote")], IMAGES, WORDS)


def test_a_name_that_no_container_has_is_told_with_the_near_one() -> None:
    with pytest.raises(ConfigError, match=r"no container has an image theirs/vot; did you mean 'theirs/vote'"):
        check([workload("theirs/vote:1")], [Replaced("theirs/vot")])


def test_tags_do_not_belong_in_a_name() -> None:
    with pytest.raises(ValueError, match="without tag and digest"):
        Replaced("theirs/vote:1")
