"""The whole workflow for GitHub Actions, as text: the same blueprint always gives the same bytes."""

from __future__ import annotations

from typing import Any

from pipeline.generate.jobs import jobs
from pipeline.generate.spec import Workflow
from pipeline.generate.yamltext import dump

FOLDER = ".github/workflows"


def path(flow: Workflow) -> str:
    """Where the file lies, from the root of the working copy."""
    return f"{FOLDER}/{flow.ci.workflow}"


def render(flow: Workflow) -> str:
    """The workflow's text. The token of a run may read nothing by default; each job is given what it needs."""
    push: dict[str, Any] = {"branches": list(flow.ci.branches)} if flow.ci.branches else {}
    if flow.ci.git_tags:
        push["tags"] = list(flow.ci.git_tags)
    made: dict[str, Any] = {
        "name": flow.name,
        "on": {"push": push, "workflow_dispatch": None},
        "permissions": {},
        "concurrency": {"group": f"{flow.name}-${{{{ github.ref }}}}", "cancel-in-progress": False},
        "jobs": jobs(flow),
    }
    return f"# Made by `inv ci.generate` from {flow.source}: change that file and make this one anew, it is not edited.\n\n{dump(made)}"
