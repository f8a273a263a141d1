"""What a blueprint may write into a file that runs with a token."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.generate.spec import Ci, CiDeploy, CiImage, workflow

EVIL = ["${{ github.token }}", "a\nb", "-x", "$(id)", "a b", "'", '"', "../x", ""]


@pytest.mark.parametrize("value", EVIL)
@pytest.mark.parametrize("name", ["workflow", "registry"])
def test_i01_a_name_that_is_none_is_refused(name: str, value: str) -> None:
    given: dict[str, Any] = {"workflow": "publish.yml", name: value}
    with pytest.raises(ValueError, match=name):
        Ci(**given)


@pytest.mark.parametrize("value", EVIL)
def test_i01_an_image_takes_only_names_and_paths(value: str) -> None:
    wrongs: tuple[dict[str, Any], ...] = (
        {"repository": value},
        {"context": value},
        {"platforms": (value,)},
        {"secrets": {"id": f"env:{value}"}},
    )
    for wrong in wrongs:
        with pytest.raises(ValueError):
            CiImage(**{"repository": "owner/name", **wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"dockerfile": "/etc/passwd"}, {"target": "a b"}, {"args": {"A B": "x"}}, {"args": {"A": "${{ secrets.X }}"}},
        {"args": {"A": "x\nB=y"}}, {"secrets": {"x": "file:secret"}},
        {"secrets": {"x": "env:GITHUB_TOKEN"}}, {"platforms": ("windows/amd64",)},
    ],
)  # fmt: skip
def test_i01_what_github_would_run_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        CiImage(**{"repository": "owner/name", **wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"branches": ()}, {"branches": ("main'",)}, {"git_tags": ("v* ${{ x }}",)}, {"token": "GITHUB_TOKEN"}, {"token": "a-b"},
        {"registry": "docker.io"}, {"registry": "docker.io", "username": "HUB_USER", "token": ""}, {"username": "a-b"},
        {"repository": "owner"}, {"minutes": 0}, {"minutes": 361},
        {"runners": {"linux/amd64": "self hosted"}}, {"images": {"A": CiImage("a")}},
    ],
)  # fmt: skip
def test_a_section_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Ci(**{"workflow": "publish.yml", **wrong})


def test_a_rule_for_tags_that_is_none_is_told() -> None:
    with pytest.raises(ConfigError, match="brunch"):
        Ci("publish.yml", tags=("brunch",))


@pytest.mark.parametrize("wrong", [{"environment": "a b"}, {"branches": ("m*",)}, {"secrets": ("lower",)}])
def test_a_deploy_takes_only_names(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        CiDeploy(**{"environment": "staging", **wrong})


@dataclass(frozen=True)
class BuiltImage:
    """An image as the build stage has it."""

    repository: str = "owner/relay"
    context: str = "app"
    dockerfile: str = "Dockerfile"
    target: str = ""
    args: dict[str, str] = field(default_factory=dict)
    platforms: tuple[str, ...] = ("linux/amd64",)
    secrets: dict[str, str] = field(default_factory=dict)


def test_images_and_tags_are_the_build_stages_where_none_are_named() -> None:
    build = SimpleNamespace(images={"relay": BuiltImage()}, tags=("sha",))
    found = workflow("relay", "config/relay.yml", Ci("publish.yml"), build)
    assert found.images == {"relay": CiImage("owner/relay", "app", "Dockerfile", platforms=("linux/amd64",))}
    assert found.rules == ("sha",)
    named = workflow("relay", "config/relay.yml", Ci("publish.yml", images={"own": CiImage("o/own")}, tags=("branch",)), build)
    assert list(named.images) == ["own"]
    assert named.rules == ("branch",)
    assert named.platforms == ("linux/amd64",)


def test_without_images_there_is_nothing_to_publish() -> None:
    with pytest.raises(ValueError, match="no images"):
        workflow("relay", "config/relay.yml", Ci("publish.yml"), None)


def test_a_platform_without_a_runner_is_told() -> None:
    images = {"relay": CiImage("o/relay", platforms=("linux/s390x",))}
    with pytest.raises(ValueError, match="no runner for linux/s390x"):
        workflow("relay", "config/relay.yml", Ci("publish.yml", images=images), None)
    assert workflow("relay", "config/relay.yml", Ci("publish.yml", images=images, emulate=True), None).platforms == ("linux/s390x",)


def test_m01_a_set_has_the_same_platforms() -> None:
    images = {"a": CiImage("o/a", platforms=("linux/amd64",)), "b": CiImage("o/b", platforms=("linux/arm64",))}
    with pytest.raises(ValueError, match="same platforms"):
        workflow("relay", "config/relay.yml", Ci("publish.yml", images=images), None)
