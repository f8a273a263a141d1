"""Rebuilding the records from the world: what is there for this source is written down, what was begun and never ended is asked about."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.artifacts import Artifact, Release, Source
from pipeline.errors import PipelineError
from pipeline.events import What
from pipeline.records import FAILED, FOUND, Record
from pipeline.retry import Policy
from pipeline.runner.act import confirm
from pipeline.runner.back import BACK
from pipeline.runner.walk import Walk
from pipeline.stage import Finding, Plan, Site, Stage

AT_WORK = 3600.0  # seconds for which what is not there yet may still be being made by somebody


@dataclass(frozen=True)
class Learnt:
    """One thing that is known now: of which `stage`, what of it (`state`: known, found, missing, closed or open), and `text` in words."""

    stage: str
    state: str
    text: str


def reconcile(plan: Plan, site: Site, source: Source, policy: Policy | None = None) -> list[Learnt]:
    """Ask each stage in turn for what it would give for `source`, and write down what is there; then close unfinished intents by asking
    the world what became of them. Nothing is made. Raises the PipelineError of a stage that cannot be asked."""
    walk = Walk(plan, site, source, policy)
    verbs = [stage.verb for stage in plan]
    site.tell(What.PLAN, "", f"what is there of {source.label}", stages=verbs, usual={}, source=source.label)
    begun, learnt = site.records.unfinished(), []
    try:
        given: Artifact | None = source
        for number, stage in enumerate(plan):
            given = None if stage.driver.fresh else given or walk.expected_input(number)
            if given is None and (given := walk.from_live(number)):
                learnt.append(Learnt(plan[number - 1].verb, "found", f"{given.id}: what is live runs it"))
                walk.found(number - 1, given, "what is live runs it")
            if given is None:
                continue
            known = walk.recorded(number)
            site.tell(What.LOOK, stage.verb, "looks")
            finding = walk.find(number, given)
            if finding.artifact is None:
                learnt.append(Learnt(stage.verb, "missing", finding.why))
            else:
                state = "known" if known is not None and known.id == finding.artifact.id else "found"
                learnt.append(Learnt(stage.verb, state, finding.artifact.id))
                walk.found(number, finding.artifact, finding.why)
                if isinstance(finding.artifact, Release):
                    confirm(walk, finding.artifact)
            given = finding.artifact
        learnt += [_closed(walk, intent) for intent in begun]
    except PipelineError as error:
        raise walk.failed("", error)  # noqa: B904  # the same error, filled in
    site.tell(What.DONE, "", f"{source.label}: the records say what the world does", seconds=0.0, changed=[])
    return learnt


def _closed(walk: Walk, intent: Record) -> Learnt:
    """Ask what became of an intent: by the artifact it was to be made from, where the records know that."""
    site, run = walk.site, f"run {intent.run}"
    number = next((number for number, stage in enumerate(walk.plan) if stage.verb == intent.stage), None)
    given = walk.source if intent.parent == walk.source.id else site.records.artifact(intent.parent)
    asked = number is not None and given is not None and not walk.plan[number].driver.fresh
    same = number is not None and walk.plan[number].key(intent.parent) == intent.key
    finding = walk.find(number, given) if asked and same and number is not None and given is not None else None
    if number is not None and intent.key.startswith(BACK):
        finding = _back(walk.plan[number], intent.key, site)
    if finding and finding.artifact:
        _end(walk, intent, FOUND, finding.artifact, {"why": f"it was there when {run} was asked about"})
        return Learnt(intent.stage, "closed", f"{run} had made {finding.artifact.id}")
    if site.clock.now() - intent.started_at < AT_WORK:
        return Learnt(intent.stage, "open", f"{run} began less than an hour ago and may still be at work: look again later")
    why = finding.why if finding else "what it was made from, or its options, are not what they were: it cannot be asked about"
    _end(walk, intent, FAILED, None, {"error": f"it never ended: {why}", "why": intent.detail.get("why", "")})
    return Learnt(intent.stage, "closed", f"{run} never ended: {why}")


def _back(stage: Stage, key: str, site: Site) -> Finding | None:
    """Whether the way back that `key` names led there: by what is live."""
    live = stage.driver.live(stage.spec, site) if stage.driver.live else None
    there = live is not None and key == f"{BACK}{live.id}"
    return Finding(live, "") if there else Finding(None, f"{live.id if live else 'nothing'} is live")


def _end(walk: Walk, intent: Record, state: str, artifact: Artifact | None, detail: dict[str, str]) -> None:
    records = walk.site.records
    records.outcome(intent.run, intent.stage, intent.key, intent.parent, state, artifact, intent.started_at, dict(detail))
