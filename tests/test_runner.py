"""Look, act, look: what is asked, what is made, what is written down, and what is told when it goes wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Image, Images, Release, Report, Tree
from pipeline.errors import (
    Ambiguous,
    AuthError,
    BuildError,
    Cancelled,
    ConfigError,
    Drifted,
    IntegrityError,
    Locked,
    NotRolledBack,
    PipelineError,
    RateLimited,
    ResourceError,
    RolledBack,
    Transient,
    VerifyError,
)
from pipeline.events import Event, What
from pipeline.records import Record
from pipeline.report import planned
from pipeline.retry import Policy
from pipeline.runner import index_of, look, run, verify_live
from pipeline.runner.act import count_wait
from pipeline.runner.walk import Walk
from pipeline.stage import Finding, Site
from pipeline.testing import FakeClock
from tests.world import VERBS, Options, World, digest_of, on_disk, site, source

ONE, TWO = source("one"), source("two")


class Bench:
    """A world, a site, the events and the plan of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World(folder / "world")
        self.plan = self.world.plan()
        self.events: list[Event] = []
        self.clock = FakeClock()
        self.site = self.new_site()

    def new_site(self) -> Site:
        return site(self.folder, self.events.append, self.clock)

    def run(self, at: Any = ONE, **options: Any) -> list[Record]:
        self.world.calls.clear()
        self.events.clear()
        return run(self.plan, self.site, source=at, **options)

    def told(self, what: What) -> list[Event]:
        return [event for event in self.events if event.what is what]

    def last(self, stage: str, state: str) -> Record:
        record = self.site.records.last(stage, state)
        assert record is not None
        return record


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    bench = Bench(tmp_path)
    with bench.site:
        yield bench


def rows(path: Path) -> list[tuple[str, str]]:
    """What stands in the file right now, read as another process would."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        found = database.execute("select stage, state from record order by id").fetchall()
    database.close()
    return [(stage, state) for stage, state in found]


# what is asked and made


def test_first_run_makes_everything_in_order(bench: Bench) -> None:
    records = bench.run()
    assert bench.world.makes == list(VERBS)
    assert [(record.stage, record.state) for record in records] == [(verb, "made") for verb in VERBS]
    assert isinstance(records[-1].artifact, Report)
    assert records[-1].artifact.passed
    assert bench.world.wasted == []


def test_each_stage_looks_acts_and_looks_again(bench: Bench) -> None:
    bench.run(until="build")
    assert bench.world.calls == ["sync.find", "sync.make", "sync.find", "build.find", "build.make", "build.find"]


def test_lock_is_around_look_act_look(bench: Bench) -> None:
    bench.run(until="push")
    seen: list[list[str]] = []
    bench.world.before["deploy.find"] = [lambda: seen.append(list(bench.world.entered))] * 3
    bench.run(until="deploy")
    assert sorted(bench.world.calls[:2]) == ["deploy.find", "push.find"]
    assert bench.world.calls[2:] == ["deploy.lock", "deploy.find", "deploy.live", "deploy.make", "deploy.find"]
    assert seen == [[], ["in"], ["in"]]
    assert bench.world.entered == ["in", "out"]


def test_verify_watches_from_before_the_deploy_acts_until_the_end_of_the_run(bench: Bench) -> None:
    calls = bench.world.calls

    @contextlib.contextmanager
    def watch(_spec: Any, _site: Site) -> Iterator[None]:
        calls.append("watch begins")
        yield
        calls.append("watch ends")

    *before, verify = bench.plan
    bench.plan = (*before, dataclasses.replace(verify, driver=dataclasses.replace(verify.driver, watch=watch)))
    bench.run()
    seen = [call for call in calls if call.startswith(("watch", "deploy.make", "verify.make"))]
    assert seen == ["watch begins", "deploy.make", "verify.make", "watch ends"]
    bench.run()
    assert not any(call.startswith("watch") for call in calls), "what is not released is not watched"


def test_no_op_asks_push_and_deploy_only(bench: Bench) -> None:
    bench.run()
    records = bench.run()
    assert sorted(bench.world.calls) == ["deploy.find", "push.find", "verify.make"]
    assert [(record.stage, record.state) for record in records] == [("push", "found"), ("deploy", "found"), ("verify", "made")]
    assert bench.told(What.DONE)[0].data["changed"] == []


def test_no_op_writes_only_what_verify_did(bench: Bench) -> None:
    bench.run()
    before = rows(bench.site.records.path)
    bench.run()
    assert rows(bench.site.records.path)[len(before) :] == [("verify", "intent"), ("verify", "made")]


def test_no_op_looks_are_side_by_side(bench: Bench) -> None:
    bench.run()
    meet = threading.Barrier(2, timeout=10)
    bench.world.before["push.find"] = [lambda: _ignore(meet.wait())]
    bench.world.before["deploy.find"] = [lambda: _ignore(meet.wait())]
    bench.run(until="deploy")
    assert not meet.broken


def test_records_are_of_no_need_on_a_fresh_clone(bench: Bench) -> None:
    bench.run()
    bench.site.records.close()
    bench.site.records.path.unlink()
    bench.site = bench.new_site()
    records = bench.run()
    assert bench.world.makes == ["verify"]
    assert [(record.stage, record.state) for record in records[:-1]] == [(verb, "found") for verb in VERBS[:-1]]
    bench.run()
    assert sorted(bench.world.calls) == ["deploy.find", "push.find", "verify.make"], "what was found is remembered"


def test_r08_what_the_registry_lost_is_pushed_again_and_nothing_else(bench: Bench) -> None:
    bench.run()
    for path in (bench.folder / "world" / "registry").iterdir():
        path.unlink()
    bench.run()
    assert bench.world.makes == ["push", "verify"]
    assert bench.world.live["revision"] == 1


def test_lost_archive_and_image_are_built_again_without_a_new_release(bench: Bench) -> None:
    bench.run()
    for folder in ("registry", "bundles"):
        for path in (bench.folder / "world" / folder).iterdir():
            path.unlink()
    bench.run()
    assert bench.world.makes == ["build", "push", "verify"]
    assert bench.world.live["revision"] == 1


def test_another_source_goes_all_the_way(bench: Bench) -> None:
    bench.run()
    bench.run(TWO)
    assert bench.world.makes == list(VERBS)
    assert bench.world.live["revision"] == 2
    bench.run(ONE)
    assert bench.world.makes == ["deploy", "verify"], "the image of the former source is still there"


def test_until_stops_there_and_asks_nothing_further(bench: Bench) -> None:
    records = bench.run(until="push")
    assert bench.world.makes == ["sync", "build", "push"]
    assert isinstance(records[-1].artifact, Images)
    bench.run(until="push")
    assert bench.world.calls == ["push.find"]


def test_until_build_asks_the_build_host(bench: Bench) -> None:
    bench.run()
    bench.run(until="build")
    assert bench.world.calls == ["build.find"]


def test_until_an_unknown_stage_is_refused_before_anything(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="no provision stage") as caught:
        bench.run(until="provision")
    assert "sync, build, push" in caught.value.mend
    assert bench.world.calls == []
    assert index_of(bench.plan, "push") == 2


def test_changed_options_of_a_stage_are_another_outcome(bench: Bench) -> None:
    stage = bench.plan[1]
    other = type(stage)(stage.verb, stage.driver, Options("another"))
    assert stage.key("parent") != other.key("parent")
    assert stage.key("parent") != stage.key("other parent")
    assert stage.key("parent") == type(stage)(stage.verb, stage.driver, Options()).key("parent")


class Tagging(World):
    """A registry where an image gets another tag later, and a deploy that writes the tag down."""

    tag = "sha-1"

    def has(self, verb: str, given: Any) -> Any:
        found = super().has(verb, given)
        if verb == "push" and isinstance(found, Images):
            named = dataclasses.replace(found, images=(dataclasses.replace(found.images[0], tag=self.tag),))
            return named if self.get("tag") == self.tag else None
        return found if verb != "deploy" or self.get("written") == given.images[0].tag else None

    def make(self, verb: str, given: Any) -> Any:
        if verb == "push":
            self.put("tag", self.tag)
        if verb == "deploy":
            self.put("written", given.images[0].tag)
        return super().make(verb, given)


def test_an_image_that_is_called_something_else_now_is_deployed_under_that(bench: Bench) -> None:
    """A commit that becomes a release later: the same content, so the same id, but the deploy behind it is given another tag."""
    bench.world = world = Tagging(bench.folder / "tagging")
    bench.plan = world.plan()
    bench.run()
    world.tag = "v1.2.3"
    bench.run()
    assert world.makes == ["push", "deploy", "verify"]
    assert world.get("written") == "v1.2.3"
    bench.run()
    assert world.makes == ["verify"]
    assert world.calls.count("deploy.find") == 1, "what is known is the new name"


def _knowing(bench: Bench) -> None:
    """Another clone, with no records, whose build host is empty; the registry proves what it has of a source."""

    def known(_spec: Any, at: Any, _site: Site) -> Finding:
        with bench.world.call("push.known"):
            images = Images(at, (Image("registry/app", digest_of(at), at.label),))
            return Finding(images, "proved") if bench.world.get(f"registry/{digest_of(at)[7:]}") else Finding(None)

    for at in (ONE, TWO):
        bench.world.drop(f"trees/{at.tree}")
        bench.world.drop(f"bundles/{at.tree}")
    bench.folder = bench.folder / "clone"
    bench.site = bench.new_site()
    bench.world.calls.clear()
    bench.plan = tuple(
        dataclasses.replace(stage, driver=dataclasses.replace(stage.driver, known=known)) if stage.verb == "push" else stage
        for stage in bench.plan
    )


def test_a_clone_without_records_makes_nothing_of_what_the_registry_proves(bench: Bench) -> None:
    bench.run()
    _knowing(bench)
    facts = planned.rows(look(bench.plan, bench.site, source=ONE))
    assert [line.split()[:2] for line in planned.show({"plan": facts, "refused": (), "frozen": ()})] == [
        ["sync", "skip"], ["build", "skip"], ["push", "there"], ["deploy", "there"], ["verify", "to"],
    ]  # fmt: skip
    bench.run()
    assert bench.world.makes == ["verify"]
    bench.world.calls.clear()
    bench.run()
    assert bench.world.makes == ["verify"]
    assert bench.world.count("push.known") == 1, "asked anew by each run: what was known an hour ago is no proof"
    bench.world.drop("live")
    bench.run(until="deploy")
    assert bench.world.makes == ["deploy"], "what somebody else has pushed is deployed from here"


def test_a_registry_that_proves_nothing_is_no_reason_to_stop(bench: Bench) -> None:
    _knowing(bench)
    bench.world.before["push.known"] = [Transient("away"), AuthError("not allowed")]
    bench.run(TWO)
    assert bench.world.makes == list(VERBS)


def test_verify_is_always_fresh(bench: Bench) -> None:
    for _ in range(3):
        bench.run()
        assert bench.world.count("verify.make") == 1
        assert bench.world.count("verify.find") == 0


# retry


def test_transient_is_tried_again_after_a_look(bench: Bench) -> None:
    bench.run(until="build")
    bench.world.before["push.make"] = [Transient("reset"), Transient("reset again")]
    records = bench.run(until="push")
    assert bench.world.calls == [
        "push.find", "build.find", "push.make", "push.find", "push.make", "push.find", "push.make", "push.find",
    ]  # fmt: skip
    record = records[-1]
    assert [(entry["attempt"], entry["error"], entry["kind"]) for entry in record.detail["attempts"]] == [
        (1, "reset", "TRANSIENT"),
        (2, "reset again", "TRANSIENT"),
    ]
    assert record.detail["tries"] == 3
    assert len(bench.told(What.RETRY)) == len(bench.clock.slept) == 2


@pytest.mark.parametrize("error", [Ambiguous("timed out"), Transient("reset"), RateLimited("later", retry_after=1)])
def test_a_make_that_had_worked_is_found_not_repeated(bench: Bench, error: Transient) -> None:
    bench.world.after["deploy.make"] = [error]
    bench.run()
    assert bench.world.count("deploy.make") == 1
    assert bench.world.live["revision"] == 1
    assert bench.last("deploy", "made").detail["attempts"][0]["error"] == error.what


def test_a_last_attempt_that_had_worked_is_found(bench: Bench) -> None:
    bench.world.before["push.make"] = [Transient("reset")]
    bench.world.after["push.make"] = [Ambiguous("no answer")]
    bench.run(policy=Policy(attempts=2))
    assert bench.world.count("push.make") == 2
    assert bench.last("push", "made").artifact == bench.world.has("push", bench.world.has("build", Tree(ONE, "builder", "x")))


def test_exhausted_retries_end_in_the_last_error(bench: Bench) -> None:
    bench.world.before["push.make"] = [Transient(f"reset {number}") for number in range(9)]
    with pytest.raises(Transient) as caught:
        bench.run(policy=Policy(attempts=3))
    assert (caught.value.what, caught.value.attempts, caught.value.stage) == ("reset 2", 3, "push")
    detail = bench.last("push", "failed").detail
    assert [entry["error"] for entry in detail["attempts"]] == ["reset 0", "reset 1"]
    assert (detail["error"], detail["tries"], detail["exit_code"]) == ("reset 2", 3, 10)
    assert bench.world.count("deploy.make") == 0


@pytest.mark.parametrize(
    "error", [ConfigError("x"), AuthError("x"), BuildError("x"), IntegrityError("x"), ResourceError("x"), Locked("x"), NotRolledBack("x")]
)
def test_other_errors_are_not_tried_again(bench: Bench, error: PipelineError) -> None:
    bench.world.before["push.make"] = [error]
    with pytest.raises(type(error)) as caught:
        bench.run()
    assert caught.value is error
    assert error.stage == "push"
    assert bench.world.count("push.make") == 1
    assert bench.clock.slept == []
    assert bench.last("push", "failed").detail["kind"] == error.kind


def test_a_look_is_tried_again_and_its_failure_is_recorded(bench: Bench) -> None:
    bench.world.before["push.find"] = [Transient("refused")]
    bench.run(until="push")
    assert bench.world.makes == ["sync", "build", "push"]
    bench.world.before["push.find"] = [AuthError("denied")]
    with pytest.raises(AuthError) as caught:
        bench.run(until="push")
    assert caught.value.stage == "push"
    assert bench.last("push", "failed").detail["error"] == "denied"
    assert bench.world.makes == []


def test_a_lock_that_cannot_be_asked_for_is_asked_again(bench: Bench) -> None:
    bench.world.before["deploy.lock"] = [Transient("api is away")]
    bench.run()
    assert bench.world.entered == ["in", "out"]


def test_a_held_lock_ends_the_run_before_anything_is_intended(bench: Bench) -> None:
    bench.world.before["deploy.lock"] = [Locked("held by u@h")]
    with pytest.raises(Locked):
        bench.run()
    assert ("deploy", "intent") not in rows(bench.site.records.path)
    assert bench.world.live is None


def test_somebody_else_did_it_while_this_one_waited_for_the_lock(bench: Bench) -> None:
    bench.run(until="push")
    other = World(bench.folder / "world")
    images = bench.world.has("push", bench.world.has("build", Tree(ONE, "builder", "x")))
    bench.world.before["deploy.lock"] = [lambda: _ignore(other.make("deploy", images))]
    records = bench.run(until="deploy")
    assert bench.world.count("deploy.make") == 0
    assert (records[-1].stage, records[-1].state) == ("deploy", "found")
    assert bench.world.live["revision"] == 1


def test_drifted_where_looking_again_shows_something_else(bench: Bench) -> None:
    stage = bench.plan[3]
    made = Release(ONE, (), "lab", "ns", "app", 1, "mine")
    driver = _replace(stage.driver, make=lambda *_: made)
    plan = (*bench.plan[:3], type(stage)("deploy", driver, stage.spec))
    with pytest.raises(Drifted) as caught:
        run(plan, bench.site, source=ONE)
    assert made.id in caught.value.what
    assert "deploy is wanted" in caught.value.cause
    assert bench.last("deploy", "failed").detail["exit_code"] == 14


# records and events


def test_intent_is_on_disk_before_make(bench: Bench) -> None:
    seen: list[list[tuple[str, str]]] = []
    for verb in VERBS:
        bench.world.before[f"{verb}.make"] = [lambda: seen.append(rows(bench.site.records.path))]
    bench.run()
    assert [there[-1] for there in seen] == [(verb, "intent") for verb in VERBS]


def test_r10_unwritable_records_end_the_run_before_anything(bench: Bench) -> None:
    bench.site.records.close()
    (bench.folder / ".pipeline").write_text("in the way")
    with pytest.raises(ConfigError):
        bench.run()
    assert bench.world.makes == []


def test_r02_a_success_that_cannot_be_recorded_is_said_and_found_next_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    full = ResourceError("no space left")
    outcome = bench.site.records.outcome

    def refuse(*args: Any) -> Record:
        if args[1] == "push":
            raise full
        return outcome(*args)

    with monkeypatch.context() as patch:
        patch.setattr(bench.site.records, "outcome", refuse)
        with pytest.raises(ResourceError) as caught:
            bench.run()
    assert caught.value.exit_code == 19
    assert caught.value.stage == "push"
    assert bench.world.count("deploy.make") == 0
    assert [record.stage for record in bench.site.records.unfinished()] == ["push"]
    bench.run()
    assert "push" not in bench.world.makes
    assert bench.site.records.unfinished() == []


def test_a_failure_that_cannot_be_recorded_is_still_the_one_that_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any) -> Record:
        raise ResourceError("no space left")

    bench.run(until="push")
    bench.world.before["deploy.make"] = [NotRolledBack("half of it is there", mend="look now")]
    monkeypatch.setattr(bench.site.records, "outcome", refuse)
    with pytest.raises(NotRolledBack):
        bench.run()
    assert any("could not be recorded" in event.text for event in bench.told(What.WARN))


def test_ctrl_c_is_recorded_as_cancelled(bench: Bench) -> None:
    bench.world.before["build.make"] = [KeyboardInterrupt()]
    with pytest.raises(Cancelled) as caught:
        bench.run()
    assert (caught.value.exit_code, caught.value.stage) == (130, "build")
    assert bench.last("build", "failed").detail["kind"] == "CANCELLED"
    assert bench.told(What.FAILED)[0].data["error"]["exit_code"] == 130
    bench.run()
    assert bench.world.makes[0] == "build"


def test_sigterm_is_recorded_as_cancelled(bench: Bench) -> None:
    bench.world.before["build.make"] = [Cancelled("stopped by SIGTERM", signal=15)]
    with pytest.raises(Cancelled) as caught:
        bench.run()
    assert caught.value.exit_code == 143
    assert bench.last("build", "failed").detail["exit_code"] == 143


def test_ctrl_c_during_a_look_does_not_wait_for_other_looks(bench: Bench) -> None:
    bench.run()
    hold = threading.Event()
    bench.world.before["push.find"] = [lambda: _ignore(hold.wait(30))]
    bench.world.before["deploy.find"] = [KeyboardInterrupt()]
    try:
        with pytest.raises(Cancelled) as caught:
            bench.run()
    finally:
        hold.set()
    assert caught.value.exit_code == 130
    assert bench.world.makes == []


def test_a_defect_of_a_driver_is_recorded_and_comes_out_as_it_is(bench: Bench) -> None:
    bench.world.before["push.make"] = [ZeroDivisionError("oh")]
    with pytest.raises(ZeroDivisionError):
        bench.run()
    detail = bench.last("push", "failed").detail
    assert "a defect in push" in detail["error"]
    assert bench.site.records.unfinished() == []


def test_the_failure_of_a_look_nobody_needs_does_not_matter(bench: Bench) -> None:
    bench.run()
    bench.world.before["push.find"] = [AuthError("the registry says no")]
    bench.world.before["deploy.find"] = [AuthError("the cluster says no")]
    with pytest.raises(AuthError, match="the cluster says no"):
        bench.run()
    stage = bench.plan[3]
    alone = (*bench.plan[:3], type(stage)("deploy", _replace(stage.driver, stands_alone=True), stage.spec))
    bench.world.before["push.find"] = [AuthError("the registry says no")]
    bench.world.calls.clear()
    assert run(alone, bench.site, source=ONE)[-1].state == "found"
    assert bench.world.calls == ["deploy.find"]


def test_damaged_records_are_told(bench: Bench) -> None:
    bench.run()
    bench.site.records.close()
    bench.site.records.path.write_bytes(b"not a database, whatever it was" * 300)
    bench.run()
    assert bench.world.makes == ["verify"]
    warning = bench.told(What.WARN)[0]
    assert "corrupt-" in warning.text


def test_g02_secrets_leave_neither_by_events_nor_records_nor_errors(bench: Bench) -> None:
    canary = "s3cr3t-canary-value"
    bench.site.secrets.guard(canary)
    error = BuildError(f"what {canary}", cause=f"cause {canary}", mend=f"mend {canary}", log=f"/log/{canary}")
    bench.world.before["build.make"] = [Transient(f"first {canary}"), error]
    with pytest.raises(BuildError) as caught:
        bench.run()
    shown = [caught.value.what, caught.value.cause, caught.value.mend, caught.value.log, str(caught.value), repr(caught.value)]
    shown += [repr(event) for event in bench.events]
    shown += [repr(record) for record in bench.site.records.history()]
    shown.append(on_disk(bench.site.records))
    assert len(shown) > 15
    assert [text for text in shown if canary in text] == []
    assert "[secret]" in caught.value.cause


def test_g02_why_is_masked_wherever_it_is_told_or_written(bench: Bench) -> None:
    """Of what is made, of what is found, and of the way back; by the records themselves, whoever writes them."""
    canary = "s3cr3t-canary-value"
    bench.site.secrets.guard(canary)
    records = bench.site.records
    for _ in ("written down", "known by then, and not written again"):
        walk = Walk(bench.plan, bench.site, ONE)
        walk.found(0, ONE, f"found, since {canary}")
        assert walk.records[0].detail["why"] == "found, since [secret]"
    records.intend("run", "deploy", "key", "", f"way back from {canary}")
    records.outcome("run", "deploy", "key", "", "failed", None, 0.0, {"why": f"{canary} was live", "tries": [{"error": canary}]})
    bench.site.tell(What.ACT, "deploy", f"because of {canary}", why=[canary])
    written = [record.detail for record in records.history()] + [record.detail for record in records.unfinished()]
    assert any("[secret] was live" in str(detail) for detail in written)
    assert "way back from [secret]" in on_disk(records)
    assert canary not in str(written) + str(bench.events) + on_disk(records)


def test_events_tell_the_story(bench: Bench) -> None:
    bench.run(until="build")
    assert [f"{event.what.value} {event.stage}".strip() for event in bench.events] == [
        "plan", "look sync", "act sync", "made sync", "look build", "act build", "made build", "done",
    ]  # fmt: skip
    assert bench.events[0].data["stages"] == ["sync", "build"]
    assert bench.told(What.DONE)[0].data["changed"] == ["sync", "build"]
    bench.run(until="build")
    assert [event.what.value for event in bench.events] == ["plan", "look", "found", "done"]
    assert bench.events[0].data["usual"]["build"] is not None


def test_waiting_for_somebody_elses_lock_is_not_the_stages_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """585 s of waiting for another build counted as what a build usually takes."""
    lock = bench.world.lock

    @contextlib.contextmanager
    def waited() -> Iterator[None]:
        bench.clock.advance(300)
        with lock():
            yield

    def build() -> None:
        bench.clock.advance(600)
        count_wait(bench.site, "build", 585)

    def late() -> None:
        bench.clock.advance(4)
        count_wait(bench.site, "build", 585)  # as who joins a build hears that has waited before

    monkeypatch.setattr(bench.world, "lock", waited)
    bench.world.after["build.make"] = [build, late]
    bench.world.after["deploy.make"] = [lambda: bench.clock.advance(20)]
    bench.run()
    assert [event.data["seconds"] for event in bench.told(What.MADE) if event.stage in ("build", "deploy")] == [15, 20]
    assert bench.site.records.usual("build") == 15
    assert bench.site.records.usual("deploy") == 20
    bench.run(source("two"), until="build")
    assert bench.last("build", "made").seconds == 0


def test_a_failure_is_told_once(bench: Bench) -> None:
    bench.world.before["build.make"] = [BuildError("it failed", cause="line 7")]
    with pytest.raises(BuildError):
        bench.run()
    failed = bench.told(What.FAILED)
    assert [(event.stage, event.text, event.data["error"]["cause"]) for event in failed] == [("build", "it failed", "line 7")]
    assert bench.told(What.DONE) == []


# verify, and what it means for a release


def test_v06_failed_verification_of_this_runs_release_takes_it_back(bench: Bench) -> None:
    bench.run()
    good = bench.world.live["digest"]
    bench.world.before["verify.make"] = [VerifyError("the page is broken", cause="GET / 500")]
    with pytest.raises(RolledBack) as caught:
        bench.run(TWO)
    assert bench.world.live["digest"] == good
    assert caught.value.exit_code == 16
    assert "GET / 500" in caught.value.cause
    assert bench.last("verify", "failed").detail["exit_code"] == 16
    assert bench.last("deploy", "made").artifact != bench.last("verify", "failed").artifact
    assert bench.world.entered[-2:] == ["in", "out"]
    assert bench.world.calls[-2:] == ["deploy.lock", "deploy.undo"]


def test_v06_first_release_that_fails_stays_and_is_said_to(bench: Bench) -> None:
    bench.world.before["verify.make"] = [VerifyError("the page is broken")]
    with pytest.raises(NotRolledBack, match="no release before it"):
        bench.run()


def test_v06_without_a_deploy_in_this_run_nothing_is_taken_back(bench: Bench) -> None:
    bench.run()
    bench.world.before["verify.make"] = [VerifyError("the page is broken")]
    with pytest.raises(VerifyError) as caught:
        bench.run()
    assert caught.value.exit_code == 18
    assert bench.world.count("deploy.undo") == 0
    assert bench.world.live["revision"] == 1


@pytest.mark.parametrize("broken", [AuthError("api says no", cause="403"), KeyboardInterrupt(), KeyError("defect")])
def test_v06_an_undo_that_fails_is_not_rolled_back(bench: Bench, broken: BaseException) -> None:
    bench.run()
    bench.world.before["verify.make"] = [VerifyError("the page is broken", cause="GET / 500")]
    bench.world.before["deploy.undo"] = [broken]
    with pytest.raises(NotRolledBack) as caught:
        bench.run(TWO)
    assert "was not taken back" in caught.value.what
    assert "GET / 500" in caught.value.cause
    assert caught.value.mend
    assert bench.last("verify", "failed").detail["exit_code"] == 17


def test_v06_undo_is_tried_again_where_the_way_to_the_cluster_fails(bench: Bench) -> None:
    bench.run()
    good = bench.world.live["digest"]
    bench.world.before["verify.make"] = [VerifyError("the page is broken")]
    bench.world.before["deploy.undo"] = [Transient("reset"), Transient("reset")]
    with pytest.raises(RolledBack):
        bench.run(TWO)
    assert bench.world.live["digest"] == good


def test_v06_an_undo_that_says_nothing_is_not_believed(bench: Bench) -> None:
    bench.run()
    stage = bench.plan[3]
    plan = list(bench.plan)
    plan[3] = type(stage)("deploy", _replace(stage.driver, undo=lambda *_: None), stage.spec)
    bench.world.before["verify.make"] = [VerifyError("the page is broken")]
    with pytest.raises(NotRolledBack, match="was not taken back"):
        run(tuple(plan), bench.site, source=TWO)


@pytest.mark.parametrize("crash", [RuntimeError("verifier fell over"), Transient("no way there"), KeyboardInterrupt()])
def test_v07_a_verifier_that_crashed_leaves_the_release_unverified(bench: Bench, crash: BaseException) -> None:
    bench.world.before["verify.make"] = [crash] * 5
    with pytest.raises((RuntimeError, Transient, Cancelled)):
        bench.run()
    assert bench.world.count("deploy.undo") == 0
    assert bench.site.records.last("verify") is None, "nothing says that it is good"
    assert bench.last("verify", "failed").detail["tries"] == (5 if isinstance(crash, Transient) else 1)


def test_verify_live_checks_what_runs_and_contacts_nothing_else(bench: Bench) -> None:
    bench.run()
    bench.world.calls.clear()
    record = verify_live(bench.plan, bench.site)
    assert bench.world.calls == ["deploy.live", "verify.make"]
    assert isinstance(record.artifact, Report)
    assert record.artifact.passed
    assert bench.last("verify", "made").run == record.run


def test_verify_live_never_takes_back(bench: Bench) -> None:
    bench.run()
    bench.world.before["verify.make"] = [VerifyError("the page is broken")]
    with pytest.raises(VerifyError):
        verify_live(bench.plan, bench.site)
    assert bench.world.live["revision"] == 1


def test_verify_live_with_nothing_live_says_so(bench: Bench) -> None:
    with pytest.raises(VerifyError, match="nothing is deployed yet") as caught:
        verify_live(bench.plan, bench.site)
    assert (caught.value.mend, caught.value.stage) == ("inv deploy", "deploy")


def test_verify_live_tries_again(bench: Bench) -> None:
    bench.run()
    bench.world.before["deploy.live"] = [Transient("reset")]
    assert verify_live(bench.plan, bench.site).state == "made"


def test_verify_live_without_a_deploy_stage_is_refused(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="can tell what is live"):
        verify_live((*bench.plan[:3], bench.plan[4]), bench.site)


# dry run


def test_look_makes_nothing_and_writes_nothing(bench: Bench) -> None:
    findings = look(bench.plan, bench.site, source=ONE)
    assert [(stage.verb, finding.artifact is None, finding.why) for stage, finding in findings] == [
        ("sync", True, "sync is wanted"),
        ("build", True, "waits for sync"),
        ("push", True, "waits for build"),
        ("deploy", True, "waits for push"),
        ("verify", True, "waits for deploy"),
    ]
    assert bench.world.calls == ["sync.find", "deploy.live"], "nothing is known here of what is live"
    bench.run()
    before = rows(bench.site.records.path)
    bench.world.calls.clear()
    findings = look(bench.plan, bench.site, source=ONE)
    assert [finding.artifact is not None for _, finding in findings] == [True, True, True, True, False]
    assert findings[-1][1].why == "always asked afresh"
    assert bench.world.makes == []
    assert rows(bench.site.records.path) == before


def test_look_asks_about_what_the_records_know(bench: Bench) -> None:
    bench.run()
    for path in (bench.folder / "world" / "trees").iterdir():
        path.unlink()
    findings = {stage.verb: finding for stage, finding in look(bench.plan, bench.site, source=ONE, until="deploy")}
    assert findings["sync"].artifact is None
    assert findings["deploy"].artifact is not None


def test_look_names_the_stage_that_cannot_be_asked(bench: Bench) -> None:
    bench.world.before["sync.find"] = [AuthError("denied")]
    with pytest.raises(AuthError) as caught:
        look(bench.plan, bench.site, source=ONE)
    assert caught.value.stage == "sync"


def _ignore(_value: object) -> None:
    return None


def _replace(driver: Any, **changes: Any) -> Any:
    return dataclasses.replace(driver, **changes)
