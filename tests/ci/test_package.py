"""What a run has published, asked of a registry."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.ci.package import expected, look
from pipeline.clock import SystemClock
from pipeline.errors import VerifyError
from pipeline.generate.spec import Ci, CiImage, Workflow, workflow
from pipeline.records import Records
from pipeline.stage import Registry, Site
from pipeline.testing.registry import FakeRegistry
from pipeline.testing.registry_handler import digest
from pipeline.tools.gh import Run

COMMIT = "abcdef0" + "1" * 33
AMD64 = b'{"os": "linux", "architecture": "amd64"}'
RUN = Run(41, COMMIT, "main", "push", "completed", "success", "https://example.org/41", "a commit", "publish", "2026-11-21T12:00:00Z")


def flow(address: str, *names: str, rules: tuple[str, ...] = ("branch", "sha", "tag"), git_tags: tuple[str, ...] = ("**",)) -> Workflow:
    images = {name: CiImage(f"owner/{name}") for name in names or ("relay",)}
    return workflow("relay", "config/relay.yml", Ci("publish.yml", registry=address, images=images, tags=rules, git_tags=git_tags), None)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry(auth="none") as made:
        yield made


@pytest.fixture
def site(registry: FakeRegistry, tmp_path: Path) -> Iterator[Site]:
    with Site(
        app="relay", root=tmp_path, hosts={}, remotes={}, registries={"ghcr": Registry(registry.address, scheme="http")}, clusters={},
        tools={}, values={}, records=Records(tmp_path / "records.db", SystemClock()),
    ) as made:  # fmt: skip
        yield made


def test_the_tags_of_a_branch_and_of_a_release() -> None:
    assert set(expected(flow("ghcr.io"), RUN).names) == {"main", "sha-abcdef0"}
    assert set(expected(flow("ghcr.io"), dataclasses.replace(RUN, branch="v1.2.3")).names) == {"v1.2.3", "sha-abcdef0", "latest"}
    assert set(expected(flow("ghcr.io"), dataclasses.replace(RUN, branch="v1.2.3-rc.1")).names) == {"v1.2.3-rc.1", "sha-abcdef0"}
    assert "feature" in expected(flow("ghcr.io", git_tags=()), dataclasses.replace(RUN, branch="feature")).names


def test_a_tag_with_the_commits_time_in_it_is_expected_where_the_time_is_known() -> None:
    rules = ("sortable", "sha")
    assert "main-abcdef0-1700000000" in expected(flow("ghcr.io", rules=rules), RUN, 1_700_000_000).names
    assert expected(flow("ghcr.io", rules=rules), RUN).names == ("sha-abcdef0",)


def test_a_package_is_found_by_digest(registry: FakeRegistry, site: Site) -> None:
    for tag in ("main", "sha-abcdef0"):
        put, _ = registry.put("owner/relay", tag, config=AMD64)
    (found,) = look(flow(registry.address), RUN, site)
    assert found.reference == f"{registry.address}/owner/relay@{put}"
    assert found.tags == ("main", "sha-abcdef0")
    assert found.platforms == ("linux/amd64",)


def test_a_tag_that_a_newer_run_has_moved_is_told(registry: FakeRegistry, site: Site) -> None:
    put, _ = registry.put("owner/relay", "sha-abcdef0", config=AMD64)
    registry.put("owner/relay", "main", (b"newer",), AMD64)
    (found,) = look(flow(registry.address), RUN, site)
    assert found.reference.endswith(put)
    assert (found.tags, found.moved) == (("sha-abcdef0",), ("main",))


def test_a_missing_tag_is_told_with_those_there_are(registry: FakeRegistry, site: Site) -> None:
    registry.put("owner/relay", "main", config=AMD64)
    with pytest.raises(VerifyError, match="has no tag sha-abcdef0") as told:
        look(flow(registry.address), RUN, site)
    assert told.value.cause == "tags there: main"


def test_m01_a_set_of_which_one_is_missing_is_not_good(registry: FakeRegistry, site: Site) -> None:
    for tag in ("main", "sha-abcdef0"):
        registry.put("owner/relay", tag, config=AMD64)
    with pytest.raises(VerifyError, match=r"owner/node has no tag"):
        look(flow(registry.address, "relay", "node"), RUN, site)


def test_fixed_tags_that_stand_for_two_images_are_told(registry: FakeRegistry, site: Site) -> None:
    registry.put("owner/relay", "sha-abcdef0", config=AMD64)
    for tag in ("v1.2.3", "latest"):
        registry.put("owner/relay", tag, (b"other",), AMD64)
    with pytest.raises(VerifyError, match="stand for different images"):
        look(flow(registry.address), dataclasses.replace(RUN, branch="v1.2.3"), site)


def test_m03_an_image_of_which_a_part_is_lost_is_told(registry: FakeRegistry, site: Site) -> None:
    for tag in ("main", "sha-abcdef0"):
        registry.put("owner/relay", tag, config=AMD64)
    registry.hollow.add(digest(b"layer"))
    with pytest.raises(VerifyError, match="not what was asked for") as told:
        look(flow(registry.address), RUN, site)
    assert "parts" in told.value.cause


def test_an_image_for_another_platform_is_told(registry: FakeRegistry, site: Site) -> None:
    for tag in ("main", "sha-abcdef0"):
        registry.put("owner/relay", tag, config=AMD64.replace(b"amd64", b"riscv64"))
    with pytest.raises(VerifyError) as told:
        look(flow(registry.address), RUN, site)
    assert "linux/riscv64, wanted is linux/amd64" in told.value.cause
