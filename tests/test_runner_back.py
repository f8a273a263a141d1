"""Going back, and rebuilding the records: what is told before, written down after, and never done twice."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Release
from pipeline.errors import Ambiguous, ConfigError, IntegrityError, Locked, Transient, VerifyError
from pipeline.events import Event, What
from pipeline.runner import run
from pipeline.runner.back import BACK, roll_back
from pipeline.runner.reconcile import AT_WORK, reconcile
from pipeline.stage import Plan, Return, Site
from pipeline.testing import FakeClock
from tests.world import World, site, source

ONE, TWO = source("one"), source("two")


class Bench:
    """A world released at ONE, then at TWO, whose deploy driver can go back to the one before."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder / "world")
        self.events: list[Event] = []
        self.clock = FakeClock()
        self.site: Site = site(folder, self.events.append, self.clock)
        self.asked: list[str] = []
        self.plan: Plan = tuple(
            dataclasses.replace(stage, driver=dataclasses.replace(stage.driver, back=self.back)) if stage.verb == "deploy" else stage
            for stage in self.world.plan()
        )
        for at in (ONE, TWO):
            run(self.plan, self.site, source=at)
        self.events.clear()

    @contextlib.contextmanager
    def back(self, _spec: Any, to: str, _force: bool, _site: Site) -> Iterator[Return]:
        self.asked.append(to)
        with self.world.call("deploy.back"):
            pass
        live = self.world.live
        there = to == live["digest"]
        goal = live if there else live["previous"]
        if goal is None:
            raise ConfigError("there is nothing before it")

        def release(found: dict[str, Any]) -> Release:
            at = ONE if found["digest"] == first else TWO
            now = self.world.now()
            assert now is not None
            return dataclasses.replace(now, source=at, revision=found["revision"], inputs=found["digest"])

        first = live["previous"]["digest"] if live["previous"] else live["digest"]

        def go() -> Release:
            self.world.put("live", {**goal, "revision": live["revision"] + 1})
            with self.world.call("deploy.go"):
                pass
            found = self.world.now()
            assert found is not None
            return dataclasses.replace(found, source=ONE)

        yield Return(release(live), release(goal), goal["digest"], "from two back to one", None if there else go)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_it_says_from_what_to_what_before_it_acts_and_verifies_after(bench: Bench) -> None:
    bench.world.calls.clear()
    records = roll_back(bench.plan, bench.site)
    assert [(record.stage, record.state) for record in records] == [("deploy", "made"), ("verify", "made")]
    assert records[0].detail["why"] == "from two back to one"
    assert (records[0].detail["from_revision"], records[0].detail["to_revision"]) == (2, 1)
    assert next(event.text for event in bench.events if event.what is What.ACT) == "from two back to one"
    assert bench.world.calls.index("deploy.back") < bench.world.calls.index("deploy.go") < bench.world.calls.index("verify.make")
    assert bench.site.records.unfinished() == []
    assert bench.world.live["revision"] == 3


def test_the_newer_source_acts_again_afterwards(bench: Bench) -> None:
    roll_back(bench.plan, bench.site)
    bench.world.calls.clear()
    run(bench.plan, bench.site, source=TWO)
    assert bench.world.makes == ["deploy", "verify"]


@pytest.mark.parametrize("fault", [Transient("reset"), Ambiguous("no answer")])
def test_an_answer_that_was_lost_is_not_gone_back_for_twice(bench: Bench, fault: Exception) -> None:
    bench.world.before["deploy.go"] = [fault]  # raised when the world has changed already
    records = roll_back(bench.plan, bench.site)
    assert bench.world.count("deploy.go") == 1
    assert bench.asked == ["", bench.world.live["digest"]], "the second look asks for the goal that the first one chose"
    assert records[0].state == "made"
    assert records[0].detail["tries"] == 2


@pytest.mark.parametrize("refused", [Locked("frozen"), IntegrityError("the image is gone"), ConfigError("no such revision")])
def test_what_is_refused_is_recorded_and_nothing_is_verified(bench: Bench, refused: Exception) -> None:
    bench.world.before["deploy.back"] = [refused]
    bench.world.calls.clear()
    with pytest.raises(type(refused)):
        roll_back(bench.plan, bench.site)
    assert bench.world.calls == ["deploy.back"]
    assert bench.site.records.history(1)[0].detail["error"] == str(refused)
    assert bench.world.live["revision"] == 2


def test_what_is_live_already_is_found_and_verified(bench: Bench) -> None:
    records = roll_back(bench.plan, bench.site, to=bench.world.live["digest"])
    assert [(record.stage, record.state) for record in records] == [("deploy", "found"), ("verify", "made")]
    assert bench.world.live["revision"] == 2


def test_what_does_not_hold_afterwards_stays_and_is_said(bench: Bench) -> None:
    bench.world.before["verify.make"] = [VerifyError("the page is broken", mend="look")]
    with pytest.raises(VerifyError) as caught:
        roll_back(bench.plan, bench.site)
    assert caught.value.exit_code == 18
    assert "stays live" in caught.value.mend
    assert bench.world.count("deploy.undo") == 0


def test_a_plan_that_cannot_go_back_says_so(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="can go back"):
        roll_back(bench.world.plan(), bench.site)


def test_reconcile_finds_what_a_fresh_clone_does_not_know(bench: Bench, tmp_path: Path) -> None:
    fresh = site(tmp_path / "clone", clock=bench.clock)
    bench.world.calls.clear()
    learnt = reconcile(bench.plan, fresh, TWO)
    assert [(each.stage, each.state) for each in learnt] == [(verb, "found") for verb in ("sync", "build", "push", "deploy")]
    assert bench.world.makes == []
    assert [record.state for record in fresh.records.history()] == ["found"] * 4
    assert {each.state for each in reconcile(bench.plan, fresh, TWO)} == {"known"}
    assert len(fresh.records.history()) == 4, "what is known is not written down again"


def test_reconcile_learns_from_what_is_live_where_the_build_host_has_lost_it(bench: Bench, tmp_path: Path) -> None:
    for name in ("trees", "bundles"):
        for path in (bench.world.folder / name).iterdir():
            path.unlink()
    driver = bench.plan[3].driver

    def live(_spec: Any, _site: Site) -> Release | None:
        found = bench.world.now()
        return dataclasses.replace(found, source=TWO) if found else None

    stage = dataclasses.replace(bench.plan[3], driver=dataclasses.replace(driver, live=live))
    plan = (*bench.plan[:3], stage, bench.plan[4])
    fresh = site(tmp_path / "clone", clock=bench.clock)
    learnt = [(each.stage, each.state) for each in reconcile(plan, fresh, TWO)]
    assert learnt == [("sync", "missing"), ("push", "found"), ("deploy", "found")]
    assert [(each.stage, each.state) for each in reconcile(plan, fresh, source("three"))] == [("sync", "missing")]


def test_reconcile_says_what_is_missing(bench: Bench) -> None:
    learnt = reconcile(bench.plan, bench.site, source("three"))
    assert [(each.stage, each.state) for each in learnt] == [("sync", "missing")]


def test_reconcile_closes_what_a_killed_run_left(bench: Bench) -> None:
    records, keys = bench.site.records, [ONE.id]
    for stage in bench.plan:
        keys.append(stage.key(keys[-1]))
    records.intend("done", "push", keys[3], keys[2], "tag is missing")
    records.intend("lost", "deploy", keys[4], keys[3], "nothing is live")
    records.intend("strange", "build", "no such key", "no such parent", "why not")
    three = source("three")
    assert {(each.stage, each.state) for each in reconcile(bench.plan, bench.site, three)} == {
        ("sync", "missing"), ("push", "closed"), ("deploy", "open"), ("build", "open"),
    }  # fmt: skip
    bench.clock.sleep(AT_WORK)
    closed = {each.stage: each.text for each in reconcile(bench.plan, bench.site, three)}
    assert "never ended: deploy is wanted" in closed["deploy"]
    assert "cannot be asked about" in closed["build"]
    assert records.unfinished() == []
    states = {record.run: record.state for record in records.history() if record.run in ("done", "lost", "strange")}
    assert states == {"done": "found", "lost": "failed", "strange": "failed"}


@pytest.mark.parametrize("arrived", [True, False])
def test_reconcile_asks_what_became_of_a_way_back(bench: Bench, arrived: bool) -> None:
    now = bench.world.now()
    assert now is not None
    goal = now.id if arrived else f"{now.id}-other"
    bench.site.records.intend("cut", "deploy", f"{BACK}{goal}", "", "from two back to one")
    bench.clock.sleep(AT_WORK)
    (learnt,) = [each for each in reconcile(bench.plan, bench.site, source("three")) if each.stage == "deploy"]
    assert learnt.state == "closed"
    assert ("had made" in learnt.text) is arrived
