"""Takes a release away that was named: told first, done only if that was said, and written down."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.artifacts import content_hash
from pipeline.errors import ConfigError, PipelineError
from pipeline.records import FAILED, FOUND, MADE
from pipeline.stage import Plan, Removal, Site

STAGE = "remove"


def look(plan: Plan, site: Site, name: str, *, with_data: bool) -> Removal:
    """What taking the release `name` (or namespace/name) away would mean. Raises ConfigError if the plan has no such release."""
    able = {(stage.spec.namespace, stage.spec.release): stage for stage in plan if stage.driver.removal}
    if not able:
        raise ConfigError("no stage of this blueprint makes a release that can be taken away", mend="its deploy driver has to offer it")
    chosen = [stage for (namespace, release), stage in able.items() if name in (release, f"{namespace}/{release}")]
    if len(chosen) != 1:
        known = ", ".join(f"{namespace}/{release}" for namespace, release in able)
        what = f"this blueprint has no release {name!r} in this environment" if name else "which release is to be taken away?"
        raise ConfigError(what, mend=f"inv remove NAME, with the name of: {known}")
    (stage,) = chosen
    found: Removal = stage.driver.removal(stage.spec, with_data, site)  # type: ignore[misc]  # it was looked for above
    return found


def lines(removal: Removal) -> list[str]:
    """What would go and what stays, for a person."""
    called = f"{removal.namespace}/{removal.name}"
    if removal.go is None:
        return [f"there is no release {called}", *(f"stays  {each.name}: {each.why}" for each in removal.stays)]
    kept = [f"stays  {each.name}: {each.why}" for each in removal.stays]
    return [f"the release {called} is taken away", *(f"goes   {each}" for each in removal.goes), "goes   all of its revisions", *kept]


def facts(removal: Removal) -> dict[str, Any]:
    """The same as plain JSON values."""
    stays = [{"name": each.name, "why": each.why} for each in removal.stays]
    return {"release": f"{removal.namespace}/{removal.name}", "there": removal.go is not None, "goes": list(removal.goes), "stays": stays}


def confirm(removal: Removal, *, yes: bool, ask: Callable[[str], str] | None) -> None:
    """Raise ConfigError unless it was said with --yes, or `ask` (a terminal) is answered with the name."""
    if removal.go is None or yes:
        return
    said = ask(f"Type {removal.name} to take it away: ").strip() if ask else ""
    if said != removal.name:
        what = f"{removal.namespace}/{removal.name} was not taken away"
        raise ConfigError(what, mend=f"if all of this is meant: inv remove {removal.name} --yes; --with-data takes what holds data as well")


def remove(removal: Removal, site: Site) -> None:
    """Do it, under the release's lock, and write it down. Raises what the driver raises: run again, it goes on."""
    run, key = uuid.uuid4().hex[:12], content_hash([removal.namespace, removal.name])
    why = f"{removal.namespace}/{removal.name} was taken away"
    started = site.clock.now()
    if removal.go is None:
        site.records.outcome(run, STAGE, key, "", FOUND, None, started, {"why": f"there is no release {removal.namespace}/{removal.name}"})
        return
    started = site.records.intend(run, STAGE, key, "", why)
    state, said = FAILED, "it was stopped"
    try:
        removal.go()
        state, said = MADE, why
    except PipelineError as error:
        said = error.what
        raise
    finally:
        detail = {"why": said, "goes": list(removal.goes), "stays": _named(removal.stays)}
        site.records.outcome(run, STAGE, key, "", state, None, started, detail)


def _named(stays: Sequence[Any]) -> list[str]:
    return [each.name for each in stays]
