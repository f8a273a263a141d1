"""A run followed through gh: appearing, going on, ending, and the way to GitHub failing in between."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.ci.ask import Asker
from pipeline.ci.watch import find, follow
from pipeline.errors import AuthError, BuildError, ConfigError, Locked, PipelineError, RateLimited, Transient
from pipeline.host.local import LocalHost
from pipeline.retry import Policy
from pipeline.testing import FakeClock
from tests.ci.program import Program, recorded

COMMIT = "a" * 40
FLOW = "docker-publish.yml"


@dataclasses.dataclass
class World:
    """The asker over a gh that gives recorded answers, and what it told."""

    program: Program
    clock: FakeClock
    lines: list[str]
    asker: Asker

    def follow(self, number: str = "41") -> Any:
        return follow(self.asker, number, self.lines.append)


@pytest.fixture
def world(tmp_path: Path) -> World:
    program, clock, lines = Program(tmp_path / "bin"), FakeClock(), list[str]()
    asker = Asker(LocalHost(), clock, str(tmp_path), str(program.folder / "gh"), "owner/relay", say=lines.append)
    return World(program, clock, lines, asker)


def view(name: str = "view-running", **changed: Any) -> dict[str, Any]:
    """A recorded run, with some fields changed."""
    value: dict[str, Any] = json.loads(recorded(name)[1])
    return {**value, **changed}


def ended(conclusion: str) -> dict[str, Any]:
    return view(status="completed", conclusion=conclusion)


def success() -> dict[str, Any]:
    done = ended("success")
    for step in done["jobs"][0]["steps"]:
        step |= {"status": "completed", "conclusion": "success"}
    done["jobs"][0] |= {"status": "completed", "conclusion": "success"}
    return done


def test_a_run_is_waited_for_until_it_appears(world: World) -> None:
    world.program.answers(recorded("empty"), recorded("empty"), recorded("list"))
    assert find(world.asker, FLOW, COMMIT).id == 43
    assert len(world.clock.slept) == 2
    assert world.lines[0] == f"no run of {FLOW} for aaaaaaa yet, waiting up to 120 s"
    assert world.lines[1:] == [
        "there is run 42 for the same commit, too, on main: --run 42 follows that",
        "there is run 41 for the same commit, too, on main: --run 41 follows that",
    ]


def test_a_commit_without_a_run_is_told_with_the_newest_there_is(world: World) -> None:
    world.program.answers(recorded("list"))
    with pytest.raises(ConfigError, match=r"there is no run of docker-publish\.yml for bbbbbbb") as told:
        find(world.asker, FLOW, "b" * 40, patience=10)
    assert "the newest is 43, of aaaaaaa on v1.0.0" in told.value.cause
    assert "git push" in told.value.mend
    assert 9 < world.clock.passed < 14


def test_a_run_is_told_step_by_step_to_its_end(world: World) -> None:
    world.program.answers(recorded("view-queued"), recorded("view-running"), recorded("view-running"), success())
    assert world.follow().conclusion == "success"
    text = "\n".join(world.lines)
    assert world.lines[0] == f"run 43 of docker-publish for aaaaaaa on v1.0.0: {view('view-queued')['url']}"
    assert "it waits for a runner" in text
    assert text.count("publish: Check the commit out: success") == 1
    assert "publish: Set up Buildx …" in text
    assert world.lines[-1] == "it ended: success"


def test_a_failure_names_the_step_and_shows_the_end_of_its_log(world: World) -> None:
    world.program.answers(recorded("view-failed"), recorded("log-failed"))
    with pytest.raises(BuildError, match="failed in job publish, step 5: Build and push relay") as told:
        world.follow("42")
    assert told.value.cause.splitlines()[-1] == "error: denied: permission_denied"
    assert "2026-11" not in told.value.cause
    assert "gh run rerun 42 --failed" in told.value.mend
    assert told.value.log.endswith("/runs/42/job/1")
    assert world.program.asked[-1].endswith("--log-failed -- 42")


def test_a_failure_without_a_log_is_told_all_the_same(world: World) -> None:
    world.program.answers(recorded("view-failed"), recorded("no-run"))
    with pytest.raises(BuildError, match="step 5") as told:
        world.follow("42")
    assert told.value.cause == ""
    assert any("the log cannot be had" in line for line in world.lines)


@pytest.mark.parametrize(
    ("conclusion", "kind", "what"),
    [
        ("cancelled", BuildError, "was cancelled"),
        ("timed_out", BuildError, "failed before a job began"),
        ("skipped", BuildError, "did nothing"),
        ("startup_failure", ConfigError, "could not start"),
        ("action_required", Locked, "approval"),
        ("stale", BuildError, "ended as 'stale'"),
    ],
)
def test_what_an_end_means(world: World, conclusion: str, kind: type[PipelineError], what: str) -> None:
    world.program.answers({**ended(conclusion), "jobs": []})
    with pytest.raises(kind, match=what) as told:
        world.follow()
    assert told.value.mend


@pytest.mark.parametrize("cut", ["cut", "refused", "no-name", "bad-gateway"])
def test_a_cut_in_the_middle_is_taken_up_again(world: World, cut: str) -> None:
    world.program.answers(recorded("view-running"), recorded(cut), recorded(cut), recorded(cut), success())
    assert world.follow().conclusion == "success"
    assert sum("GitHub could not be asked" in line for line in world.lines) == 3
    assert sum("run 41 of" in line for line in world.lines) == 1


def test_a_cut_that_lasts_ends_with_how_to_go_on(world: World) -> None:
    world.asker = dataclasses.replace(world.asker, policy=Policy(attempts=3, patience=60))
    world.program.answers(recorded("refused"))
    with pytest.raises(Transient) as told:
        world.follow()
    assert told.value.attempts == 3
    assert "inv ci.watch again" in told.value.mend


def test_before_there_is_a_run_patience_is_short(world: World) -> None:
    world.program.answers(recorded("refused"))
    with pytest.raises(Transient) as told:
        find(world.asker, FLOW, COMMIT)
    assert told.value.attempts == 5
    assert world.clock.passed < 120


def test_a_rate_limit_is_waited_out_until_github_said(world: World) -> None:
    reset = int(world.clock.now()) + 900
    limit = {"resources": {"core": {"limit": 5000, "remaining": 0, "reset": reset}}}
    world.program.answers(recorded("rate-limit"), limit, success())
    assert world.follow().conclusion == "success"
    assert world.clock.passed >= 899
    assert world.program.asked[1] == "api -- rate_limit"


def test_a_rate_limit_without_a_date_waits_a_minute(world: World) -> None:
    world.asker = dataclasses.replace(world.asker, policy=Policy(attempts=2, patience=200))
    world.program.answers(recorded("secondary-limit"), recorded("bad-gateway"), recorded("secondary-limit"))
    with pytest.raises(RateLimited):
        world.follow()
    assert world.clock.passed >= 60


@pytest.mark.parametrize(
    ("name", "kind"), [("no-login", AuthError), ("bad-token", AuthError), ("no-scope", AuthError), ("no-remote", ConfigError)]
)
def test_what_no_waiting_mends_is_told_at_once(world: World, name: str, kind: type[PipelineError]) -> None:
    world.program.answers(recorded(name))
    with pytest.raises(kind) as told:
        world.follow()
    assert told.value.mend
    assert world.clock.passed == 0
    assert len(world.program.asked) == 1


def test_gh_that_is_not_there_is_named(world: World, tmp_path: Path) -> None:
    world.asker = dataclasses.replace(world.asker, program=str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="gh is not installed"):
        world.follow()


def test_what_others_wrote_does_not_reach_the_terminal_as_commands(world: World) -> None:
    evil = success()
    evil["headBranch"] = "x\x1b]0;owned\x07\u202e"
    world.program.answers(evil)
    world.follow()
    assert all(line.isprintable() for line in world.lines)


def test_looks_grow_rare_while_nothing_happens(world: World) -> None:
    world.program.answers(*[recorded("view-running")] * 8, success())
    world.follow()
    assert world.clock.slept[1:3] == [4.5, 6.75]
    assert max(world.clock.slept) == 15.0
