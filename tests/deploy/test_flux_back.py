"""The way back of a release by commit: what git says was good, never forth again, proved to be there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.artifacts import Images, Release
from pipeline.deploy import flux_revert, rollback
from pipeline.deploy.flux import back, find, live, make, standing, uses
from pipeline.errors import ConfigError, IntegrityError, Locked, RolledBack, Transient
from pipeline.records import Records
from pipeline.stage import Site
from tests.deploy.cluster import Cluster
from tests.deploy.flux_cluster import FILE, FakeFlux, spec
from tests.deploy.test_flux import flux, images, server, text, world
from tests.tools.gitserver import Server

__all__ = ["flux", "server", "world"]


@pytest.fixture
def three(world: Site, flux: FakeFlux) -> list[Release]:
    """Releases of a, b and c; the last is live."""
    return [make(spec(), images(letter), world) for letter in "abc"]


def gone(site: Site, to: str = "", **options: object) -> Release:
    with back(spec(**options), to, False, site) as way:
        assert way.go is not None
        made = way.go()
        assert isinstance(made, Release)
        assert made.id == way.goal.id
        return made


def test_x02_a_second_rollback_goes_further_back_never_forth(world: Site, server: Server, three: list[Release]) -> None:
    assert gone(world).id == three[1].id
    assert gone(world).id == three[0].id
    with pytest.raises(ConfigError, match=r"there is no good release before \w+ \(of aaaaaaa\)") as caught, back(spec(), "", False, world):
        pass
    assert caught.value.cause.count("\n") >= 4
    assert server.count == 6
    now = live(spec(), world)
    assert now is not None
    assert (now.id, now.source.commit) == (three[0].id, "a" * 40)
    assert standing(spec(), world).ours


def test_the_commit_says_what_it_takes_back_and_what_it_writes_again(world: Site, server: Server, three: list[Release]) -> None:
    bad, good = server.head, server.git("rev-parse", "main^")
    before = text(server, good)
    gone(world)
    assert text(server) == before
    subject, _, body = server.git("log", "-1", "--format=%B").partition("\n\n")
    assert subject == "web: back to bbbbbbb in production"
    assert f"This reverts commit {bad}." in body
    assert f"Pipeline-Reverts: {bad}" in body
    assert f"Pipeline-Restores: {good}" in body
    assert "Pipeline-Failed" not in body


def test_a_revision_a_commit_of_the_source_and_one_of_the_repository_name_it(world: Site, server: Server, three: list[Release]) -> None:
    assert gone(world, str(three[0].revision)).id == three[0].id
    assert gone(world, "bbbb").id == three[1].id
    assert gone(world, server.git("log", "--format=%H", "--grep=ccccccc to", "-1")[:12]).id == three[2].id
    with back(spec(), "cccccc", False, world) as way:
        assert (way.go, way.now) == (None, way.goal)
        assert "is live already" in way.why


@pytest.mark.parametrize(
    ("to", "what"),
    [("x", "is neither a revision nor a commit"), ("99", "Helm keeps no revision 99 of web"), ("dddd", "git knows no release dddd")],
)
def test_what_names_nothing_is_refused_with_what_there_is(world: Site, three: list[Release], to: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what), back(spec(), to, False, world):
        pass


def test_what_never_came_up_is_never_gone_back_to(world: Site, cluster: Cluster, flux: FakeFlux) -> None:
    first = make(spec(), images("a"), world)
    cluster.behaviour["sha256:" + "b" * 64] = "crash"
    with pytest.raises(RolledBack):
        make(spec(), images("b"), world)
    make(spec(), images("c"), world)
    with pytest.raises(ConfigError, match=r"\(of bbbbbbb\) never came up"), back(spec(), "bbbb", False, world):
        pass
    assert gone(world).id == first.id


def test_what_a_person_reverted_is_not_gone_back_to_by_itself(world: Site, server: Server, flux: FakeFlux, three: list[Release]) -> None:
    server.at_home(lambda _home: None, "revert", "--no-edit", "HEAD~1..HEAD")
    flux.resume()
    now = live(spec(), world)
    assert now is not None
    assert now.images[0].digest == "sha256:" + "b" * 64
    assert gone(world).id == three[0].id


def test_x01_an_image_that_is_gone_is_told_before_anything_is_written(
    world: Site, server: Server, three: list[Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollback, "is_gone", lambda _site, reference: reference.endswith("b" * 64))
    count = server.count
    with pytest.raises(IntegrityError, match="its image is gone from the registry") as caught, back(spec(), "", False, world):
        pass
    assert caught.value.mend == f"git switch --detach {'b' * 40}, then inv release --over ccccccc: it is built and pushed again"
    assert server.count == count


def test_a_way_back_that_was_begun_is_finished_first(
    world: Site, server: Server, three: list[Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_point: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.deploy.flux_back.failpoint", die)
        with pytest.raises(KeyboardInterrupt):
            gone(world)
    count = server.count
    with back(spec(), "", False, world) as way:
        assert way.go is not None
        assert "was begun in" in way.why
        assert way.go().id == three[1].id
    assert server.count == count


def test_f03_a_way_back_that_flux_never_takes_up_leaves_what_was_live(
    world: Site, flux: FakeFlux, three: list[Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flux_revert, "UNTOUCHED", 1.0)
    flux.asleep = True
    with pytest.raises(RolledBack, match=r"\(of ccccccc\) serves again"):
        gone(world, deadline=1.0)
    flux.resume()
    assert find(spec(), images("c"), world).artifact is not None


def test_a_way_back_that_does_not_come_up_is_taken_back(world: Site, server: Server, cluster: Cluster, three: list[Release]) -> None:
    cluster.behaviour["sha256:" + "b" * 64] = "crash"
    with pytest.raises(RolledBack, match=r"\(of ccccccc\) serves again"):
        gone(world)
    assert find(spec(), images("c"), world).artifact is not None


def test_what_was_never_released_has_no_way_back(world: Site, flux: FakeFlux) -> None:
    with pytest.raises(ConfigError, match="was never released by this pipeline"), back(spec(), "", False, world):
        pass


def test_a_freeze_stops_it_unless_it_is_told_not_to(world: Site, three: list[Release], tmp_path: Path) -> None:
    from pipeline.deploy.flux import freeze

    freeze(spec(), "holidays", world)
    other = dataclasses.replace(world, shared={}, records=Records(tmp_path / "others.db"))  # another process
    with other:
        with pytest.raises(Locked, match="frozen: holidays"), back(spec(), "", False, other):
            pass
        with back(spec(), "", True, other) as way:
            assert way.go is not None
            assert way.go().id == three[1].id


def test_lines_that_people_wrote_are_gone_back_to_where_there_is_nothing_else(world: Site, server: Server, flux: FakeFlux) -> None:
    mine = text(server).replace("unreleased.invalid/web", "reg.test:5000/team/web").replace("0" * 64, "d" * 64).replace("0" * 40, "d" * 40)
    server.person({FILE: mine.replace("suspend: true", "suspend: false")}, "By hand")
    flux.resume()
    make(spec(), images("a"), world)
    with back(spec(), "", False, world) as way:
        assert way.go is not None
        assert "(by Ada <ada@example.org>)" in way.why
        way.go()
    now = live(spec(), world)
    assert now is not None
    assert now.images[0].digest == "sha256:" + "d" * 64


def alike(letter: str, code: str) -> Images:
    """Another commit that gave the image of commit `code` again: of the README, say."""
    return Images(images(letter).source, images(code).images)


def test_the_same_code_is_not_gone_back_to(world: Site) -> None:
    first, *_ = [make(spec(), made, world) for made in (images("a"), images("b"), alike("c", "b"))]
    with back(spec(), "", False, world) as way:
        assert "(of ccccccc) back to" in way.why
        assert way.goal.id == first.id


def test_what_was_taken_back_is_told_until_it_is_released_again(world: Site, cluster: Cluster, three: list[Release]) -> None:
    assert standing(spec(), world).taken == ()
    gone(world)
    (taken,) = standing(spec(), world).taken
    assert (taken.source, taken.label, taken.failed) == ("c" * 40, "ccccccc", False)
    assert taken.by
    cluster.behaviour["sha256:" + "d" * 64] = "crash"
    with pytest.raises(RolledBack):
        make(spec(), images("d"), world)
    assert [(each.label, each.failed) for each in standing(spec(), world).taken] == [("ddddddd", True), ("ccccccc", False)]
    make(spec(), images("c"), world)
    assert [each.label for each in standing(spec(), world).taken] == ["ddddddd"]


def test_what_every_release_needs_is_told_and_a_git_server_that_is_away_is_no_answer(
    world: Site, server: Server, three: list[Release], cluster: Cluster
) -> None:
    marks = {use.mark: use.why for use in uses(spec(), 2, world)}
    digests = [release.images[0].digest for release in three]
    assert set(digests) <= marks.keys()
    asked = {use.mark for use in uses(spec(), 1, world) if "commit" in use.why}
    assert digests[2] in asked
    assert digests[0] not in asked
    server.down()
    with pytest.raises(Transient):
        uses(spec(), 5, world)
