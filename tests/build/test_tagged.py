"""An image that somebody else built: found by its tag, taken by its digest, asked anew at each look, never made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.artifacts import Image, Images, Source
from pipeline.build.tagged import DRIVER, Tagged, find, make
from pipeline.errors import AuthError, ConfigError, IntegrityError
from pipeline.events import Event
from pipeline.records import Records
from pipeline.stage import Registry, Site
from pipeline.testing.registry import FakeRegistry
from pipeline.tools.tags import LABEL

REPOSITORY = "team/relay"
SPEC = Tagged("hub", REPOSITORY, default_tag="main-latest")
SOURCE = Source("7e" * 20, "b2" * 20, False, "/src")
DIRTY = Source("7e" * 20, "b2" * 20, True, "/src")


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry(auth="none") as found:
        yield found


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def site(tmp_path: Path, registry: FakeRegistry, events: list[Event]) -> Iterator[Site]:
    spec = Registry(registry.address, scheme="http", credentials="none")
    with Site("app", tmp_path, {}, {}, {"hub": spec}, {}, {}, {}, Records(tmp_path / "r.db"), sink=events.append) as found:
        yield found


def put(registry: FakeRegistry, *tags: str, commit: str = "c" * 40) -> str:
    """An image built from a commit, under these tags; its digest."""
    config = json.dumps({"config": {"Labels": {LABEL + "revision": commit}}}).encode()
    digest, _ = registry.put(REPOSITORY, "", (repr(tags).encode(),), config)
    registry.tags |= {(REPOSITORY, tag): digest for tag in tags}
    return digest


def test_what_the_tag_stands_for_is_taken_by_digest(registry: FakeRegistry, site: Site) -> None:
    digest = put(registry, "main-latest")
    found = find(SPEC, SOURCE, site)
    assert isinstance(found.artifact, Images)
    image = found.artifact.images[0]
    assert (image.repository, image.digest, image.tag) == (f"{registry.address}/{REPOSITORY}", digest, "main-latest")
    assert image.config.startswith("sha256:")
    assert found.why == f"main-latest stands for {digest[:19]}, built from commit ccccccc"


def test_what_is_released_is_the_commit_the_image_was_built_from(registry: FakeRegistry, site: Site) -> None:
    put(registry, "main-latest")
    put(registry, "nameless", commit="yesterday's")
    built = find(SPEC, SOURCE, site).artifact
    assert isinstance(built, Images)
    assert (built.source.commit, built.source.label, built.source.dirty) == ("c" * 40, "ccccccc", False)
    assert find(SPEC, DIRTY, site).artifact == built, "whoever asks, from whatever working copy"
    nameless = find(Tagged("hub", REPOSITORY, default_tag="nameless"), SOURCE, site).artifact
    assert isinstance(nameless, Images)
    assert nameless.source == SOURCE


def test_a_second_look_is_one_head(registry: FakeRegistry, site: Site) -> None:
    put(registry, "main-latest")
    first = find(SPEC, SOURCE, site)
    registry.asked.clear()
    assert find(SPEC, SOURCE, site) == first
    assert [asked.method for asked in registry.asked] == ["HEAD"]


def test_a_tag_that_moved_is_another_artifact(registry: FakeRegistry, site: Site) -> None:
    put(registry, "main-latest")
    before = find(SPEC, SOURCE, site).artifact
    digest = put(registry, "main-latest", "x", commit="d" * 40)
    after = find(SPEC, SOURCE, site)
    assert before
    assert after.artifact
    assert before.id != after.artifact.id
    assert digest in after.artifact.id
    assert "ddddddd" in after.why


def test_a_pinned_tag_or_digest_comes_before_the_default(registry: FakeRegistry, site: Site) -> None:
    put(registry, "main-latest")
    pinned = put(registry, "main-1234567")
    for tag in ("main-1234567", pinned):
        found = find(Tagged("hub", REPOSITORY, "main-latest", tag), SOURCE, site).artifact
        assert isinstance(found, Images)
        assert found.images[0].digest == pinned
        assert found.images[0].tag == ("" if ":" in tag else tag)


def test_the_tag_of_this_very_commit(registry: FakeRegistry, site: Site) -> None:
    digest = put(registry, "sha-b2b2b2b", "x-" + "b2" * 20)
    for text in ("sha-{short}", "x-{commit}"):
        found = find(Tagged("hub", REPOSITORY, text), SOURCE, site).artifact
        assert isinstance(found, Images)
        assert found.images[0].digest == digest


def test_a_missing_tag_is_never_made_and_the_near_one_is_named(registry: FakeRegistry, site: Site) -> None:
    put(registry, "main-lates", "main")
    assert find(SPEC, SOURCE, site).artifact is None
    assert find(SPEC, SOURCE, site).why == f"{REPOSITORY} has no tag main-latest"
    with pytest.raises(ConfigError, match="has no tag main-latest; did you mean 'main-lates'") as caught:
        make(SPEC, SOURCE, site)
    assert caught.value.mend == "name one that is there: main, main-lates"
    assert registry.seen("PUT") == registry.seen("POST") == []


def test_a_missing_repository_is_told_as_one(registry: FakeRegistry, site: Site) -> None:
    with pytest.raises(ConfigError, match="no image under any tag") as caught:
        make(SPEC, SOURCE, site)
    assert "private" in caught.value.cause


@pytest.mark.parametrize(
    ("source", "mend"), [(SOURCE, "wait until the image of this commit is built"), (DIRTY, "commit, and let the image be built")]
)
def test_an_image_of_this_commit_that_is_not_built_yet(registry: FakeRegistry, site: Site, source: Source, mend: str) -> None:
    put(registry, "main")
    with pytest.raises(ConfigError) as caught:
        make(Tagged("hub", REPOSITORY, "sha-{short}"), source, site)
    assert mend in caught.value.mend


def test_what_came_meanwhile_is_taken(registry: FakeRegistry, site: Site) -> None:
    assert find(SPEC, SOURCE, site).artifact is None
    digest = put(registry, "main-latest")
    assert make(SPEC, SOURCE, site).images[0].digest == digest


def test_m03_a_tag_whose_manifest_is_gone_is_told(registry: FakeRegistry, site: Site) -> None:
    digest = put(registry, "main-latest")
    registry.fault("GET", f"manifests/{digest}", status=404)
    with pytest.raises(IntegrityError, match="though a tag names it"):
        find(SPEC, SOURCE, site)


def test_n08_a_manifest_of_another_digest_is_refused(registry: FakeRegistry, site: Site) -> None:
    digest = put(registry, "main-latest")
    kind, body = registry.manifests[REPOSITORY, digest]
    registry.manifests[REPOSITORY, digest] = kind, body + b" "
    with pytest.raises(IntegrityError):
        find(SPEC, SOURCE, site)


def test_what_an_image_says_of_itself_is_no_condition(registry: FakeRegistry, site: Site, events: list[Event]) -> None:
    digest = put(registry, "main-latest")
    registry.fault("GET", "/blobs/", status=500)
    found = find(SPEC, SOURCE, site)
    assert found.why == f"main-latest stands for {digest[:19]}"
    assert any("cannot be read" in event.text for event in events)


def test_a_registry_that_wants_a_login_says_so(tmp_path: Path) -> None:
    with FakeRegistry() as registry:
        spec = Registry(registry.address, scheme="http", credentials="none")
        site = Site("app", tmp_path, {}, {}, {"hub": spec}, {}, {}, {}, Records(tmp_path / "r.db"))
        with site, pytest.raises(AuthError, match="it is private, or does not exist"):
            find(SPEC, SOURCE, site)


@pytest.mark.parametrize(
    "options",
    [{"repository": "Team/App"}, {"repository": "--x"}, {"default_tag": "a b"}, {"tag": "-x"}, {"tag": "{branch}"}, {"tag": "sha256:12"}],
)
def test_i01_names_are_checked(options: dict[str, str]) -> None:
    with pytest.raises((ConfigError, IntegrityError)):
        Tagged(**{"registry": "hub", "repository": REPOSITORY, **options})


def test_nobody_is_contacted_before_the_run(site: Site, registry: FakeRegistry) -> None:
    assert DRIVER.check
    DRIVER.check(SPEC, site)
    assert registry.asked == []
    with pytest.raises(ConfigError, match="no registry"):
        DRIVER.check(Tagged("hubb", REPOSITORY), site)


def test_the_image_is_what_a_deploy_takes(registry: FakeRegistry, site: Site) -> None:
    digest = put(registry, "main-latest")
    found = find(SPEC, SOURCE, site).artifact
    assert isinstance(found, Images)
    assert found.images == (Image(f"{registry.address}/{REPOSITORY}", digest, "main-latest", found.images[0].config),)
    assert found.images[0].reference == f"{registry.address}/{REPOSITORY}@{digest}"
