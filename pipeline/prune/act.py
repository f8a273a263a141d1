"""Takes away what may go: what releases left first, then images, once everybody was asked again."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

from pipeline.artifacts import content_hash
from pipeline.errors import PipelineError
from pipeline.events import What
from pipeline.plan import Blueprint
from pipeline.prune import world
from pipeline.prune.decide import Place, Row, decide
from pipeline.prune.world import STAGE, Member
from pipeline.push import provenance
from pipeline.records import FAILED, MADE
from pipeline.retry import Policy, retrying
from pipeline.runner.heard import heard
from pipeline.stage import Left, Site
from pipeline.tools.image_list import Dated
from pipeline.tools.registry import Client, client_of

POLICY = Policy()


def prune(own: Blueprint, site: Site, config: Path, *, dry: bool = False) -> tuple[Row, ...]:
    """Take away what nobody needs; what there was, each with why it stayed, "" for what went (with `dry`: would go).

    No lock is taken. Raises what could not be asked, before anything was deleted; and what the registry, the cluster or the host says to
    a deletion: run again, it goes on.
    """
    with world.members(own, site, config) as those:
        rows = decide(retrying(POLICY, site.clock, lambda _attempt: world.look(those), heard(site, STAGE)))
        going = [row for row in rows if not row.why]
        if going and not dry:
            _recorded(those, going)
    return rows


def collect(own: Blueprint, site: Site) -> dict[str, str]:
    """Have nix collect its garbage on each build host; what it says of it, by host."""
    from pipeline.build import nix

    specs = [stage.spec for stage in own.plan if isinstance(stage.spec, nix.Nix)]
    return {spec.host: nix.collect(spec, site) for spec in specs}


def _recorded(those: list[Member], going: Sequence[Row]) -> None:
    site, run = those[0].site, uuid.uuid4().hex[:12]
    names = [row.name for row in going]
    key = content_hash(names)
    started = site.records.intend(run, STAGE, key, "", f"{len(names)} are no longer needed")
    state, why = FAILED, "it was stopped"
    try:
        _act(those, going)
        state, why = MADE, f"{len(names)} were no longer needed"
    except PipelineError as error:
        why = error.what
        raise
    finally:
        site.records.outcome(run, STAGE, key, "", state, None, started, {"why": why, "gone": names})


def _act(those: list[Member], going: Sequence[Row]) -> None:
    site = those[0].site
    for row in going:
        if isinstance(row.item, Left):
            _go(site, row)
    before = {row.name for row in going if isinstance(row.item, Dated)}
    if not before:
        return
    now = decide(retrying(POLICY, site.clock, lambda _attempt: world.look(those), heard(site, STAGE)))
    images = [row for row in now if isinstance(row.item, Dated)]
    kept = {child for row in images if row.why for child in row.item.image.marks}  # type: ignore[union-attr]
    for row in images:
        if not row.why and row.name in before:
            _go(site, row, frozenset(kept))


def _go(site: Site, row: Row, kept: frozenset[str] = frozenset()) -> None:
    site.tell(What.LOG, STAGE, f"{row.kind} {row.name} goes")

    def act(_attempt: int) -> None:
        if isinstance(row.item, Left):
            row.item.remove()
        elif row.place:
            _delete(client_of(site, row.place.registry, "pull,push,delete"), row.place, row.item, kept)

    retrying(POLICY, site.clock, act, heard(site, STAGE))


def _delete(client: Client, place: Place, image: Dated, kept: frozenset[str]) -> None:
    """The image with all of its tags, what refers to it, and those of its parts that no other image has."""
    provenance.detach(client, place.repository, image.image.digest)
    for each in image.image.over:
        client.delete(place.repository, each)
    client.delete(place.repository, image.image.digest)
    for child in image.image.children:
        if child not in kept:
            client.delete(place.repository, child)
