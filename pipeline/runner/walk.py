"""One run over a plan, backwards from its goal: what is there is found, what is missing is made, what is not needed is not asked."""

from __future__ import annotations

import contextlib
import threading
import uuid
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from pipeline.artifacts import Artifact, Image, Images, Release, Source, content_hash
from pipeline.errors import Cancelled, PipelineError, Transient
from pipeline.events import What
from pipeline.records import FAILED, FOUND, Record
from pipeline.retry import Notice, Policy, retrying
from pipeline.runner import over
from pipeline.runner.act import ALWAYS, act
from pipeline.runner.heard import heard
from pipeline.stage import Finding, Plan, Site, Stage, stores


@dataclass
class Walk:
    """One run over `plan`: what is looked up once is kept. Without a `policy` each driver has its own."""

    plan: Plan
    site: Site
    source: Source
    policy: Policy | None = None
    over: str = ""
    again: bool = False

    def __post_init__(self) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.keys = [self.source.id]
        for stage in self.plan:
            self.keys.append(stage.key(self.keys[-1]))
        self.known: dict[int, Artifact | None] = {-1: self.source}
        self.proved: dict[int, Finding] = {}
        self.done: dict[int, Artifact] = {-1: self.source}
        self.looks: dict[tuple[int, str, tuple[str, ...]], Future[Finding]] = {}
        self.records: dict[int, Record] = {}
        self.made: list[int] = []
        self.told: PipelineError | None = None
        self.last = len(self.plan) - 1
        self.warmed = False
        self.checked = False
        self.watchers = contextlib.ExitStack()
        self.asked_live = False

    def until(self, last: int) -> list[Record]:
        """The records of the stages that were asked, the last one being `last`."""
        began = self.site.clock.monotonic()
        self.last = last
        stages = [stage.verb for stage in self.plan[: last + 1]]
        try:
            usual = {verb: self.site.records.usual(verb) for verb in stages}
            text = f"{self.source.label} to {stages[-1]}"
            self.site.tell(What.PLAN, "", text, stages=stages, usual=usual, source=self.source.label)
            if aside := self.site.records.set_aside:
                self.site.tell(What.WARN, "", f"the records were damaged and are now in {aside}; the world is asked instead")
            self.look_ahead(last)
            with self.watchers:
                self.ensure(last)
        except PipelineError as error:
            raise self.failed("", error)  # noqa: B904  # the same error, filled in
        except KeyboardInterrupt as error:
            raise self.failed("", Cancelled("stopped")) from error
        changed = [self.plan[number].verb for number in self.made if not self.plan[number].driver.fresh]
        text = ", ".join(changed) + " done" if changed else "nothing to do, it is there already"
        seconds = self.site.clock.monotonic() - began
        self.site.tell(What.DONE, "", f"{self.source.label}: {text}", seconds=seconds, changed=changed)
        return [self.records[number] for number in sorted(self.records)]

    def expected_input(self, number: int) -> Artifact | None:
        """What stage `number` was given the last time this source came through, as recorded, or as the world proves it: a thing to ask
        about."""
        return self.recorded(number - 1) or self.from_world(number - 1).artifact

    def recorded(self, number: int) -> Artifact | None:
        """What stage `number` gave the last time this source came through."""
        if number not in self.known:
            self.known[number] = self.site.records.artifact(self.keys[number + 1])
        return self.known[number]

    def from_world(self, number: int) -> Finding:
        """What stage `number` made of this source as the world proves it, though nothing is known here of the stages before it. Where it
        cannot be asked now, nothing is known: who needs it asks again."""
        stage = self.plan[number]
        if number not in self.proved:
            self.proved[number] = Finding(None)
            if stage.driver.known and self.recorded(number - 1) is None:
                with contextlib.suppress(PipelineError):
                    self.proved[number] = stage.driver.known(stage.spec, self.source, self.site)
        return self.proved[number]

    def from_live(self, number: int) -> Artifact | None:
        """What stage `number` would be given, where what is live was made of this very source."""
        stage = self.plan[number]
        if stage.driver.live is None or stage.driver.takes is not Images:
            return None
        live = stage.driver.live(stage.spec, self.site)
        same = isinstance(live, Release) and live.source.id == self.source.id and bool(live.images)
        return Images(self.source, live.images) if same and isinstance(live, Release) else None

    def look_ahead(self, last: int) -> None:
        """Ask, all at once, what decides whether the goal is there: backwards until something that stands alone."""
        for number in range(last, -1, -1):
            driver = self.plan[number].driver
            if driver.fresh:
                continue
            if (expected := self.expected_input(number)) is None:
                continue
            self.ask(number, expected)
            if driver.stands_alone:
                return

    def ask(self, number: int, given: Artifact) -> None:
        """Start a look on its own thread: one that nobody waits for any more does not hold up the end of the process."""
        self.site.tell(What.LOOK, self.plan[number].verb, "looks")
        answer = self.looks[number, given.id, given.names] = Future()

        def find() -> None:
            try:
                answer.set_result(self.find(number, given))
            except BaseException as error:  # whoever waits for the answer gets it
                answer.set_exception(error)

        threading.Thread(target=find, name=f"look-{self.plan[number].verb}", daemon=True).start()

    def check(self, first: int) -> None:
        """Have the stages from `first` on look at what they will need, once and before anything is done."""
        for number in () if self.checked else range(first, self.last + 1):
            stage, started = self.plan[number], self.site.clock.now()
            try:
                if stage.driver.live:
                    over.check_dirty(self.site, self.source)
                if stage.driver.check:
                    stage.driver.check(stage.spec, self.site)
                if stage.driver.rehearse and (given := self.presumed(first, number)):
                    stage.driver.rehearse(stage.spec, given, self.site)
            except PipelineError as error:
                raise self.gave_up(number, error, started, [])  # noqa: B904  # the same error, filled in
        self.checked = True

    def presumed(self, first: int, last: int) -> Source | Images | None:
        """What stage `last` will be given as far as it is known: the source, or the images that the blueprint names; None if no stage from
        `first` on makes any."""
        if issubclass(self.plan[last].driver.takes, Source):
            return self.source
        making = [stage for stage in self.plan[first:last] if issubclass(stage.driver.gives, Images) and stage.driver.stores]
        found = stores(tuple(making), self.site)
        places = [f"{self.site.registry(store.registry).address}/{store.repository}" for store in found]
        images = tuple(Image(place, f"sha256:{content_hash(place)}", self.source.label) for place in places)
        return Images(self.source, images) if making else None

    def check_live(self, first: int) -> None:
        """Have what is live, and what a release takes from elsewhere, looked at before the stages up to it are made; what cannot be asked
        now is asked when it is needed."""
        for number in () if self.asked_live else range(first + 1, self.last + 1):
            stage, started = self.plan[number], self.site.clock.now()
            try:
                with contextlib.suppress(Transient):
                    if stage.driver.present:
                        stage.driver.present(stage.spec, self.site)
                with contextlib.suppress(Transient):
                    if stage.driver.live:
                        over.check(stage.standing(self.site), self.source, self.site, self.over, again=self.again)
            except PipelineError as error:
                raise self.gave_up(number, error, started, [])  # noqa: B904  # the same error, filled in
        self.asked_live = True

    def warm(self, after: int) -> None:
        """Have the stages behind `after` open their connections while it works."""
        waiting = [stage for stage in self.plan[after + 1 : self.last + 1] if stage.driver.warm]

        def open_all() -> None:
            for stage in waiting:
                with contextlib.suppress(Exception):  # whoever needs the connection tries again, and tells
                    stage.driver.warm(stage.spec, self.site)  # type: ignore[misc]

        if waiting and not self.warmed:
            self.warmed = True
            threading.Thread(target=open_all, name="warm", daemon=True).start()

    def watch(self, number: int) -> None:
        """Let the stage behind `number` watch from now on what comes of it, until the end of the run."""
        following = self.plan[number + 1 : number + 2]
        for stage in following:
            if stage.driver.watch:
                self.watchers.enter_context(stage.driver.watch(stage.spec, self.site))

    def ensure(self, number: int) -> Artifact:
        """The artifact of stage `number`, found or made."""
        if number in self.done:
            return self.done[number]
        driver = self.plan[number].driver
        expected = None if driver.fresh else self.expected_input(number)
        if expected is not None:
            finding = self.look(number, expected)
            if finding.artifact and (driver.stands_alone or same(self.ensure(number - 1), expected)):
                return self.found(number, finding.artifact, finding.why)
        elif proof := self.from_world(number).artifact:
            return self.found(number, proof, self.from_world(number).why)
        given = self.ensure(number - 1)
        finding = Finding(None, ALWAYS) if driver.fresh else self.look(number, given)
        if finding.artifact:
            return self.found(number, finding.artifact, finding.why)
        return act(self, number, given, finding.why)

    def look(self, number: int, given: Artifact) -> Finding:
        """What the stage finds, asked once. Where it cannot be asked, that is recorded as the failure of the stage."""
        started = self.site.clock.now()
        answer = self.looks.get((number, given.id, given.names))
        try:
            if answer is not None:
                return answer.result()
            self.site.tell(What.LOOK, self.plan[number].verb, "looks")
            answer = self.looks[number, given.id, given.names] = Future()
            answer.set_result(self.find(number, given))
            return answer.result()
        except PipelineError as error:
            raise self.gave_up(number, error, started, [])  # noqa: B904  # the same error, filled in

    def patience(self, stage: Stage) -> Policy:
        return self.policy or stage.driver.policy

    def find(self, number: int, given: Artifact) -> Finding:
        """Ask the driver, again and again where the way to the world fails."""
        stage = self.plan[number]
        return retrying(
            self.patience(stage),
            self.site.clock,
            lambda _attempt: stage.driver.find(stage.spec, given, self.site),
            self.notice(stage.verb, []),
        )

    def found(self, number: int, artifact: Artifact, why: str) -> Artifact:
        """Keep what was found. It is written down where the records did not know it, and where an intent waits for its outcome."""
        verb, key, parent = self.plan[number].verb, self.keys[number + 1], self.keys[number]
        detail = {"why": self.site.secrets.mask(why)}
        now = self.site.clock.now()
        known = self.recorded(number)
        if known is not None and same(known, artifact) and not self.site.records.interrupted(verb):
            self.records[number] = Record(self.id, verb, key, parent, FOUND, artifact, detail, "", now, now)
        else:
            self.records[number] = self.site.records.outcome(self.id, verb, key, parent, FOUND, artifact, now, detail)
        self.done[number] = artifact
        self.site.tell(What.FOUND, verb, why or artifact.id, artifact=artifact)
        return artifact

    def gave_up(self, number: int, error: PipelineError, started: float, attempts: list[dict[str, Any]]) -> PipelineError:
        """Write the failure of a stage down and tell it."""
        return self.wrote_failure(self.plan[number].verb, self.keys[number + 1], self.keys[number], error, started, attempts)

    def wrote_failure(
        self, verb: str, key: str, parent: str, error: PipelineError, started: float, attempts: list[dict[str, Any]]
    ) -> PipelineError:
        """A record that cannot be written does not hide what happened."""
        self.mask(error)
        detail = {**facts(error), "attempts": attempts, "tries": error.attempts}
        try:
            self.site.records.outcome(self.id, verb, key, parent, FAILED, None, started, detail)
        except PipelineError as unwritten:
            self.site.tell(What.WARN, verb, f"this failure could not be recorded: {unwritten.what}")
        return self.failed(verb, error)

    def failed(self, verb: str, error: PipelineError) -> PipelineError:
        """The error with its stage filled in and no secret in it, told once."""
        if error is not self.told:
            self.told = error
            self.mask(error)
            error.stage = error.stage or verb
            self.site.tell(What.FAILED, error.stage, error.what, error=facts(error))
        return error

    def mask(self, error: PipelineError) -> None:
        mask = self.site.secrets.mask
        error.what, error.cause, error.mend, error.log = mask(error.what), mask(error.cause), mask(error.mend), mask(error.log)
        error.args = (error.what,)

    def notice(self, verb: str, attempts: list[dict[str, Any]]) -> Notice:
        """Tells of an attempt that another one follows, and puts it on the list."""

        tell = heard(self.site, verb)

        def hear(error: PipelineError, attempt: int, wait: float) -> None:
            attempts.append({"attempt": attempt, "error": self.site.secrets.mask(error.what), "kind": error.kind, "wait": wait})
            tell(error, attempt, wait)

        return hear


def same(one: Artifact, other: Artifact) -> bool:
    """Whether the next stage gets the same from both."""
    return (one.id, one.names) == (other.id, other.names)


def facts(error: PipelineError) -> dict[str, Any]:
    """An error as plain values, for events and records."""
    return {
        "kind": error.kind,
        "exit_code": error.exit_code,
        "error": error.what,
        "cause": error.cause,
        "mend": error.mend,
        "log": error.log,
        "attempts": error.attempts,
    }
