"""The tasks: what nothing needs any more is taken away, and a release that is named."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from invoke import Context, task

from pipeline.dry import shown_by
from pipeline.safe import clean
from pipeline.say import ask, say, say_block

WAIT = {"wait": "seconds to wait for whoever is at work on the release"}
ABOUT = {
    "dry-run": "only show what would go, and why the rest stays",
    "gc": "then have nix collect its garbage on the build host: what no root of anybody holds",
}


def tasks(
    polite: Callable[[Callable[..., Any]], Any],
    opened: Callable[..., AbstractContextManager[tuple[Any, Any]]],
    config: Callable[[], Path],
    print_json: Callable[[dict[str, Any]], None],
    about: dict[str, str],
) -> list[Any]:
    """The tasks. What all tasks share is the face's: see `pipeline.operate.tasks`."""

    @shown_by("prune", dry_run=True)
    @polite
    def prune(_c: Context, env: str = "", blueprint: str = "", json: bool = False, dry_run: bool = False, gc: bool = False) -> None:
        """Old images, revisions and nix roots go; the newest 5 stay (`keep` in the blueprint), and all that is still needed.
        Of what was recorded here, the newest 100 runs stay.

        Needed is what runs, what a revision or a commit would go back to, and what is being deployed, in every environment that shares the
        registry's repository. If one of them cannot be asked, nothing is deleted. No lock is taken: it works while somebody deploys.

            inv prune --dry-run        what would go, and why the rest stays
            inv prune --env production
            inv prune --gc             and nix's own garbage on the build host
        """
        from pipeline.prune.act import collect
        from pipeline.prune.act import prune as act
        from pipeline.prune.decide import rows, table

        with opened(env, blueprint, json) as (found, site):
            known = act(found, site, config(), dry=dry_run)
            freed = collect(found, site) if gc and not dry_run else {}
        if json:
            print_json({"dry_run": dry_run, "rows": rows(known), "collected": freed})
            return
        say_block(table(known, dry=dry_run))
        if freed:
            say(*(f"{host}: {said}" for host, said in freed.items()))

    @shown_by("remove", dry_run=True)
    @polite
    def remove(
        _c: Context, name: str, env: str = "", blueprint: str = "", json: bool = False, dry_run: bool = False, yes: bool = False,
        with_data: bool = False, wait: int = 0,
    ) -> None:  # fmt: skip
        """Take a release away: inv remove NAME. What goes and what stays is told first; a terminal is asked for the name, or --yes says it.

        What holds data stays, unless --with-data: volume claims, and kinds that nothing is known of. Namespaces, CRDs and volumes always
        stay.
        """
        from pipeline.prune import remove as way

        with opened(env, blueprint, json, wait) as (found, site):
            removal = way.look(found.plan, site, name, with_data=with_data)
            told = [clean(line) for line in way.lines(removal)]
            if dry_run:
                print_json({"dry_run": True, **way.facts(removal)}) if json else say(*told)
                return
            if removal.go is not None and not json:
                sys.stderr.write("\n".join((*told, "")))
            way.confirm(removal, yes=yes, ask=ask if sys.stdin.isatty() and not json else None)
            way.remove(removal, site)
        if json:
            print_json({"dry_run": False, **way.facts(removal)})
        else:
            say(f"{removal.namespace}/{removal.name} is gone" if removal.go else told[0])

    words = {
        "name": "the release, or namespace/release",
        "dry-run": "only show what would go and what stays",
        "yes": "it is meant: nobody is asked",
        "with-data": "volume claims too, and whatever may hold data",
    }
    return [task(prune, help={**about, **ABOUT}), task(remove, help={**about, **WAIT, **words}, positional=["name"])]
