"""A release never takes away what somebody else released: what is live is an ancestor of it, or is named. Asked of a real git."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Source
from pipeline.errors import ConfigError, PipelineError, Transient
from pipeline.events import Event, What
from pipeline.report.planned import refusals, show
from pipeline.runner import run
from pipeline.runner.over import Refused
from pipeline.stage import Remote, Site, Standing, TakenBack
from tests.world import World, site


def git(root: Path, *words: str) -> str:
    argv = ["git", "-C", str(root), "-c", "user.name=anna", "-c", "user.email=anna@example.org", *words]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(root)}
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=env).stdout.strip()


def commit(root: Path, subject: str) -> str:
    git(root, "commit", "--quiet", "--allow-empty", f"--message={subject}")
    return git(root, "rev-parse", "HEAD")


class Bench:
    """A working copy with two commits on main and one aside of the second, and a world in which `live` is deployed."""

    def __init__(self, folder: Path) -> None:
        self.copy = folder / "copy"
        self.copy.mkdir()
        git(self.copy, "init", "--quiet", "--initial-branch=main")
        self.old, self.new = commit(self.copy, "the first page"), commit(self.copy, "a second page")
        git(self.copy, "checkout", "--quiet", "-b", "aside", self.old)
        self.aside = commit(self.copy, "an experiment")
        self.world = World(folder / "world")
        self.events: list[Event] = []
        self.site = site(folder, self.events.append)
        self.standing = Standing(since="2026-01-02T03:04:05Z", by="bert@laptop")
        deploy = self.world.driver("deploy")

        def standing(spec: Any, site: Site) -> Standing:
            assert deploy.live is not None
            return dataclasses.replace(self.standing, live=functools.partial(deploy.live, spec, site))

        told = dataclasses.replace(deploy, standing=standing)
        self.plan = tuple(dataclasses.replace(each, driver=told) if each.verb == "deploy" else each for each in self.world.plan())

    def live(self, commit: str) -> None:
        self.world.put("live", {"digest": "sha256:" + "0" * 64, "revision": 7, "previous": None, "commit": commit})

    def source(self, commit: str, *, dirty: bool = False, at: Path | None = None) -> Source:
        return Source("t" * 40 if dirty else f"tree of {commit}", commit, dirty, str(at or self.copy))

    def release(self, commit: str, **options: Any) -> None:
        run(self.plan, self.site, until="deploy", source=self.source(commit), **options)

    def refusals(self, commit: str) -> list[str]:
        deploy = self.plan[3]
        return refusals(deploy, deploy.standing(self.site), self.source(commit), self.site)

    def warnings(self) -> list[str]:
        return [event.text for event in self.events if event.what is What.WARN]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(("live", "released"), [("new", "old"), ("new", "aside"), ("aside", "new")])
def test_an_older_or_diverged_commit_does_not_go_over_somebody_s_newer_work(bench: Bench, live: str, released: str) -> None:
    bench.live(getattr(bench, live))
    with pytest.raises(Refused) as caught:
        bench.release(getattr(bench, released))
    error = caught.value
    assert (error.exit_code, error.stage) == (2, "deploy")
    assert f"{getattr(bench, live)[:7]} (revision 7 of ns/app) is live, by bert@laptop, since 2026-01-02T03:04:05Z" in error.what
    assert ("a second page" if live == "new" else "an experiment") in error.cause
    assert "anna" in error.cause
    assert f"--over {getattr(bench, live)[:7]}" in error.mend
    assert "inv rollback" in error.mend
    assert bench.world.makes == [], "told before anything is built"
    assert bench.site.records.last("deploy", "failed") is not None


@pytest.mark.parametrize(("live", "released"), [("old", "new"), ("old", "aside"), ("new", "new"), ("", "new")])
def test_what_holds_the_live_commit_goes_out(bench: Bench, live: str, released: str) -> None:
    """After a rollback, too, what is live is older."""
    if live:
        bench.live(getattr(bench, live))
    bench.release(getattr(bench, released))
    assert bench.world.makes == ["sync", "build", "push", "deploy"]
    assert bench.warnings() == []


def test_a_commit_that_is_not_known_here_is_refused_and_said_to_be_unknown(bench: Bench) -> None:
    bench.live("f" * 40)
    with pytest.raises(Refused, match="does not know whether") as caught:
        bench.release(bench.new)
    assert "git fetch --all, then run again" in caught.value.mend
    assert bench.world.makes == []


def test_a_commit_that_a_colleague_released_is_fetched_from_where_the_release_left_it(bench: Bench) -> None:
    """No branch has to hold it: a release moves none."""
    bench.live("f" * 40)
    bench.site = dataclasses.replace(bench.site, app="app", remotes={"hub": Remote("ssh://git@10.0.0.1:22/team/{app}.git")})
    with pytest.raises(Refused) as caught:
        bench.release(bench.new)
    assert (
        f"git fetch --all, or, if no branch holds it, git fetch ssh://git@10.0.0.1:22/team/app.git refs/pipeline/{'f' * 40}"
        in caught.value.mend
    )


@pytest.mark.parametrize("live", ["old", "aside"])
def test_a_shallow_clone_says_how_to_mend_it(bench: Bench, tmp_path: Path, live: str) -> None:
    """Its history is cut off: that it does not reach the live commit means nothing."""
    shallow = tmp_path / "shallow"
    git(bench.copy, "clone", "--quiet", "--depth=1", "--branch=main", f"file://{bench.copy}", str(shallow))
    if live == "aside":
        git(shallow, "fetch", "--quiet", "--depth=1", "origin", "aside")
    bench.live(getattr(bench, live))
    with pytest.raises(Refused, match="does not know whether") as caught:
        run(bench.plan, bench.site, until="deploy", source=bench.source(bench.new, at=shallow))
    assert "git fetch --unshallow" in caught.value.mend
    git(shallow, "fetch", "--quiet", "--unshallow")
    if live == "old":
        run(bench.plan, bench.site, until="deploy", source=bench.source(bench.new, at=shallow))
        assert bench.world.makes[-1:] == ["deploy"]


def test_over_names_what_is_live_and_is_told(bench: Bench) -> None:
    bench.live(bench.new)
    bench.release(bench.old, over=bench.new[:7])
    assert bench.world.makes[-1:] == ["deploy"]
    (told,) = bench.warnings()
    assert "is released over, by bert@laptop" in told


@pytest.mark.parametrize("over", ["aside", "a1", "--all", ""])
def test_over_of_another_commit_is_refused(bench: Bench, over: str) -> None:
    bench.live(bench.new)
    with pytest.raises(Refused, match="is live, by bert@laptop"):
        bench.release(bench.old, over=getattr(bench, over, over))
    assert bench.world.makes == []


def test_over_of_nothing_is_refused(bench: Bench) -> None:
    with pytest.raises(Refused, match="nothing is live"):
        bench.release(bench.new, over=bench.old)


@pytest.mark.parametrize("over", [False, True])
def test_a_race_is_seen_under_the_lock(bench: Bench, over: bool) -> None:
    """Somebody releases while this one builds."""
    bench.live(bench.old)
    bench.world.before["push.make"] = [lambda: bench.live(bench.aside)]
    with pytest.raises(Refused, match=bench.aside[:7]):
        bench.release(bench.new, **({"over": bench.old} if over else {}))
    assert "deploy" not in bench.world.makes
    assert bench.world.live["commit"] == bench.aside


def test_a_cluster_that_cannot_be_asked_yet_does_not_keep_from_building(bench: Bench) -> None:
    bench.live(bench.old)
    bench.world.before["deploy.live"] = [Transient("the cluster does not answer")]
    bench.release(bench.new)
    assert bench.world.makes == ["sync", "build", "push", "deploy"]


def absent(bench: Bench, *errors: PipelineError) -> None:
    """Let the deploy miss something that it takes from elsewhere, each of `errors` once and then no more."""
    left = list(errors)

    def present(*_: object) -> None:
        if left:
            raise left.pop(0)

    driver = dataclasses.replace(bench.plan[3].driver, present=present)
    bench.plan = tuple(dataclasses.replace(each, driver=driver) if each.verb == "deploy" else each for each in bench.plan)


def test_what_a_release_takes_from_elsewhere_is_looked_for_before_anything_is_made(bench: Bench) -> None:
    error = ConfigError("there is no such chart", mend="inv chart.push publishes it")
    absent(bench, error, error)
    assert bench.refusals(bench.new) == ["there is no such chart; inv chart.push publishes it"]
    with pytest.raises(ConfigError, match="no such chart") as caught:
        bench.release(bench.new)
    assert caught.value.stage == "deploy"
    assert bench.world.makes == []
    assert bench.site.records.last("deploy", "failed") is not None
    bench.release(bench.new)
    assert bench.world.makes == ["sync", "build", "push", "deploy"]


def test_what_cannot_be_looked_for_now_does_not_keep_from_building(bench: Bench) -> None:
    absent(bench, Transient("the registry does not answer"))
    bench.release(bench.new)
    assert bench.world.makes == ["sync", "build", "push", "deploy"]


def test_a_build_does_not_look_for_what_only_a_release_takes(bench: Bench) -> None:
    absent(bench, ConfigError("there is no such chart"))
    run(bench.plan, bench.site, until="push", source=bench.source(bench.new))
    assert bench.world.makes == ["sync", "build", "push"]


def test_a_build_asks_nobody_what_is_live(bench: Bench) -> None:
    bench.live(bench.new)
    run(bench.plan, bench.site, until="push", source=bench.source(bench.old))
    assert bench.world.count("deploy.live") == 0


def test_a_release_of_an_unknown_commit_is_told_and_released_over(bench: Bench) -> None:
    bench.live("")
    bench.release(bench.new)
    assert bench.warnings() == ["an unknown commit (revision 7 of ns/app) is live, of a commit that nobody noted: it is released over"]


def test_a_dirty_tree_is_refused_if_the_environment_says_so(bench: Bench) -> None:
    strict = dataclasses.replace(bench.site, dirty="refuse")
    with pytest.raises(ConfigError, match="takes commits only"):
        run(bench.plan, strict, until="deploy", source=bench.source(bench.new, dirty=True))
    assert bench.world.makes == []
    run(bench.plan, strict, until="push", source=bench.source(bench.new, dirty=True))
    run(bench.plan, bench.site, until="deploy", source=bench.source(bench.new, dirty=True))
    assert bench.world.makes[-1:] == ["deploy"]


def test_a_plan_says_what_a_release_would_be_refused_for(bench: Bench) -> None:
    bench.live(bench.new)
    (said,) = bench.refusals(bench.old)
    assert "its commits would be taken away" in said
    assert f"--over {bench.new[:7]}" in said
    assert bench.refusals(bench.new) == []


@pytest.mark.parametrize("failed", [False, True])
def test_a_commit_that_was_taken_back_is_released_again_on_purpose_alone(bench: Bench, failed: bool) -> None:
    bench.live(bench.old)
    taken = TakenBack(bench.new, bench.new[:7], "bert@laptop", "2026-01-02T03:04:05Z", failed)
    bench.standing = dataclasses.replace(bench.standing, taken=(taken,))
    with pytest.raises(
        Refused, match=f"{bench.new[:7]} was taken back {'since it failed' if failed else 'by a person'}, by bert"
    ) as caught:
        bench.release(bench.new)
    assert "inv release --again" in caught.value.mend
    assert bench.world.makes == []
    assert "was taken back" in bench.refusals(bench.new)[0]
    bench.release(bench.aside)
    bench.live(bench.old)
    bench.release(bench.new, again=True)
    assert bench.world.live["digest"] != "sha256:" + "0" * 64


def test_a_plan_is_shown_line_by_line() -> None:
    rows = [{"stage": "push", "there": True, "text": "sha256:1"}, {"stage": "deploy", "there": False, "text": "nothing is deployed yet"}]
    rows = [{"needed": True, **row} for row in ({"stage": "build", "there": False, "needed": False, "text": "gone"}, *rows)]
    lines = show({"plan": rows, "refused": ["main went on"], "frozen": ["audit"]})
    assert [line.split()[0] for line in lines] == ["build", "push", "deploy", "refused", "frozen"]
    assert [line[9:15].strip() for line in lines[:3]] == ["skip", "there", "to do"]
    assert not any("\n" in line for line in lines)
