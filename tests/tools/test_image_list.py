"""The images of a repository with all their tags, and the time of their commits: by git, else by their own labels."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.testing.registry import FakeRegistry
from pipeline.tools import image_index, named
from pipeline.tools.image_list import Stored, children, dated, stored, times
from pipeline.tools.references import digest_of
from pipeline.tools.registry import Client, Manifest, read_manifest
from pipeline.tools.tags import LABEL
from tests.tools.test_registry import client

REPOSITORY = "team/app"
NAMES = ("sha-([0-9a-f]{7})", "built-[0-9a-f]{4}")
OTHER = "abcdef1" + "0" * 33


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as made:
        yield made


@pytest.fixture
def asking(registry: FakeRegistry) -> Iterator[Client]:
    made = client(registry)
    yield made
    made.close()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "committer x 7 +0000"], check=True,
                   env={"GIT_COMMITTER_DATE": "@1700000000 +0000", "GIT_AUTHOR_DATE": "@5 +0000"})  # fmt: skip
    return tmp_path


def head(copy: Path) -> str:
    return subprocess.run(["git", "-C", str(copy), "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def labelled(registry: FakeRegistry, *tags: str, **said: str) -> str:
    config = json.dumps({"config": {"Labels": {LABEL + name: text for name, text in said.items()}}, "for": tags}).encode()
    for tag in tags:
        digest, _ = registry.put(REPOSITORY, tag, (b"layer",), config)
    return digest


def test_tags_of_one_image_are_one_and_referrers_are_none(registry: FakeRegistry, asking: Client) -> None:
    digest, config = registry.put(REPOSITORY, "b")
    registry.put(REPOSITORY, "a")
    registry.put(REPOSITORY, "sha256-" + "0" * 64, (b"other",))
    assert stored(asking, REPOSITORY) == (Stored(digest, ("a", "b"), (), config),)
    assert stored(asking, "team/none") == ()


def over(registry: FakeRegistry, asking: Client, image: str, *tags: str, **said: str) -> str:
    """An index of ours above an image, under these tags; its digest."""
    below = image_index.stored(asking, REPOSITORY, image, whole=False)
    assert below is not None
    made = named.index(below, {LABEL + name: text for name, text in said.items()})
    for tag in tags:
        asking.put_manifest(REPOSITORY, tag, made)
    return made.digest


def test_an_image_and_the_indexes_above_it_are_one(registry: FakeRegistry, asking: Client, copy: Path) -> None:
    digest = labelled(registry, "built-0001")
    old = over(registry, asking, digest, "sha-abcdef1", revision=OTHER, created="2023-11-14T22:13:21Z")
    new = over(registry, asking, digest, f"sha-{head(copy)[:7]}", "main", revision=head(copy), created="2023-11-14T22:13:20Z")
    (found,) = stored(asking, REPOSITORY)
    assert (found.digest, set(found.over)) == (digest, {old, new})
    assert set(found.tags) == {"built-0001", "sha-abcdef1", f"sha-{head(copy)[:7]}", "main"}
    assert {digest, old, new, found.config} <= set(found.marks)
    (when,) = dated(asking, REPOSITORY, [found], NAMES, copy, "git")
    assert (when.time, when.strange) == (1700000000.0, ("main",))
    del registry.tags[REPOSITORY, "built-0001"]
    assert [(each.digest, set(each.over)) for each in stored(asking, REPOSITORY)] == [(digest, {old, new})]


def test_an_index_whose_image_is_gone_is_an_image_of_its_own(registry: FakeRegistry, asking: Client) -> None:
    digest = labelled(registry, "built-0001")
    above = over(registry, asking, digest, "main", revision=OTHER)
    del registry.tags[REPOSITORY, "built-0001"], registry.manifests[REPOSITORY, digest]
    assert [(each.digest, each.tags) for each in stored(asking, REPOSITORY)] == [(above, ("main",))]


def test_an_index_that_names_another_image_than_it_holds_is_not_believed(registry: FakeRegistry, asking: Client) -> None:
    one, other = labelled(registry, "built-0001"), labelled(registry, "built-0002")
    above = over(registry, asking, one, "main", revision=OTHER)
    body = registry.manifests[REPOSITORY, above][1].replace(f'"{named.IMAGE}":"{one}"'.encode(), f'"{named.IMAGE}":"{other}"'.encode())
    asking.put_manifest(REPOSITORY, "lie", read_manifest(body, named.INDEX, ""))
    lie = asking.head(REPOSITORY, "lie") or ""
    assert lie != above
    assert named.image_of(asking, REPOSITORY, lie) == lie


def test_the_parts_of_an_index_are_named() -> None:
    body = json.dumps({"manifests": [{"digest": "sha256:" + "1" * 64}, {"digest": "sha256:" + "2" * 64}]}).encode()
    assert children(Manifest(digest_of(body), "", body, "", ())) == ("sha256:" + "1" * 64, "sha256:" + "2" * 64)
    for other in (b"{}", b"[]", b"x", b'{"manifests": [1]}'):
        assert children(Manifest(digest_of(other), "", other, "", ())) == ()


def test_git_knows_the_time_of_a_commit_by_its_first_letters(copy: Path) -> None:
    commit = head(copy)
    assert times(copy, "git", [OTHER, commit[:7], "0" * 7, commit]) == {commit[:7]: 1700000000.0, commit: 1700000000.0}
    assert times(copy, "git", []) == {}


def test_what_git_does_not_know_is_asked_of_the_image(registry: FakeRegistry, asking: Client, copy: Path) -> None:
    told = {"revision": OTHER, "created": "2023-11-14T22:13:21Z"}
    short = head(copy)[:7]
    by_tag: dict[str, tuple[Any, tuple[str, ...]]] = {}
    labelled(registry, f"sha-{short}", "stable", **told)
    labelled(registry, "sha-abcdef1", "built-0001", **told)
    labelled(registry, "built-0002", **told)
    labelled(registry, "sha-1111111", **told)
    labelled(registry, "sha-2222222")
    labelled(registry, "built-0003", revision=OTHER, created="yesterday")
    labelled(registry, "v1", **told)
    for each in dated(asking, REPOSITORY, stored(asking, REPOSITORY), NAMES, copy, "git"):
        by_tag[each.image.tags[0]] = each.time, each.strange
    assert by_tag == {
        f"sha-{short}": (1700000000.0, ("stable",)),
        "built-0001": (1700000001.0, ()),
        "built-0002": (1700000001.0, ()),
        "sha-1111111": (None, ()),  # its labels are of another commit than its tag
        "sha-2222222": (None, ()),
        "built-0003": (None, ()),
        "v1": (None, ("v1",)),
    }
