"""Look, act, look: one loop over a plan, with retry, records and events, the no-op decided backwards from the goal."""

from __future__ import annotations

import contextlib
import signal
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipeline.artifacts import Artifact, Source
from pipeline.errors import Cancelled, ConfigError, Drifted, NotRolledBack, PipelineError, RolledBack, VerifyError
from pipeline.events import What
from pipeline.failpoint import failpoint
from pipeline.records import FAILED, FOUND, MADE, Record
from pipeline.retry import Policy, retrying
from pipeline.source import snapshot
from pipeline.stage import Finding, Plan, Site, Stage


def run(plan: Plan, site: Site, *, until: str = "", source: Source | None = None, policy: Policy | None = None) -> list[Record]:
    """Make it true up to the stage `until` (the last one where it is not named), and give a record for each stage that was asked.

    The goal is looked at first, then what it needs: where everything is there, nothing upstream of it is contacted. Each stage
    that has to act looks again before every attempt. Raises the PipelineError of the stage that gave up, after recording it.
    """
    last = index_of(plan, until) if until else len(plan) - 1
    return _Run(plan, site, source or snapshot(site.root), policy or Policy()).until(last)


def look(plan: Plan, site: Site, *, until: str = "", source: Source | None = None) -> list[tuple[Stage, Finding]]:
    """What each stage up to `until` finds, without touching anything: a dry run.

    A stage whose input does not exist yet cannot be looked for; its finding says so.
    """
    last = index_of(plan, until) if until else len(plan) - 1
    state = _Run(plan, site, source or snapshot(site.root), Policy())
    given: Artifact | None = state.source
    findings = []
    for number, stage in enumerate(plan[: last + 1]):
        expected = state.expected_input(number)
        asked = given or expected
        if asked is None:
            finding = Finding(None, f"waits for {plan[number - 1].verb}")
        elif stage.driver.fresh:
            finding = Finding(None, "always asked afresh")
        else:
            finding = state.find(number, asked)
        given = finding.artifact
        findings.append((stage, finding))
    return findings


def verify_live(plan: Plan, site: Site) -> Record:
    """Check what runs now, whatever it was made from: nothing is built, pushed or deployed.

    Raises ConfigError where the plan has no stage that can tell what is live, VerifyError where nothing is.
    """
    index = index_of(plan, "verify")
    sources = [stage for stage in plan[:index] if stage.driver.live]
    if not sources:
        raise ConfigError("no stage of this blueprint can tell what is live", mend="add a deploy stage before verify")
    stage = sources[-1]
    assert stage.driver.live is not None
    release = stage.driver.live(stage.spec, site)
    if release is None:
        raise VerifyError("nothing is deployed yet", mend="inv deploy")
    state = _Run(plan, site, getattr(release, "source", Source("", "", False, "")), Policy())
    return state.act(index, release, "always asked afresh")


def index_of(plan: Plan, verb: str) -> int:
    """Where the stage of that verb stands. Raises ConfigError where the plan has none."""
    for number, stage in enumerate(plan):
        if stage.verb == verb:
            return number
    raise ConfigError(f"the blueprint has no {verb} stage", mend="its stages are: " + ", ".join(stage.verb for stage in plan))


@dataclass
class _Run:
    """One run over a plan: what is looked up once is kept."""

    plan: Plan
    site: Site
    source: Source
    policy: Policy

    def __post_init__(self) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.keys = [self.source.id]
        for stage in self.plan:
            self.keys.append(stage.key(self.keys[-1]))
        self.known: dict[int, Artifact | None] = {-1: self.source}
        self.done: dict[int, Artifact] = {-1: self.source}
        self.looks: dict[tuple[int, str], Future[Finding]] = {}
        self.records: dict[int, Record] = {}
        self.made: list[int] = []

    def until(self, last: int) -> list[Record]:
        started = self.site.clock.monotonic()
        stages = [stage.verb for stage in self.plan[: last + 1]]
        usual = {stage.verb: self.site.records.usual(stage.verb) for stage in self.plan[: last + 1]}
        self.site.tell(
            What.PLAN, "", f"{self.source.label} to {stages[-1]}", stages=stages, usual=usual, source=self.source.label
        )
        with ThreadPoolExecutor(max_workers=4, thread_name_prefix="look") as pool:
            self.look_ahead(last, pool)
            self.ensure(last)
        seconds = self.site.clock.monotonic() - started
        changed = [self.plan[number].verb for number in self.made if not self.plan[number].driver.fresh]
        self.site.tell(What.DONE, "", _summary(changed, self.source), seconds=seconds, changed=changed)
        return [self.records[number] for number in sorted(self.records)]

    def expected_input(self, number: int) -> Artifact | None:
        """What stage `number` was given the last time this source came through, as recorded: a thing to ask about."""
        before = number - 1
        if before not in self.known:
            self.known[before] = self.site.records.artifact(self.keys[before + 1])
        return self.known[before]

    def look_ahead(self, last: int, pool: ThreadPoolExecutor) -> None:
        """Ask, all at once, what decides whether the goal is there: backwards until something that stands alone."""
        for number in range(last, -1, -1):
            driver = self.plan[number].driver
            if driver.fresh:
                continue
            if (expected := self.expected_input(number)) is None:
                continue
            self.looks[number, expected.id] = pool.submit(self.find, number, expected)
            if driver.stands_alone:
                return

    def ensure(self, number: int) -> Artifact:
        """The artifact of stage `number`, found or made."""
        if number in self.done:
            return self.done[number]
        driver = self.plan[number].driver
        expected = self.expected_input(number)
        if expected is not None and not driver.fresh:
            finding = self.look(number, expected)
            if finding.artifact and (driver.stands_alone or self.ensure(number - 1) == expected):
                return self.found(number, finding)
        given = self.ensure(number - 1)
        finding = Finding(None, "always asked afresh") if driver.fresh else self.look(number, given)
        if finding.artifact:
            return self.found(number, finding)
        record = self.act(number, given, finding.why)
        assert record.artifact is not None
        return record.artifact

    def look(self, number: int, given: Artifact) -> Finding:
        ahead = self.looks.get((number, given.id))
        if ahead is None:
            self.site.tell(What.LOOK, self.plan[number].verb, "looks")
        try:
            finding = ahead.result() if ahead else self.find(number, given)
        except PipelineError as error:
            raise self.failed(number, error) from error
        self.looks[number, given.id] = _settled(finding)
        return finding

    def find(self, number: int, given: Artifact) -> Finding:
        stage = self.plan[number]
        return retrying(
            self.policy,
            self.site.clock,
            lambda _attempt: stage.driver.find(stage.spec, given, self.site),
            self.notice(stage.verb, []),
        )

    def found(self, number: int, finding: Finding) -> Artifact:
        assert finding.artifact is not None
        stage, artifact = self.plan[number], finding.artifact
        key, parent = self.keys[number + 1], self.keys[number]
        if self.expected_artifact(number) == artifact:
            now = self.site.clock.now()
            self.records[number] = Record(self.id, stage.verb, key, parent, FOUND, artifact, {"why": finding.why}, "", now, now)
        else:
            now = self.site.clock.now()
            self.records[number] = self.site.records.outcome(
                self.id, stage.verb, key, parent, FOUND, artifact, now, {"why": finding.why}
            )
        self.done[number] = artifact
        self.site.tell(What.FOUND, stage.verb, finding.why or artifact.id, artifact=artifact)
        return artifact

    def expected_artifact(self, number: int) -> Artifact | None:
        return self.expected_input(number + 1)

    def act(self, number: int, given: Artifact, why: str) -> Record:
        """Make it: under the driver's lock, the intent on disk first, a look before each further attempt and one after the last."""
        stage = self.plan[number]
        driver, spec, site = stage.driver, stage.spec, self.site
        key, parent = self.keys[number + 1], self.keys[number]
        attempts: list[dict[str, Any]] = []
        try:
            with driver.exclusive(spec, given, site) if driver.exclusive else contextlib.nullcontext():
                if driver.exclusive and (finding := driver.find(spec, given, site)).artifact:
                    self.found(number, finding)  # somebody else did it while this one waited for the lock
                    return self.records[number]
                site.tell(What.ACT, stage.verb, why, usual=site.records.usual(stage.verb))
                started = site.records.intend(self.id, stage.verb, key, parent, why)
                clock = site.clock.monotonic()
                failpoint(f"{stage.verb}.intended")
                artifact = retrying(
                    self.policy,
                    site.clock,
                    lambda attempt: self.attempt(number, given, attempt),
                    self.notice(stage.verb, attempts),
                )
                failpoint(f"{stage.verb}.made")
                if not driver.fresh:
                    self.compare(stage, given, artifact)
        except (PipelineError, KeyboardInterrupt) as error:
            reason = error if isinstance(error, PipelineError) else Cancelled(f"{stage.verb} was stopped", signal=signal.SIGINT)
            if isinstance(reason, VerifyError):
                reason = self.undone(number, reason)
            site.records.outcome(
                self.id, stage.verb, key, parent, FAILED, None, site.clock.now(), {"attempts": attempts, **_told(reason, site)}
            )
            raise self.failed(number, reason) from error
        record = site.records.outcome(
            self.id, stage.verb, key, parent, MADE, artifact, started, {"why": why, "attempts": attempts}
        )
        failpoint(f"{stage.verb}.recorded")
        self.records[number] = record
        self.done[number] = artifact
        self.made.append(number)
        site.tell(What.MADE, stage.verb, artifact.id, artifact=artifact, seconds=site.clock.monotonic() - clock)
        return record

    def attempt(self, number: int, given: Artifact, attempt: int) -> Artifact:
        stage = self.plan[number]
        if attempt > 1 and not stage.driver.fresh:
            finding = stage.driver.find(stage.spec, given, self.site)
            if finding.artifact:
                return finding.artifact  # the attempt before had succeeded after all
        return stage.driver.make(stage.spec, given, self.site)

    def compare(self, stage: Stage, given: Artifact, made: Artifact) -> None:
        finding = retrying(
            self.policy,
            self.site.clock,
            lambda _attempt: stage.driver.find(stage.spec, given, self.site),
            self.notice(stage.verb, []),
        )
        if finding.artifact is None or finding.artifact.id != made.id:
            seen = finding.artifact.id if finding.artifact else finding.why
            raise Drifted(
                f"{stage.verb} made {made.id}, but looking again shows something else",
                cause=seen,
                mend=f"somebody else may be changing it; run `inv {stage.verb}` again",
            )

    def undone(self, number: int, error: VerifyError) -> PipelineError:
        """What a failed verification means for a release that this very run deployed: it is taken back where the driver can."""
        for before in range(number - 1, -1, -1):
            stage = self.plan[before]
            if stage.driver.undo is None or before not in self.made:
                continue
            try:
                stage.driver.undo(stage.spec, self.done[before], self.site, error.what)
            except (RolledBack, NotRolledBack) as outcome:
                outcome.cause = "\n".join(filter(None, (error.cause, outcome.cause)))
                return outcome
        return error

    def failed(self, number: int, error: PipelineError) -> PipelineError:
        if not error.stage:
            error.stage = self.plan[number].verb
            self.site.tell(What.FAILED, error.stage, error.what, error=_told(error, self.site))
        return error

    def notice(self, verb: str, attempts: list[dict[str, Any]]) -> Any:
        def hear(error: PipelineError, attempt: int, wait: float) -> None:
            attempts.append({"attempt": attempt, "error": self.site.secrets.mask(error.what), "kind": error.kind, "wait": wait})
            text = f"{error.what}; attempt {attempt + 1} in {wait:.1f} s"
            self.site.tell(What.RETRY, verb, text, attempt=attempt, wait=wait)

        return hear


def _settled(finding: Finding) -> Future[Finding]:
    future: Future[Finding] = Future()
    future.set_result(finding)
    return future


def _told(error: PipelineError, site: Site) -> dict[str, Any]:
    mask = site.secrets.mask
    return {
        "kind": error.kind,
        "exit_code": error.exit_code,
        "error": mask(error.what),
        "cause": mask(error.cause),
        "mend": mask(error.mend),
        "log": error.log,
    }


def _summary(changed: list[str], source: Source) -> str:
    if not changed:
        return f"nothing to do: {source.label} is there already"
    return f"{source.label}: " + ", ".join(changed) + " done"
