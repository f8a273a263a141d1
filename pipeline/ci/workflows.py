"""The workflows of all blueprints, as they should be."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.generate.github import path, render
from pipeline.generate.spec import Workflow, workflow
from pipeline.plan import blueprints, ci_of


def flow_of(config: Path, name: str) -> Workflow | None:
    """The workflow of one blueprint, None where it has no section `ci`. Raises ConfigError where the section is wrong."""
    found = ci_of(config, name)
    if found is None:
        return None
    try:
        return workflow(name, f"{config.name}/{name}.yml", *found)
    except ValueError as error:
        raise ConfigError(f"{config.name}/{name}.yml: ci: {error}", mend=f"correct it, then inv ci.generate --blueprint {name}") from error


def wanted(config: Path, only: str = "") -> dict[str, str]:
    """The text of each workflow by its path from the root; of one blueprint with `only`. Raises ConfigError where two write the same file,
    or where there is none."""
    found: dict[str, str] = {}
    for name in [only] if only else blueprints(config):
        flow = flow_of(config, name)
        if flow is None:
            continue
        if path(flow) in found:
            raise ConfigError(f"two blueprints write {path(flow)}", mend=f"name another file as ci.workflow of {name}")
        found[path(flow)] = render(flow)
    if not found:
        where = f"{config.name}/{only}.yml" if only else f"the blueprints in {config.name}/"
        raise ConfigError(f"{where} say nothing of a workflow", mend="add ci: {workflow: publish.yml} to one that builds with buildx")
    return found
