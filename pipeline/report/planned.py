"""What a release would do, and what keeps it from being done: gathered as plain facts, shown as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.artifacts import Source, to_json
from pipeline.errors import ConfigError, PipelineError
from pipeline.report.words import told
from pipeline.runner import look, over
from pipeline.source import snapshot
from pipeline.stage import Finding, Plan, Site, Stage, Standing


def gather(plan: Plan, site: Site, until: str) -> tuple[dict[str, Any], PipelineError | None]:
    """Return the facts of each stage up to `until`, what refuses a release, why deploys are frozen; and why that was not answered."""
    source = snapshot(site.root, private=site.private)
    found = look(plan, site, until=until, source=source)
    known, unasked = standings(plan, site)
    to_do = [stage for stage, finding in found if finding.artifact is None and stage.driver.live]
    refused = [said for stage in to_do for said in refusals(stage, known.get(stage.verb, Standing()), source, site)]
    frozen = [str(each.frozen) for each in known.values() if each.frozen]
    return {"plan": rows(found), "refused": refused, "frozen": frozen}, unasked


def rows(found: Sequence[tuple[Stage, Finding]]) -> list[dict[str, Any]]:
    """Return the facts of each stage that was looked at. One is not `needed` if a later one has what it needs."""
    alone = [number for number, (stage, finding) in enumerate(found) if finding.artifact and stage.driver.stands_alone]
    return [
        {
            "stage": stage.verb,
            "there": bool(finding.artifact),
            "needed": number > max(alone, default=-1),
            "why": finding.why,
            "artifact": to_json(finding.artifact) if finding.artifact else None,
            "text": finding.why or (told(finding.artifact) if finding.artifact else ""),
        }
        for number, (stage, finding) in enumerate(found)
    ]


def refusals(stage: Stage, standing: Standing, source: Source, site: Site) -> list[str]:
    """Why a stage that would have to act over what is live is refused, and what is to be done about it."""
    try:
        over.check_dirty(site, source)
        if stage.driver.present:
            stage.driver.present(stage.spec, site)
        over.check(standing, source, site)
    except ConfigError as error:
        return ["; ".join(filter(None, (error.what, *error.cause.splitlines(), *error.mend.splitlines())))]
    return []


def standings(plan: Plan, site: Site) -> tuple[dict[str, Standing], PipelineError | None]:
    """Return what is to be known of what is live, by the verb of its stage; and why that could not be asked."""
    try:
        return {stage.verb: stage.standing(site) for stage in plan if stage.driver.live}, None
    except PipelineError as error:
        return {}, error


def show(facts: dict[str, Any]) -> list[str]:
    """Return the facts for a person, line by line."""
    lines = [f"{row['stage']:<8} {_state(row):<6} {row['text']}" for row in facts["plan"]]
    lines += [f"refused  {why}" for why in facts["refused"]]
    lines += [f"frozen   {why}: inv deploy is refused until inv unfreeze" for why in facts["frozen"]]
    return lines


def _state(row: dict[str, Any]) -> str:
    return "there" if row["there"] else "to do" if row["needed"] else "skip"
