"""Tags that are put on a known digest: what they stood for before is told, nothing fixed is moved, nothing goes back unasked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.artifacts import Moved
from pipeline.errors import Ambiguous, IntegrityError
from pipeline.testing.registry import FakeRegistry
from pipeline.testing.registry_handler import digest as digest_of
from pipeline.tools.origin import Origin
from pipeline.tools.registry import Client
from pipeline.tools.retag import Placed, look, moved, retag
from pipeline.tools.tags import LABEL, Ref, Tag
from pipeline.tools.tokens import Account, Authorization

REPOSITORY = "team/relay"
OLD, NEW, OTHER = "a" * 40, "b" * 40, "c" * 40
HISTORY = {(OLD, NEW): True, (NEW, OLD): False, (OLD, OTHER): False, (OTHER, OLD): False, (NEW, OTHER): False, (OTHER, NEW): False}
SHA, MAIN, LATEST = Tag("sha-bbbbbbb", False), Tag("main", True, branch="main"), Tag("latest", True, release="1.2.3")
ON_MAIN = Ref(NEW, "main", time=2000)


def ancestor(older: str, newer: str) -> bool | None:
    return HISTORY.get((older, newer))


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry(auth="none") as found:
        yield found


@pytest.fixture
def client(registry: FakeRegistry) -> Iterator[Client]:
    origin = Origin("http", registry.address, read_timeout=2, deadline=4)
    found = Client(origin, Authorization(origin, Account("own")))
    yield found
    found.close()


def image(registry: FakeRegistry, *tags: str, **labels: str) -> str:
    """An image with these labels under these tags; its digest."""
    config = json.dumps({"config": {"Labels": {LABEL + name: value for name, value in labels.items()}}}).encode()
    digest, _ = registry.put(REPOSITORY, "", (repr((tags, labels)).encode(),), config)
    for tag in tags:
        registry.tags[REPOSITORY, tag] = digest
    return digest


def index(registry: FakeRegistry, tag: str, *children: tuple[str, str], **annotations: str) -> str:
    """An index of (digest, os) under a tag; its digest."""
    entries = [{"digest": child, "size": 1, "platform": {"os": system, "architecture": "amd64"}} for child, system in children]
    value: dict[str, Any] = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
    value["annotations"] = {LABEL + name: text for name, text in annotations.items()}
    body = json.dumps(value).encode()
    registry.manifests[REPOSITORY, digest_of(body)] = (str(value["mediaType"]), body)
    registry.tags[REPOSITORY, tag] = digest_of(body)
    return digest_of(body)


def test_new_tags_are_put_on_the_very_bytes_fixed_ones_first(registry: FakeRegistry, client: Client) -> None:
    digest = image(registry)
    placed = retag(client, REPOSITORY, digest, (MAIN, SHA), ON_MAIN, ancestor)
    assert registry.tags == {(REPOSITORY, "main"): digest, (REPOSITORY, "sha-bbbbbbb"): digest}
    assert [asked.path.rpartition("/")[2] for asked in registry.seen("PUT")] == ["sha-bbbbbbb", "main"]
    assert [(each.tag.name, each.before, each.kept) for each in placed] == [("main", "", ""), ("sha-bbbbbbb", "", "")]


def test_what_a_moved_tag_stood_for_is_told_and_goes_into_the_record(registry: FakeRegistry, client: Client) -> None:
    before = image(registry, "main", revision=OLD)
    digest = image(registry, "sha-bbbbbbb", revision=NEW)
    placed = retag(client, REPOSITORY, digest, (SHA, MAIN), ON_MAIN, ancestor)
    assert moved(client, REPOSITORY, placed) == (Moved(f"{registry.address}/{REPOSITORY}", "main", before),)
    assert str(placed[1]) == f"tag main stands for {digest[:19]}, it was {before[:19]}"
    assert registry.tags[REPOSITORY, "main"] == digest


def test_where_all_is_as_wanted_nothing_is_written_and_one_head_each_is_asked(registry: FakeRegistry, client: Client) -> None:
    digest = image(registry, "main", "sha-bbbbbbb")
    placed = retag(client, REPOSITORY, digest, (SHA, MAIN), ON_MAIN, ancestor)
    assert not any(each.open for each in placed)
    assert [asked.method for asked in registry.asked] == ["HEAD", "HEAD"]


def test_a_fixed_tag_of_another_image_is_refused_before_anything_is_written(registry: FakeRegistry, client: Client) -> None:
    other = image(registry, "sha-bbbbbbb")
    digest = image(registry, revision=NEW)
    with pytest.raises(IntegrityError) as caught:
        retag(client, REPOSITORY, digest, (MAIN, SHA), ON_MAIN, ancestor)
    assert other in caught.value.cause
    assert registry.seen("PUT") == []


def test_an_image_that_is_gone_gets_no_tag(registry: FakeRegistry, client: Client) -> None:
    with pytest.raises(IntegrityError, match="no tag was put on"):
        retag(client, REPOSITORY, "sha256:" + "0" * 64, (MAIN,), ON_MAIN, ancestor)
    assert registry.seen("PUT") == []


def test_a_branch_s_tag_does_not_go_back_to_an_ancestor(registry: FakeRegistry, client: Client) -> None:
    before = image(registry, "main", revision=NEW)
    digest = image(registry, revision=OLD)
    placed = retag(client, REPOSITORY, digest, (MAIN,), Ref(OLD, "main"), ancestor)
    assert placed[0].kept == "that is commit bbbbbbb, newer than aaaaaaa"
    assert registry.tags[REPOSITORY, "main"] == before
    assert moved(client, REPOSITORY, placed) == ()
    assert "stays at" in str(placed[0])


def test_a_branch_s_tag_goes_back_when_told_so(registry: FakeRegistry, client: Client) -> None:
    before = image(registry, "main", revision=NEW)
    digest = image(registry, revision=OLD)
    placed = retag(client, REPOSITORY, digest, (MAIN,), Ref(OLD, "main"), ancestor, back=True)
    assert (placed[0].before, registry.tags[REPOSITORY, "main"]) == (before, digest)


@pytest.mark.parametrize(
    ("theirs", "created", "kept"),
    [
        (OTHER, "2023-11-14T22:13:20Z", False),  # another line of history: a branch that was rewritten
        ("d" * 40, "2023-11-14T22:13:20Z", True),  # not known here, and later
        ("d" * 40, "1970-01-01T00:00:01.000Z", False),
        ("d" * 40, "yesterday", False),
        ("d" * 40, "", False),
        ("", "2023-11-14T22:13:20Z", False),  # says nothing of itself
        (NEW, "2023-11-14T22:13:20Z", False),  # another build of the same commit
    ],
)
def test_what_counts_as_newer(registry: FakeRegistry, client: Client, theirs: str, created: str, kept: bool) -> None:
    image(registry, "main", revision=theirs, created=created)
    digest = image(registry)
    placed = look(client, REPOSITORY, digest, (MAIN,), ON_MAIN, ancestor)
    assert bool(placed[0].kept) == kept
    assert placed[0].open != kept


def test_latest_does_not_go_back_to_an_older_release_by_the_tags_there_are(registry: FakeRegistry, client: Client) -> None:
    newer = image(registry, "latest", "v1.10.0")
    image(registry, "v1.9.0", "nightly")
    digest = image(registry, "v1.2.3")
    placed = retag(client, REPOSITORY, digest, (LATEST,), ON_MAIN, ancestor)
    assert placed[0].kept == "that is release 1.10.0, newer than 1.2.3"
    assert registry.tags[REPOSITORY, "latest"] == newer


def test_latest_does_not_go_back_by_what_the_image_says(registry: FakeRegistry, client: Client) -> None:
    image(registry, "latest", version="2.0.0")
    placed = retag(client, REPOSITORY, image(registry), (LATEST,), ON_MAIN, ancestor)
    assert placed[0].kept == "that is release 2.0.0, newer than 1.2.3"


def test_latest_moves_on_from_an_older_release_and_from_what_is_none(registry: FakeRegistry, client: Client) -> None:
    for version in ("1.2.2", "2.0.0-rc.1", "main"):
        image(registry, "latest", version.replace("/", "-"), version=version)
        digest = image(registry)
        assert retag(client, REPOSITORY, digest, (LATEST,), ON_MAIN, ancestor)[0].kept == ""
        assert registry.tags[REPOSITORY, "latest"] == digest


def test_a_minor_s_tag_moves_on_though_there_are_higher_minors(registry: FakeRegistry, client: Client) -> None:
    before = image(registry, "1.2", "1.2.2")
    image(registry, "1.3", "1.3.0", "latest")
    digest = image(registry, "1.2.3")
    minor = Tag("1.2", True, release="1.2.3")
    placed = retag(client, REPOSITORY, digest, (minor, LATEST), ON_MAIN, ancestor)
    assert (placed[0].before, placed[0].kept) == (before, "")
    assert placed[1].kept == "that is release 1.3.0, newer than 1.2.3"


def test_an_index_is_asked_by_its_first_real_platform_and_its_own_annotations(registry: FakeRegistry, client: Client) -> None:
    real, attested = image(registry, revision=NEW), image(registry, revision=OTHER)
    index(registry, "main", (attested, "unknown"), (real, "linux"))
    assert retag(client, REPOSITORY, image(registry), (MAIN,), Ref(OLD, "main"), ancestor)[0].kept
    index(registry, "main", (real, "linux"), revision=OTHER)
    assert not retag(client, REPOSITORY, image(registry), (MAIN,), Ref(OLD, "main"), ancestor)[0].kept


def test_an_index_that_lost_its_child_says_nothing(registry: FakeRegistry, client: Client) -> None:
    index(registry, "main", ("sha256:" + "0" * 64, "linux"))
    digest = image(registry)
    assert retag(client, REPOSITORY, digest, (MAIN,), ON_MAIN, ancestor)[0].kept == ""


def test_a_write_whose_fate_is_unknown_is_told_so_and_the_next_time_goes_on(registry: FakeRegistry, client: Client) -> None:
    digest = image(registry)
    registry.fault("PUT", "/main$", swallow=True)
    with pytest.raises(Ambiguous):
        retag(client, REPOSITORY, digest, (SHA, MAIN), ON_MAIN, ancestor)
    assert [each.before for each in retag(client, REPOSITORY, digest, (SHA, MAIN), ON_MAIN, ancestor)] == [digest, digest]


def test_a_fixed_tag_that_somebody_takes_at_the_same_moment_is_told(registry: FakeRegistry, client: Client) -> None:
    digest, other = image(registry), image(registry, revision=OTHER)
    registry.fault("HEAD", "/sha-bbbbbbb$", skip=1, act=lambda: registry.tags.__setitem__((REPOSITORY, "sha-bbbbbbb"), other))
    with pytest.raises(IntegrityError, match="taken while it was put on"):
        retag(client, REPOSITORY, digest, (SHA,), ON_MAIN, ancestor)


def test_a_placed_tag_says_what_became_of_it() -> None:
    one, other = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    said = [str(Placed(MAIN, before, one, kept)) for before, kept in (("", ""), (one, ""), (other, ""), (other, "it is newer"))]
    assert said == [
        f"tag main stands for {one[:19]}, it is new",
        f"tag main stands for {one[:19]} already",
        f"tag main stands for {one[:19]}, it was {other[:19]}",
        f"tag main stays at {other[:19]}: it is newer; inv tags.put main --to … moves it",
    ]


def test_a_time_without_its_zone_is_utc(registry: FakeRegistry, client: Client) -> None:
    image(registry, "main", revision="d" * 40, created="1970-01-01T00:33:21")  # second 2001
    assert look(client, REPOSITORY, image(registry), (MAIN,), ON_MAIN, ancestor)[0].kept
