"""Any order of edits, runs, losses and failures: the records never differ from the world, nothing is made twice, what was good serves."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pipeline.artifacts import Release, Report
from pipeline.errors import Ambiguous, BuildError, NotRolledBack, PipelineError, RolledBack, Transient, VerifyError
from pipeline.events import What
from pipeline.runner import look, run, verify_live
from tests.world import VERBS, World, digest_of, site, source

NAMES = ("one", "two", "three")


class Pipeline(RuleBasedStateMachine):
    """One working copy, one world."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="pipeline-machine-"))
        self.world = World(self.folder / "world")
        self.plan = self.world.plan()
        self.events: list[Any] = []
        self.open()
        self.source = source("one")
        self.good: str | None = None  # the digest that was verified last

    def open(self) -> None:
        self.site = site(self.folder, self.events.append)

    def teardown(self) -> None:
        self.site.close()
        shutil.rmtree(self.folder)

    def run(self, until: str = "") -> bool:
        self.world.calls.clear()
        self.events.clear()
        records, failure = [], None
        try:
            records = run(self.plan, self.site, until=until, source=self.source)
        except PipelineError as error:
            failure = error
        for answers in (*self.world.before.values(), *self.world.after.values()):
            answers.clear()
        told = [event.text for event in self.events if event.what is What.FAILED]
        if failure:
            assert told == [failure.what]
            assert failure.stage
            return False
        assert told == []
        assert records[-1].stage == (until or VERBS[-1])
        assert records[-1].artifact is not None
        return True

    @rule(name=st.sampled_from(NAMES))
    def edit(self, name: str) -> None:
        self.source = source(name)

    @rule(until=st.sampled_from(VERBS[:-1]))
    def run_until(self, until: str) -> None:
        assert self.run(until)
        assert self.world.calls.count(f"{until}.make") <= 1
        if until == "deploy":
            self.good = None if self.world.live["digest"] != self.good else self.good

    @rule()
    def release(self) -> None:
        assert self.run()
        self.good = self.world.live["digest"]
        assert self.good == digest_of(self.source)
        assert (self.folder / "world" / "registry" / self.good[7:]).exists()
        assert self.run(), "and once more"
        assert self.world.makes == ["verify"]
        assert sorted(call for call in self.world.calls if call != "verify.make") == ["deploy.find", "push.find"]

    @rule(verb=st.sampled_from(VERBS[:-1]), worked=st.booleans(), times=st.integers(1, 2), kind=st.sampled_from([Transient, Ambiguous]))
    def release_over_a_shaky_network(self, verb: str, worked: bool, times: int, kind: type[Transient]) -> None:
        (self.world.after if worked else self.world.before)[f"{verb}.make"] = [kind(f"shaky {number}") for number in range(times)]
        self.release()

    @rule(verb=st.sampled_from(VERBS[:-1]))
    def a_stage_fails(self, verb: str) -> None:
        before = self.world.live
        self.world.before[f"{verb}.make"] = [BuildError("it failed")]
        if not self.run():
            assert self.world.live == before
        else:
            self.good = self.world.live["digest"]

    @rule()
    def verification_fails(self) -> None:
        before = self.world.live
        self.world.before["verify.make"] = [VerifyError("the page is broken")]
        self.world.calls.clear()
        try:
            run(self.plan, self.site, source=self.source)
        except RolledBack:
            assert self.world.live["digest"] == before["digest"]
        except NotRolledBack:
            assert before is None
        except VerifyError:
            assert self.world.live == before
            assert "deploy.make" not in self.world.calls
        else:
            raise AssertionError("a failed verification was not told")

    @rule()
    def lose_records(self) -> None:
        self.site.close()
        shutil.rmtree(self.folder / ".pipeline", ignore_errors=True)
        self.open()

    @rule(name=st.sampled_from(NAMES), where=st.sampled_from(["registry", "bundles", "trees"]))
    def lose(self, name: str, where: str) -> None:
        at = source(name)
        self.world.drop(f"{where}/{digest_of(at)[7:] if where == 'registry' else at.tree}")

    @rule(name=st.sampled_from(NAMES))
    def somebody_else_deploys(self, name: str) -> None:
        if self.world.live:
            self.world.put("live", {**self.world.live, "digest": digest_of(source(name)), "revision": self.world.live["revision"] + 1})
            self.good = None

    @rule()
    def dry_run(self) -> None:
        picture, self.world.calls[:] = self.world.picture(), []
        findings = look(self.plan, self.site, source=self.source)
        assert len(findings) == len(VERBS)
        assert self.world.makes == []
        assert self.world.picture() == picture

    @rule()
    def check_what_is_live(self) -> None:
        if self.world.live:
            self.world.calls.clear()
            report = verify_live(self.plan, self.site).artifact
            assert isinstance(report, Report)
            assert report.passed
            assert self.world.makes == ["verify"]

    @invariant()
    def nothing_is_made_twice(self) -> None:
        assert self.world.wasted == []

    @invariant()
    def what_was_good_serves(self) -> None:
        if self.good is not None:
            assert self.world.live["digest"] == self.good

    @invariant()
    def the_lock_is_let_go(self) -> None:
        assert self.world.entered == ["in", "out"] * (len(self.world.entered) // 2)

    @invariant()
    def nothing_stays_open(self) -> None:
        assert self.site.records.unfinished() == []

    @invariant()
    def a_recorded_release_is_a_release(self) -> None:
        record = self.site.records.last("deploy")
        if record is not None:
            assert isinstance(record.artifact, Release)
            assert record.artifact.revision <= self.world.live["revision"]


Pipeline.TestCase.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
TestPipeline = Pipeline.TestCase
