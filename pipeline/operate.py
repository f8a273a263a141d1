"""The operator's tasks: go back, freeze and unfreeze, rebuild the records from the world."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from invoke import Context, task

from pipeline.errors import ConfigError
from pipeline.say import say

LONGEST = 500  # characters of a freeze's message: it has to fit on a screen
WAIT = {"wait": "seconds to wait for whoever is at work on the same; without it that is told at once (exit 13)"}


def tasks(
    polite: Callable[[Callable[..., Any]], Any],
    opened: Callable[..., AbstractContextManager[tuple[Any, Any]]],
    print_json: Callable[[dict[str, Any]], None],
    about: dict[str, str],
) -> list[Any]:
    """The tasks. What all tasks share is the face's: `polite` turns errors into sentences and exit codes, `opened` gives blueprint and
    site by environment, blueprint, whether events are JSON, and how long to wait for a lock; `about` is the help of the first three."""

    @polite
    def rollback(
        _c: Context, env: str = "", blueprint: str = "", json: bool = False, to: str = "", force: bool = False, wait: int = 0
    ) -> None:
        """Back to the newest good release with another image or other code than the live one, or to what --to names; verified after.

        Says from what to what before it acts. A second rollback goes further back. A freeze stops it, unless --force.
        """
        from pipeline.report.status import row
        from pipeline.runner.back import roll_back

        with opened(env, blueprint, json, wait) as (found, site):
            records = roll_back(found.plan, site, to=to, despite_freeze=force)
        if json:
            print_json({"records": [row(record) for record in records]})
        else:
            release = records[0].artifact
            say(f"{release.namespace}/{release.name} revision {release.revision}: {records[0].detail['why']}")  # type: ignore[union-attr]

    @polite
    def freeze(_c: Context, message: str, env: str = "", blueprint: str = "", json: bool = False) -> None:
        """No deploys until `inv unfreeze`: whoever tries is shown this message, by whom and since when (exit 13)."""
        said = " ".join(message.split())
        if not said or said.startswith("-") or len(said) > LONGEST:
            raise ConfigError(f"a freeze says why, in 1 to {LONGEST} characters", mend='inv freeze "no deploys until Monday"')
        with opened(env, blueprint, json) as (found, site):
            for stage in _able(found.plan):
                stage.driver.freeze(stage.spec, said, site)
        print_json({"frozen": said}) if json else say(f"frozen: {said}; inv unfreeze lifts it")

    @polite
    def unfreeze(_c: Context, env: str = "", blueprint: str = "", json: bool = False) -> None:
        """Deploys go on."""
        with opened(env, blueprint, json) as (found, site):
            before = []
            for stage in _able(found.plan):
                frozen = stage.standing(site).frozen
                before += [str(frozen)] if frozen else []
                stage.driver.freeze(stage.spec, "", site)
        if json:
            print_json({"frozen": "", "was": before})
        else:
            say(f"no longer frozen, it was: {'; '.join(before)}" if before else "nothing was frozen")

    @polite
    def reconcile(_c: Context, env: str = "", blueprint: str = "", json: bool = False) -> None:
        """Rebuild the records of this working copy from the world: what is there, and what became of runs that never ended."""
        import dataclasses

        from pipeline.runner.reconcile import reconcile
        from pipeline.source import snapshot

        with opened(env, blueprint, json) as (found, site):
            learnt = reconcile(found.plan, site, snapshot(site.root, private=site.private))
        if json:
            print_json({"learnt": [dataclasses.asdict(each) for each in learnt]})
        else:
            say(*(f"{each.stage:<8} {each.state:<8} {each.text}" for each in learnt))

    return [
        task(rollback, help={**about, **WAIT, "to": "a revision's number or a commit", "force": "though deploys are frozen"}),
        task(freeze, help={**about, "message": "why, for everybody who tries"}, positional=["message"]),
        task(unfreeze, help=about),
        task(reconcile, help=about),
    ]


def _able(plan: Any) -> list[Any]:
    """The stages that can be frozen. Raises ConfigError where there is none."""
    found = [stage for stage in plan if stage.driver.freeze]
    if not found:
        raise ConfigError("no stage of this blueprint can be frozen", mend="its deploy driver has to offer it")
    return found
