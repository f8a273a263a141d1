"""The workflows of all blueprints, as they should be."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.generate.github import path, render
from pipeline.generate.spec import Workflow, workflow
from pipeline.plan import Published, blueprints, ci_of


def flow_of(config: Path, name: str, env: str = "") -> tuple[Workflow, Published] | None:
    """The workflow of one blueprint, and what it stands on; None where it has no section `ci`.

    Raises ConfigError where the section is wrong.
    """
    found = ci_of(config, name, env)
    if found is None:
        return None
    try:
        return workflow(name, f"{config.name}/{name}.yml", found.ci, found.build), found
    except ValueError as error:
        raise ConfigError(f"{config.name}/{name}.yml: ci: {error}", mend=f"correct it, then inv ci.generate --blueprint {name}") from error


def opened(config: Path, name: str, env: str = "") -> tuple[Workflow, Published]:
    """As `flow_of`. Raises ConfigError where the blueprint has no workflow."""
    found = flow_of(config, name, env)
    if found is None:
        raise _none(f"{config.name}/{name}.yml says")
    return found


def wanted(config: Path, only: str = "") -> dict[str, str]:
    """The text of each workflow by its path from the root; of one blueprint with `only`. Raises ConfigError where two write the same file,
    or where there is none."""
    if only:
        flow, _ = opened(config, only)
        return {path(flow): render(flow)}
    found: dict[str, str] = {}
    for name in blueprints(config):
        made = flow_of(config, name)
        if made and path(made[0]) in found:
            raise ConfigError(f"two blueprints write {path(made[0])}", mend=f"name another file as ci.workflow of {name}")
        if made:
            found[path(made[0])] = render(made[0])
    if not found:
        raise _none(f"the blueprints in {config.name}/ say")
    return found


def _none(who: str) -> ConfigError:
    return ConfigError(f"{who} nothing of a workflow", mend="add ci: {workflow: publish.yml} to one that builds with buildx")
