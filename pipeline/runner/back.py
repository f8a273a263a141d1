"""Going back to what was live before, because a person says so: looked for under the lock, told before it is done, then verified."""

from __future__ import annotations

import dataclasses
from typing import Any

from pipeline.artifacts import Artifact, Source
from pipeline.errors import Cancelled, ConfigError, PipelineError, VerifyError
from pipeline.events import What
from pipeline.failpoint import failpoint
from pipeline.records import FOUND, MADE, Record
from pipeline.retry import Policy, retrying
from pipeline.runner.act import ALWAYS, act
from pipeline.runner.walk import Walk
from pipeline.stage import Plan, Return, Site

BACK = "back/"  # what the key of a way back begins with
NOWHERE = Source("", "", False, "")


def roll_back(plan: Plan, site: Site, *, to: str = "", despite_freeze: bool = False, policy: Policy | None = None) -> list[Record]:
    """Take what is live back to the one before it, or to the one that `to` names, and verify it; the records of both.

    Raises ConfigError where no stage can go back or there is nothing to go to, what the driver raises where it cannot, and
    VerifyError where what is live afterwards does not hold what the plan verifies: it stays live then.
    """
    able = [number for number, stage in enumerate(plan) if stage.driver.back]
    if not able:
        raise ConfigError("no stage of this blueprint can go back", mend="release the commit that was good: inv release")
    after = [number for number, stage in enumerate(plan) if stage.driver.fresh and number > able[-1]]
    verbs = [plan[number].verb for number in (able[-1], *after)]
    walk = Walk(plan, site, NOWHERE, policy)
    usual = {verb: site.records.usual(verb) for verb in verbs}
    site.tell(What.PLAN, "", f"back to {to or 'what was live before'}", stages=verbs, usual=usual, source="")
    began = site.clock.monotonic()
    record = _gone(walk, able[-1], to, despite_freeze)
    release = record.artifact
    if release is None:
        raise AssertionError("a way back ends somewhere")
    records = [record]
    for number in after:
        then = Walk(plan, site, getattr(release, "source", NOWHERE), walk.policy)
        try:
            act(then, number, release, ALWAYS)
        except VerifyError as error:
            error.mend = f"{release.id} stays live; {error.mend}"
            raise
        records.append(then.records[number])
    changed = [plan[able[-1]].verb] if record.state == MADE else []
    site.tell(What.DONE, "", str(record.detail["why"]), seconds=site.clock.monotonic() - began, changed=changed)
    return records


def _gone(walk: Walk, number: int, to: str, despite_freeze: bool) -> Record:
    """Look, tell, note the intent, go. A further attempt looks again, for the goal that the first one chose."""
    stage, site, verb = walk.plan[number], walk.site, walk.plan[number].verb
    back = stage.driver.back
    assert back is not None  # noqa: S101  # the caller has looked
    started, began = site.clock.now(), site.clock.monotonic()
    chosen: list[Return] = []
    attempts: list[dict[str, Any]] = []

    def attempt(_count: int) -> Artifact:
        site.tell(What.LOOK, verb, "looks for the way back")
        with back(stage.spec, chosen[0].name if chosen else to, despite_freeze, site) as way:
            chosen[:] = [way if not chosen else dataclasses.replace(chosen[0], go=way.go or chosen[0].go)]
            if way.go is None:
                return way.goal
            site.tell(What.ACT, verb, way.why, usual=site.records.usual(verb))
            site.records.intend(walk.id, verb, _key(way), "", way.why)
            failpoint(f"{verb}.intended")
            return way.go()

    try:
        release = retrying(walk.patience(stage), site.clock, attempt, walk.notice(verb, attempts))
    except PipelineError as error:
        raise _gave_up(walk, verb, chosen, error, started, attempts)  # noqa: B904  # the same error, filled in
    except KeyboardInterrupt as error:
        raise _gave_up(walk, verb, chosen, Cancelled(f"{verb} was stopped while it went back"), started, attempts) from error
    way = chosen[0]
    state = MADE if way.go else FOUND
    detail = {
        "why": way.why, "from": way.now.id if way.now else "", "from_revision": getattr(way.now, "revision", 0), "to": way.goal.id,
        "to_revision": getattr(way.goal, "revision", 0), "attempts": attempts, "tries": len(attempts) + 1,
    }  # fmt: skip
    record = site.records.outcome(walk.id, verb, _key(way), "", state, release, started, detail)
    if state == MADE:
        site.tell(What.MADE, verb, release.id, artifact=release, seconds=site.clock.monotonic() - began)
    else:
        site.tell(What.FOUND, verb, way.why, artifact=release)
    return record


def _gave_up(
    walk: Walk, verb: str, chosen: list[Return], error: PipelineError, started: float, attempts: list[dict[str, Any]]
) -> PipelineError:
    return walk.wrote_failure(verb, _key(chosen[0]) if chosen else BACK, "", error, started, attempts)


def _key(way: Return) -> str:
    """A key of its own: what is gone back to was made with the options of its day, which this plan's key would not say."""
    return f"{BACK}{way.goal.id}"
