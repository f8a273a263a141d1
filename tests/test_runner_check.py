"""What a plan needs is looked at before anything of it is done: a typing error in its last stage costs no build."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Images
from pipeline.errors import ConfigError
from pipeline.runner import look, run, verify_live
from pipeline.stage import Plan, Registry, Site, Stage, Store
from tests.world import World, site, source

ONE = source("one")


class Needs:
    """A check that notes who asked; the verb in `lacks` refuses."""

    def __init__(self, world: World) -> None:
        self.asked: list[str] = []
        self.lacks = ""
        self.plan: Plan = tuple(
            dataclasses.replace(stage, driver=dataclasses.replace(stage.driver, check=self.check(stage.verb))) for stage in world.plan()
        )

    def check(self, verb: str) -> Any:
        def check(_spec: Any, _site: Site) -> None:
            self.asked.append(verb)
            if verb == self.lacks:
                raise ConfigError(f"{verb} lacks something")

        return check


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


@pytest.fixture
def needs(world: World) -> Needs:
    return Needs(world)


@pytest.fixture
def here(tmp_path: Path) -> Any:
    with site(tmp_path) as made:
        yield made


def test_what_the_last_stage_lacks_is_told_before_the_first_acts(world: World, needs: Needs, here: Site) -> None:
    needs.lacks = "verify"
    with pytest.raises(ConfigError, match="verify lacks something") as caught:
        run(needs.plan, here, source=ONE)
    assert caught.value.stage == "verify"
    assert world.makes == []
    failed = here.records.last("verify", "failed")
    assert failed is not None
    assert here.records.unfinished() == []


def test_every_stage_is_asked_once_in_order(needs: Needs, here: Site) -> None:
    run(needs.plan, here, source=ONE)
    assert needs.asked == ["sync", "build", "push", "deploy", "verify"]


def test_what_the_goal_does_not_need_is_not_asked_for(world: World, needs: Needs, here: Site) -> None:
    needs.lacks = "deploy"
    run(needs.plan, here, source=ONE, until="push")
    assert world.makes == ["sync", "build", "push"]
    assert needs.asked == ["sync", "build", "push"]


def test_where_nothing_is_to_be_done_only_verify_is_asked(needs: Needs, here: Site) -> None:
    run(needs.plan, here, source=ONE)
    needs.asked.clear()
    needs.lacks = "deploy"  # helm was uninstalled since: what is live is live
    run(needs.plan, here, source=ONE)
    verify_live(needs.plan, here)
    assert needs.asked == ["verify", "verify"]


def test_a_dry_run_tells_what_a_release_would_stumble_over(needs: Needs, here: Site) -> None:
    needs.lacks = "push"
    with pytest.raises(ConfigError, match="push lacks something"):
        look(needs.plan, here, source=ONE)


def rehearsed(world: World, verb: str, heard: list[Images]) -> Plan:
    """The world's plan, whose push says where its images go, and whose stage of `verb` refuses what it will be given."""

    def rehearse(_spec: Any, images: Images, _site: Site) -> None:
        heard.append(images)
        raise ConfigError("no such word")

    def with_(stage: Stage) -> Stage:
        more: dict[str, Any] = {"rehearse": rehearse} if stage.verb == verb else {}
        if stage.verb == "push":
            more["stores"] = lambda _spec, _site: (Store("hub", "team/web"), Store("hub", "team/api"))
        return dataclasses.replace(stage, driver=dataclasses.replace(stage.driver, **more))

    return tuple(map(with_, world.plan()))


@pytest.mark.parametrize("verb", ["deploy", "verify"])
def test_what_is_wrong_with_the_images_to_come_is_told_before_they_are_built(verb: str, world: World, here: Site) -> None:
    heard: list[Images] = []
    known = dataclasses.replace(here, registries={"hub": Registry("hub.example.org:5000")})
    with pytest.raises(ConfigError, match="no such word") as caught:
        run(rehearsed(world, verb, heard), known, source=ONE)
    assert (caught.value.stage, world.makes) == (verb, [])
    assert [each.repository for each in heard[0].images] == ["hub.example.org:5000/team/web", "hub.example.org:5000/team/api"]
    assert heard[0].source == ONE
    assert len({each.digest for each in heard[0].images}) == 2
    with pytest.raises(ConfigError, match="no such word"):
        look(rehearsed(world, verb, heard), known, source=ONE)


def test_what_is_wrong_with_the_source_is_told_by_a_plan(world: World, here: Site) -> None:
    heard: list[Any] = []
    with pytest.raises(ConfigError, match="no such word") as caught:
        look(rehearsed(world, "sync", heard), here, source=ONE)
    assert (caught.value.stage, heard) == ("sync", [ONE])


def test_images_that_are_there_are_not_presumed(world: World, here: Site) -> None:
    heard: list[Images] = []
    run(world.plan(), here, until="push", source=ONE)
    run(rehearsed(world, "deploy", heard), dataclasses.replace(here, registries={"hub": Registry("hub")}), source=ONE)
    assert heard == []
