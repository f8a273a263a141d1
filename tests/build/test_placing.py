"""Where tags that move stand, and putting one somewhere by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.artifacts import Moved, Source
from pipeline.build import buildx, tagged
from pipeline.build.buildx_spec import Buildx, ImageSpec
from pipeline.build.placing import put, show
from pipeline.build.tagged import Tagged
from pipeline.errors import ConfigError
from pipeline.records import Records
from pipeline.source import snapshot
from pipeline.stage import Plan, Registry, Site, Stage
from pipeline.testing.registry import FakeRegistry
from pipeline.tools.tags import LABEL
from tests.source.worktree import Worktree

IMAGES = {name: ImageSpec(repository=f"team/{name}") for name in ("node", "relay")}
PLAN: Plan = (Stage("build", buildx.DRIVER, Buildx("hub", IMAGES, tags=("branch", "sha", "raw:main-latest@main"))),)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry(auth="none") as found:
        yield found


@pytest.fixture
def source(tmp_path: Path) -> Source:
    work = Worktree(tmp_path / "work")
    work.write("a")
    work.commit()
    return snapshot(work.path)


@pytest.fixture
def site(tmp_path: Path, registry: FakeRegistry) -> Iterator[Site]:
    spec = Registry(registry.address, scheme="http", credentials="none")
    with Site("app", tmp_path / "work", {}, {}, {"hub": spec}, {}, {}, {}, Records(tmp_path / "r.db")) as found:
        yield found


def image(registry: FakeRegistry, name: str, *tags: str) -> str:
    config = json.dumps({"config": {"Labels": {LABEL + "revision": "c" * 40, LABEL + "version": tags[0]}}}).encode()
    digest, _ = registry.put(f"team/{name}", "", (repr((name, tags)).encode(),), config)
    registry.tags |= {(f"team/{name}", tag): digest for tag in tags}
    return digest


def test_where_they_stand(registry: FakeRegistry, site: Site, source: Source) -> None:
    digest = image(registry, "relay", "main-latest", "sha-1234567")
    rows = show(PLAN, site, source)
    assert [(row.image, row.tag, row.digest) for row in rows] == [
        ("node", "main", ""), ("node", "main-latest", ""), ("relay", "main", ""), ("relay", "main-latest", digest),
    ]  # fmt: skip
    assert (rows[3].commit, rows[3].version, rows[3].before) == ("c" * 40, "main-latest", "")
    assert not registry.seen("PUT")


def test_which_tags_move_is_told_from_anywhere(registry: FakeRegistry, site: Site, source: Source, tmp_path: Path) -> None:
    image(registry, "relay", "latest")
    plan = (Stage("build", buildx.DRIVER, Buildx("hub", {"relay": IMAGES["relay"]}, tags=("branch", "tag", "raw:main-latest@main"))),)
    Worktree(tmp_path / "work").git("checkout", "--quiet", "-b", "topic")
    (tmp_path / "work/b").write_text("not committed\n")
    assert [row.tag for row in show(plan, site, snapshot(tmp_path / "work"))] == ["topic", "main", "main-latest", "latest"]


def test_a_tag_goes_back_on_the_whole_set_and_forth_again(registry: FakeRegistry, site: Site, source: Source) -> None:
    old = {name: image(registry, name, "sha-1111111") for name in IMAGES}
    new = {name: image(registry, name, "sha-2222222", "main-latest") for name in IMAGES}
    done = put(PLAN, site, source, "main-latest", "sha-1111111")
    assert {name: registry.tags[f"team/{name}", "main-latest"] for name in IMAGES} == old
    assert done.moved == tuple(Moved(f"{registry.address}/team/{name}", "main-latest", new[name]) for name in IMAGES)
    assert show(PLAN, site, source)[1].before == new["node"]
    put(PLAN, site, source, "main-latest", "before")
    assert {name: registry.tags[f"team/{name}", "main-latest"] for name in IMAGES} == new
    put(PLAN, site, source, "main-latest", "before", "relay")
    assert registry.tags["team/relay", "main-latest"] == old["relay"]
    assert registry.tags["team/node", "main-latest"] == new["node"]
    assert [record.stage for record in site.records.history()] == ["tags"] * 3


def test_a_new_tag_may_be_any(registry: FakeRegistry, site: Site, source: Source) -> None:
    digests = {name: image(registry, name, "sha-1111111") for name in IMAGES}
    put(PLAN, site, source, "staging", "sha-1111111")
    assert {name: registry.tags[f"team/{name}", "staging"] for name in IMAGES} == digests


@pytest.mark.parametrize(
    ("tag", "to", "name", "told"),
    [
        ("sha-1111111", "sha-2222222", "", "never moves"),
        ("main-latest", "sha-111111", "", "has no tag sha-111111; did you mean 'sha-1111111'"),
        ("main-latest", "sha256:" + "0" * 64, "relay", "has no digest"),
        ("main-latest", "before", "", "stood for before is not known"),
        ("main-latest", "sha-1111111", "realy", "did you mean 'relay'"),
        ("a b", "sha-1111111", "", "is not a tag"),
        ("main-latest", "-x", "", "is not a tag"),
    ],
)
def test_what_is_refused_before_anything_is_written(
    registry: FakeRegistry, site: Site, source: Source, tag: str, to: str, name: str, told: str
) -> None:
    for each in IMAGES:
        image(registry, each, "sha-1111111")
        image(registry, each, "sha-2222222", "main-latest")
    with pytest.raises(ConfigError) as caught:
        put(PLAN, site, source, tag, to, name)
    assert told in caught.value.what
    assert not registry.seen("PUT")


def test_a_set_in_which_one_image_lacks_the_goal_is_left_whole(registry: FakeRegistry, site: Site, source: Source) -> None:
    image(registry, "node", "sha-1111111", "main-latest")
    image(registry, "relay", "sha-2222222")
    with pytest.raises(ConfigError, match="team/relay has no tag sha-1111111"):
        put(PLAN, site, source, "main-latest", "sha-1111111")
    assert not registry.seen("PUT")


def test_images_that_others_build_have_their_default_tag(registry: FakeRegistry, site: Site, source: Source) -> None:
    digest = image(registry, "relay", "main-latest")
    plan = (Stage("build", tagged.DRIVER, Tagged("hub", "team/relay", "main-latest")),)
    assert [(row.image, row.tag, row.digest) for row in show(plan, site, source)] == [("relay", "main-latest", digest)]


def test_a_blueprint_without_such_images_says_so(site: Site, source: Source) -> None:
    with pytest.raises(ConfigError, match="no image that is known by tags"):
        show((), site, source)
