"""Bad inputs of the two other systems, by `inv` on the lab: each gives its clear error, and nothing is left half-done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.systems import System, system

pytestmark = pytest.mark.real
SAMPLE = "pipeline/lab/samples/relay"


def own(data: dict[str, Any], name: str) -> None:
    data["stages"]["build"]["images"] = {"relay": {"repository": f"{name}/relay"}}
    data["stages"]["deploy"]["namespace"] = name


@pytest.fixture
def relay(tmp_path: Path, lab_site_file: Path) -> Iterator[System]:
    with system("relay", tmp_path, (SAMPLE,), own) as made:
        made.commit("Start")
        yield made


def refused(relay: System, *words: str, code: int, says: tuple[str, ...], **env: str) -> None:
    """`inv` ends with `code` and says all of that, without a traceback; no image and no namespace came of it."""
    out = relay.inv(*words, env=env)
    assert out.returncode == code, f"{out.returncode}\n{out.stdout}\n{out.stderr}"
    for text in says:
        assert text in out.stderr, out.stderr
    assert "Traceback" not in out.stderr
    with relay.registry("untouched") as registry:
        assert registry.tags(f"{relay.name}/relay") == ()
    assert relay.kubectl("get", "namespace", relay.name, "--ignore-not-found") == ""


@pytest.fixture
def login(relay: System) -> System:
    """The registry `ghcr` with a password from the environment; `untouched` is the same one as it was."""

    def change(site: dict[str, Any]) -> None:
        site["registries"]["untouched"] = dict(site["registries"]["ghcr"])
        site["registries"]["ghcr"] |= {"provider": "ghcr", "password": "env:RELAY_TEST_TOKEN"}

    relay.move(change)
    return relay


def test_a_wrong_token(login: System) -> None:
    refused(
        login,
        "release",
        code=11,
        says=("does not know this user and password", "write:packages", "[AUTH, exit 11]"),
        RELAY_TEST_TOKEN="not-the-token",
    )


def test_no_token_at_all(login: System) -> None:
    refused(login, "release", code=11, says=("RELAY_TEST_TOKEN",))


def test_a_token_that_lacks_the_scope(login: System) -> None:
    """Account `reader` may pull and not push, as a token without write:packages."""

    def reader(site: dict[str, Any]) -> None:
        site["registries"]["ghcr"] |= {"username": "reader", "password": site["registries"]["ghcr"]["password"]}

    login.move(reader)
    password = (
        Path(str(login.site["registries"]["ghcr"]["password"]).removeprefix("file:")).with_name("hub-reader-password").read_text().strip()
    )
    refused(
        login,
        "release",
        code=11,
        says=("does not match expected scopes", "the right to write packages", "[AUTH, exit 11]"),
        RELAY_TEST_TOKEN=password,
    )


@pytest.fixture
def plain(relay: System) -> System:
    relay.move(lambda site: site["registries"].update(untouched=dict(site["registries"]["ghcr"])))
    return relay


def test_an_unknown_platform(plain: System) -> None:
    plain.overlay("lab", lambda data: data["stages"]["build"]["images"]["relay"].update(platforms=["linux/amd46x"]))
    refused(plain, "release", code=2, says=("no builder builds linux/amd46x; did you mean 'linux/amd64'?",))


def test_a_platform_that_no_builder_has(plain: System) -> None:
    plain.overlay("lab", lambda data: data["stages"]["build"]["images"]["relay"].update(platforms=["linux/s390x"]))
    refused(plain, "release", code=2, says=("linux/s390x", "linux/amd64"))


def test_a_rule_that_gives_no_tag(plain: System) -> None:
    plain.overlay("lab", lambda data: data["stages"]["build"].update(tags=["raw:.hidden"]))
    refused(plain, "release", code=2, says=("config/relay.yml:", "'.hidden' cannot be part of a tag"))


def test_a_git_tag_that_is_too_long_for_an_image(plain: System) -> None:
    plain.git("tag", "v" + "1" * 150)
    refused(plain, "release", code=2, says=("which no registry takes", "at most 128"))


def test_a_base_image_that_is_not_there(plain: System) -> None:
    plain.change(f"{SAMPLE}/Dockerfile", "FROM python:3.11-slim-bookworm", "FROM python:3.11-slim-bookwurm")
    refused(plain, "release", code=2, says=("a base image is not there", "Dockerfile:2", "python:3.11-slim-bookwurm"))


def test_manifests_that_are_not_jsonnet_are_told_before_anything_is_deployed(plain: System) -> None:
    plain.change(f"{SAMPLE}/manifests/relay.jsonnet", "function(image,", "function(picture,")
    out = plain.inv("release")
    assert out.returncode == 2, out.stderr
    assert "relay.jsonnet" in out.stderr
    assert "Traceback" not in out.stderr
    assert plain.kubectl("get", "deployment", "--output", "name", "--ignore-not-found") == ""
