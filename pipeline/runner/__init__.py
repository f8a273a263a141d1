"""Look, act, look: one loop over a plan, with retry, records and events, the no-op decided backwards from the goal."""

from __future__ import annotations

from pipeline.artifacts import Artifact, Images, Source
from pipeline.errors import ConfigError, PipelineError, VerifyError
from pipeline.events import What
from pipeline.records import Record
from pipeline.retry import Policy, retrying
from pipeline.runner.act import ALWAYS, act
from pipeline.runner.walk import Walk
from pipeline.stage import Finding, Plan, Site, Stage

__all__ = ["index_of", "look", "run", "verify_live"]


def run(
    plan: Plan,
    site: Site,
    *,
    until: str = "",
    source: Source | None = None,
    policy: Policy | None = None,
    over: str = "",
    again: bool = False,
) -> list[Record]:
    """Make it true up to the stage `until` (the last one where it is not named), and give a record for each stage that was asked.

    The goal is looked at first, then what it needs: where everything is there, nothing upstream of it is contacted. Each stage
    that has to act looks again before every further attempt. A release whose source does not hold the commit that is live is refused
    before anything is made, and again under its lock, unless `over` names that commit. One that was taken
    back is refused alike, unless it is released `again` on purpose.

    Raises the PipelineError of the stage that gave up, after recording it.
    """
    last = index_of(plan, until) if until else len(plan) - 1
    return Walk(plan, site, source or _snapshot(site), policy, over, again).until(last)


def look(plan: Plan, site: Site, *, until: str = "", source: Source | None = None) -> list[tuple[Stage, Finding]]:
    """What each stage up to `until` finds, without touching anything: a dry run.

    A stage whose input does not exist yet cannot be looked for; its finding says so.
    """
    last = index_of(plan, until) if until else len(plan) - 1
    walk = Walk(plan, site, source or _snapshot(site))
    walk.last = last
    walk.check(0)
    given: Artifact | None = walk.source
    findings = []
    for number, stage in enumerate(plan[: last + 1]):
        try:
            asked = given or walk.expected_input(number) or walk.from_live(number)
            if stage.driver.fresh and asked:
                finding = Finding(None, ALWAYS)
            elif asked:
                finding = walk.find(number, asked)
            else:
                finding = walk.from_world(number)
        except PipelineError as error:
            raise walk.failed(stage.verb, error)  # noqa: B904  # the same error, filled in
        if not asked and not finding.artifact:
            finding = Finding(None, f"waits for {plan[number - 1].verb}")
        given = finding.artifact
        findings.append((stage, finding))
    return findings


def verify_live(plan: Plan, site: Site) -> Record:
    """Check what runs now, whatever it was made from: nothing is built, pushed or deployed.

    Raises ConfigError where the plan has no stage that can tell what is live, VerifyError where nothing is.
    """
    index = index_of(plan, "verify")
    known = [(stage, stage.driver.live) for stage in plan[:index] if stage.driver.live]
    if not known:
        raise ConfigError("no stage of this blueprint can tell what is live", mend="add a deploy stage before verify")
    stage, live = known[-1]
    walk = Walk(plan, site, Source("", "", False, ""))
    site.tell(What.PLAN, "", "what is live", stages=["verify"], usual={"verify": site.records.usual("verify")}, source="")
    try:
        release = retrying(walk.patience(stage), site.clock, lambda _attempt: live(stage.spec, site), walk.notice(stage.verb, []))
        if release is None:
            raise VerifyError("nothing is deployed yet", mend="inv deploy")
    except PipelineError as error:
        raise walk.failed(stage.verb, error)  # noqa: B904  # the same error, filled in
    walk = Walk(plan, site, getattr(release, "source", walk.source), walk.policy)
    started = site.clock.monotonic()
    act(walk, index, release, ALWAYS)
    site.tell(What.DONE, "", "what is live is as it should be", seconds=site.clock.monotonic() - started, changed=[])
    return walk.records[index]


def index_of(plan: Plan, verb: str) -> int:
    """Where the stage of that verb stands; `push` is the stage that gives images where none pushes. Raises ConfigError where the plan has
    none."""
    for number, stage in enumerate(plan):
        if stage.verb == verb:
            return number
    for number, stage in enumerate(plan):
        if verb == "push" and issubclass(stage.driver.gives, Images):
            return number
    raise ConfigError(f"the blueprint has no {verb} stage", mend="its stages are: " + ", ".join(stage.verb for stage in plan))


def _snapshot(site: Site) -> Source:
    from pipeline.source import snapshot  # a caller that has a source needs no git

    return snapshot(site.root, private=site.private)
