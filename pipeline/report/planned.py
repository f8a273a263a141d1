"""What a release would do, and what keeps it from being done: gathered as plain facts, shown as text."""

from __future__ import annotations

from typing import Any

from pipeline.artifacts import to_json
from pipeline.errors import PipelineError
from pipeline.report.words import told
from pipeline.runner import look
from pipeline.stage import Plan, Site


def gather(plan: Plan, site: Site, until: str) -> tuple[dict[str, Any], PipelineError | None]:
    """The facts of each stage up to `until`, and why deploys are frozen; beside them why that could not be asked."""
    rows = [
        {
            "stage": stage.verb,
            "there": bool(finding.artifact),
            "why": finding.why,
            "artifact": to_json(finding.artifact) if finding.artifact else None,
            "text": finding.why or (told(finding.artifact) if finding.artifact else ""),
        }
        for stage, finding in look(plan, site, until=until)
    ]
    stopped, unasked = frozen(plan, site)
    return {"plan": rows, "frozen": stopped}, unasked


def frozen(plan: Plan, site: Site) -> tuple[list[str], PipelineError | None]:
    """Why nothing may be deployed, by whom and since when, nothing where it may; and why that could not be asked."""
    try:
        known = [stage.driver.standing(stage.spec, site) for stage in plan if stage.driver.standing]
        return [str(found.frozen) for found in known if found.frozen], None
    except PipelineError as error:
        return [], error


def show(facts: dict[str, Any]) -> str:
    """The facts for a person."""
    lines = [f"{row['stage']:<8} {'there' if row['there'] else 'to do':<6} {row['text']}" for row in facts["plan"]]
    lines += [f"frozen   {why}: inv deploy is refused until inv unfreeze" for why in facts["frozen"]]
    return "\n".join(lines)
