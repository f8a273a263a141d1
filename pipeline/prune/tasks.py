"""The task: what may go is taken away, or only shown."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from invoke import Context, task

from pipeline.dry import shown_by
from pipeline.say import say, say_block

ABOUT = {
    "dry-run": "only show what would go, and why the rest stays",
    "gc": "then have nix collect its garbage on the build host: what no root of anybody holds",
}


def task_for(
    polite: Callable[[Callable[..., Any]], Any],
    opened: Callable[..., AbstractContextManager[tuple[Any, Any]]],
    config: Callable[[], Path],
    print_json: Callable[[dict[str, Any]], None],
    about: dict[str, str],
) -> Any:
    """The task. What all tasks share is the face's: see `pipeline.operate.tasks`."""

    @shown_by("prune", dry_run=True)
    @polite
    def prune(_c: Context, env: str = "", blueprint: str = "", json: bool = False, dry_run: bool = False, gc: bool = False) -> None:
        """Old images, revisions and nix roots go; the newest 5 stay (`keep` in the blueprint), and all that is still needed.

        Needed is what runs, what a revision or a commit would go back to, and what is being deployed, in every environment that shares the
        registry's repository. If one of them cannot be asked, nothing is deleted. No lock is taken: it works while somebody deploys.

            inv prune --dry-run        what would go, and why the rest stays
            inv prune --env production
            inv prune --gc             and nix's own garbage on the build host
        """
        from pipeline.prune.act import collect
        from pipeline.prune.act import prune as act
        from pipeline.prune.show import rows, table

        with opened(env, blueprint, json) as (found, site):
            known = act(found, site, config(), dry=dry_run)
            freed = collect(found, site) if gc and not dry_run else {}
        if json:
            print_json({"dry_run": dry_run, "rows": rows(known), "collected": freed})
            return
        say_block(table(known, dry=dry_run))
        if freed:
            say(*(f"{host}: {said}" for host, said in freed.items()))

    return task(prune, help={**about, **ABOUT})
