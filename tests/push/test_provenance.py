"""Where an image comes from, told by its registry: attached after a push, read back by digest, never in the way of either."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Bundle, Image, Source
from pipeline.errors import Ambiguous, AuthError, ConfigError, IntegrityError
from pipeline.events import Event, What
from pipeline.push import provenance
from pipeline.push.skopeo import Spec, find, known, make
from pipeline.stage import Site
from pipeline.testing import FakeHost
from pipeline.testing.registry import FakeRegistry
from pipeline.testing.registry_handler import digest
from pipeline.tools.registry import Client, client_of
from tests.push.parts import Archive, bundle, site
from tests.push.pusher import Pusher

SPEC = Spec("lab", "team/app")
REPOSITORY = "team/app"


@pytest.fixture(params=[False, True], ids=["fallback", "referrers"])
def registry(request: pytest.FixtureRequest) -> Iterator[FakeRegistry]:
    with FakeRegistry() as made:
        made.lists_referrers = request.param
        yield made


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def world(tmp_path: Path, registry: FakeRegistry, events: list[Event]) -> Iterator[Site]:
    with site(tmp_path, registry.address, FakeHost("seed", "/state", otherwise=Pusher()), events=events) as made:
        yield made


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "image.tar").write()


@pytest.fixture
def client(world: Site) -> Client:
    return client_of(world, "lab")


def told(registry: FakeRegistry, world: Site, image: Image) -> list[dict[str, Any]]:
    return provenance.statements_of(image, world)


def test_a_push_attaches_it_and_anybody_reads_it_back(registry: FakeRegistry, world: Site, archive: Archive) -> None:
    (image,) = make(SPEC, bundle(archive), world).images
    (found,) = told(registry, world, image)
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    assert found["subject"] == [{"name": f"{registry.address}/team/app", "digest": {"sha256": image.digest.removeprefix("sha256:")}}]
    definition = found["predicate"]["buildDefinition"]
    commit, tree = bundle(archive).source.commit, bundle(archive).source.tree
    assert definition["externalParameters"] == {"app": "probe", "commit": commit, "tree": tree, "dirty": False}
    assert definition["resolvedDependencies"] == [{"name": "probe", "digest": {"gitCommit": commit, "gitTree": tree}}]
    assert found["predicate"]["runDetails"]["builder"]["id"] == "urn:pipeline:host:seed"
    tag = image.digest.replace(":", "-")
    assert ((REPOSITORY, tag) in registry.tags) is not registry.lists_referrers, "the fallback tag where there is no list, only there"


def test_what_refers_is_as_the_specification_says(registry: FakeRegistry, world: Site, archive: Archive) -> None:
    (image,) = make(SPEC, bundle(archive), world).images
    (body,) = [value for _, value in registry.manifests.values() if b'"subject"' in value]
    manifest = json.loads(body)
    kind, subject = registry.manifests[REPOSITORY, image.digest]
    assert manifest["subject"] == {"mediaType": kind, "digest": image.digest, "size": len(subject)}
    assert manifest["artifactType"] == "application/vnd.in-toto+json"
    for part in (manifest["config"], *manifest["layers"]):
        assert len(registry.blobs[part["digest"]]) == part["size"]
    assert registry.blobs[manifest["config"]["digest"]] == b"{}"


def test_a_push_with_nothing_to_do_asks_nothing_about_it(registry: FakeRegistry, world: Site, archive: Archive) -> None:
    make(SPEC, bundle(archive), world)
    registry.asked.clear()
    assert find(SPEC, bundle(archive), world).artifact
    assert [(asked.method, asked.path) for asked in registry.asked] == [("HEAD", "/v2/team/app/manifests/1234567")]


def test_a_clone_without_records_knows_an_image_by_what_is_stated(
    registry: FakeRegistry, world: Site, archive: Archive, client: Client
) -> None:
    images, source = make(SPEC, bundle(archive), world), bundle(archive).source
    found = known(SPEC, source, world)
    assert found.artifact == images
    assert "made of this tree as its provenance says" in found.why
    other = dataclasses.replace(source, tree="1" * 40)
    assert known(SPEC, other, world).artifact is None, "the same tag, and nobody says that it was made of this tree"
    assert known(SPEC, dataclasses.replace(source, commit="ef" * 20), world).artifact is None, "another tag"
    manifest = client.manifest(REPOSITORY, images.images[0].digest)
    assert manifest
    del registry.blobs[manifest.layers[1][0]]
    assert "has lost 1 of the image's blobs" in known(SPEC, source, world).why


def test_one_image_of_two_commits_has_a_statement_for_each(world: Site, registry: FakeRegistry, archive: Archive, client: Client) -> None:
    other = "fedcba9876543210fedcba9876543210fedcba98"
    (image,) = make(SPEC, bundle(archive), world).images
    assert make(SPEC, bundle(archive, other), world).images[0].digest == image.digest
    manifest = client.manifest(REPOSITORY, image.digest)
    assert manifest
    provenance.attach(client, REPOSITORY, manifest, bundle(archive, other), world)
    found = [each["predicate"]["buildDefinition"]["externalParameters"]["commit"] for each in told(registry, world, image)]
    assert found == [bundle(archive).source.commit, other]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "referrers"), ("POST", "blobs/uploads/$"), ("PUT", "manifests/sha256:"), ("PUT", "manifests/sha256-")]
)
@pytest.mark.parametrize("status", [403, 500])
def test_where_it_cannot_be_attached_the_push_is_good_and_says_so(
    registry: FakeRegistry, world: Site, archive: Archive, events: list[Event], client: Client, method: str, path: str, status: int
) -> None:
    (image,) = make(SPEC, bundle(archive), world).images
    if path.endswith("sha256-") and registry.lists_referrers:
        return
    events.clear()
    registry.fault(method, path, status=status, count=9)
    known = make(SPEC, bundle(archive, "ab" * 20), world).images[0]
    assert known.digest == image.digest
    (warning,) = [event.text for event in events if event.what is What.WARN]
    assert "its provenance could not be attached" in warning


def test_a_registry_that_cannot_be_asked_is_said_in_place_of_an_answer(registry: FakeRegistry, world: Site, archive: Archive) -> None:
    (image,) = make(SPEC, bundle(archive), world).images
    registry.fault("GET", "referrers", status=500, count=9)
    (found,) = told(registry, world, image)
    assert "failed" in found["error"]
    assert provenance.statements_of(Image("elsewhere.test/app", image.digest, "t"), world) == []


def test_a_dirty_tree_is_not_said_to_be_its_commit() -> None:
    source = Source("1" * 40, "2" * 40, True, "/w")
    built = Bundle(source, "seed", "/nix/store/x", "sha256-y", "sha256:" + "c" * 64)
    made = provenance.statement(built, "r/app", "sha256:" + "d" * 64, "app")
    definition = made["predicate"]["buildDefinition"]
    assert definition["resolvedDependencies"] == [{"name": "app", "digest": {"gitTree": "1" * 40}}]
    assert definition["externalParameters"]["dirty"] is True


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b"not json", b'{"_type": "other", "subject": []}', b'{"subject": [{}]}'])
def test_what_is_no_statement_about_it_is_left_out(
    registry: FakeRegistry, world: Site, archive: Archive, client: Client, body: bytes
) -> None:
    (image,) = make(SPEC, bundle(archive), world).images
    named, _ = registry.put(REPOSITORY, "", (body,))
    entry = {"mediaType": "x", "digest": named, "size": 1, "artifactType": provenance.KIND}
    index = json.dumps({"manifests": [entry, {"digest": "junk"}, 7]}).encode()
    registry.lists_referrers = False
    registry.manifests[REPOSITORY, digest(index)] = (provenance.INDEX, index)
    registry.tags[REPOSITORY, provenance.tag(image.digest)] = digest(index)
    assert told(registry, world, image) == []


def test_a_blob_is_put_once_and_read_back_only_as_what_it_is(registry: FakeRegistry, client: Client) -> None:
    named = client.put_blob(REPOSITORY, b"hello")
    registry.asked.clear()
    assert client.put_blob(REPOSITORY, b"hello") == named
    assert [asked.method for asked in registry.asked] == ["HEAD"]
    assert client.fetch(REPOSITORY, named, 100) == b"hello"
    assert client.fetch(REPOSITORY, "sha256:" + "0" * 64, 100) is None
    with pytest.raises(IntegrityError, match="not what its digest says"):
        client.fetch(REPOSITORY, named, 3)
    registry.blobs[named] = b"jello"
    with pytest.raises(IntegrityError, match="not what its digest says"):
        client.fetch(REPOSITORY, named, 100)


def test_a_blob_goes_nowhere_else(registry: FakeRegistry, client: Client) -> None:
    for location in ("http://evil.test/v2/team/app/blobs/uploads/1", "/v2/other/app/blobs/uploads/1"):
        registry.fault("POST", "uploads", location=lambda _real, there=location: there)
        with pytest.raises(ConfigError, match="which was not asked"):
            client.put_blob(REPOSITORY, location.encode())
    registry.fault("PUT", "uploads", swallow=True)
    with pytest.raises(Ambiguous):
        client.put_blob(REPOSITORY, b"lost")
    registry.fault("POST", "uploads", status=403)
    with pytest.raises(AuthError):
        client.put_blob(REPOSITORY, b"refused")


def test_what_was_attached_goes_with_the_image_and_what_others_attached_stays(
    world: Site, client: Client, registry: FakeRegistry, archive: Archive
) -> None:
    (image,) = make(SPEC, bundle(archive), world).images
    assert len(told(registry, world, image)) == 1
    before = len(registry.manifests)
    provenance.detach(client, REPOSITORY, image.digest)
    assert told(registry, world, image) == []
    assert client.head(REPOSITORY, image.digest) == image.digest
    assert len(registry.manifests) == before - (1 if registry.lists_referrers else 2)
    provenance.detach(client, REPOSITORY, image.digest)
    provenance.attach(client, REPOSITORY, client.manifest(REPOSITORY, image.digest) or pytest.fail("gone"), bundle(archive), world)
    statement = next(body for body in registry.blobs.values() if provenance.BUILD_TYPE.encode() in body)
    foreign = statement.replace(provenance.BUILD_TYPE.encode(), b"urn:somebody:else")
    registry.blobs[digest(statement)] = foreign  # the same place, another's words
    kept = dict(registry.manifests)
    provenance.detach(client, REPOSITORY, image.digest)
    assert registry.manifests == kept
