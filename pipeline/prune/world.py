"""Asks everybody who may need an image: each environment of each blueprint beside this one that shares a repository with it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from pipeline.artifacts import Images, Release
from pipeline.errors import ConfigError, PipelineError
from pipeline.events import What
from pipeline.plan import Blueprint, blueprints, environments, load
from pipeline.prune.decide import Place, Seen
from pipeline.records import MADE
from pipeline.stage import Left, Site, Store, Use, stores
from pipeline.tools import image_list
from pipeline.tools.providers import endpoint, full_name
from pipeline.tools.registry import client_of

STAGE = "prune"
YOUNG = 7200.0  # seconds: what was pushed since then may be about to be deployed
RUNS = 100  # runs whose records stay
LAST = 100  # records that are looked through for that
T = TypeVar("T")
Address = tuple[str, str]  # of a repository: the registry's host and port, the path


@dataclass(frozen=True)
class Member:
    """An environment of a blueprint, with its own site."""

    blueprint: Blueprint
    site: Site

    def __str__(self) -> str:
        return f"{self.blueprint.name}, environment {self.blueprint.environment or 'default'}"

    def ask(self, question: Callable[[], T]) -> T:
        """What the question gives. An error says whom it was about, and that nothing is deleted."""
        try:
            return question()
        except PipelineError as error:
            error.what = f"{self} cannot say what it needs, so nothing is deleted: {error.what}"
            raise

    def stores(self) -> list[tuple[Address, Store]]:
        """The repositories that its stages fill or read."""
        return [(self._address(store), store) for store in stores(self.blueprint.plan, self.site)]

    def _address(self, store: Store) -> Address:
        where = endpoint(self.site.registry(store.registry).address)
        return where, full_name(where, store.repository)

    def uses(self) -> Iterator[Use]:
        """What it needs. Raises ConfigError for a deploy driver that does not say it."""
        for stage in self.blueprint.plan:
            if stage.driver.uses:
                yield from stage.driver.uses(stage.spec, self.blueprint.keep, self.site)
            elif stage.driver.live:
                what = f"the driver {stage.driver.name} of {stage.verb} does not say what its releases need"
                raise ConfigError(what, mend="its Driver has to offer `uses`")
        yield from _recorded(self.site)


@contextlib.contextmanager
def members(own: Blueprint, site: Site, config: Path) -> Iterator[list[Member]]:
    """This environment, and the others that share a repository with it, each with its site open.

    Raises what is wrong with the configuration of any environment: it may be one of those.
    """
    me = Member(own, site)
    ours = {address for address, store in me.stores() if store.names}
    with contextlib.ExitStack() as stack:
        found = [me]
        for name, env in _others(own, config) if ours else ():
            label = f"{name}, environment {env or 'default'}"
            try:
                other = load(config, name, env)
                if not other.site_path.exists() and other.site_path.parent.name == "lab":
                    site.tell(What.LOG, STAGE, f"{label}: the lab is not running, so nothing of it needs anything")
                    continue
                opened = stack.enter_context(other.site(site.sink, site.clock))
                member = Member(other, opened)
                shares = bool(ours & {address for address, _ in member.stores()})
            except PipelineError as error:
                error.what = f"{label} cannot say what it needs, so nothing is deleted: {error.what}"
                raise
            if shares:
                found.append(member)
        yield found


def _others(own: Blueprint, config: Path) -> Iterator[tuple[str, str]]:
    """Every other environment there is; the blueprint without an overlay is one too, if it can be used so."""
    for name in blueprints(config):
        overlays = environments(config, name)
        bare = [""] if not overlays or _is_whole(config, name) else []
        yield from ((name, env) for env in [*overlays, *bare] if (name, env) != (own.name, own.environment))


def _is_whole(config: Path, name: str) -> bool:
    """Whether the blueprint can be used without an overlay: it names none, and says all that is needed."""
    with contextlib.suppress(ConfigError):
        found = load(config, name)
        return not found.environment and found.site_path.exists()
    return False


def look(those: list[Member]) -> Seen:
    """List the images, then ask all of them what they need, and the first one what it has left: in this order, what is pushed meanwhile
    is not in the list. Only looks. Raises what a driver, a cluster, a host or a registry raises: whoever cannot be asked may need anything.
    """
    me = those[0]
    listed = tuple((place, images(me, place)) for place in places(those))
    uses = [use for each in those for use in each.ask(lambda each=each: _named(each, me))]  # type: ignore[misc]  # mypy cannot infer it
    left = [
        found
        for stage in me.blueprint.plan
        if stage.driver.left
        for found in me.ask(lambda stage=stage: stage.driver.left(stage.spec, me.blueprint.keep, me.site))  # type: ignore[misc]
    ]
    return Seen(tuple(uses), (*left, *_old_records(me.site)), listed)


def _old_records(site: Site) -> Iterator[Left]:
    """What was recorded here before the newest RUNS runs: of what is older, the world itself is asked."""
    count, until = site.records.old(RUNS)
    if count:
        day = datetime.datetime.fromtimestamp(until, datetime.UTC).strftime("%Y-%m-%d")
        yield Left("record", f"{count} records of runs until {day}", "", partial(site.records.forget, RUNS))


def _named(member: Member, me: Member) -> list[Use]:
    before = "" if member is me else f"{member}: "
    return [dataclasses.replace(use, why=before + use.why, of=use.of if member is me else "") for use in member.uses()]


def places(those: list[Member]) -> list[Place]:
    """The repositories that the first one fills, with what all who share them call images there, and the most that any of them keeps."""
    me, found = those[0], []
    for address, store in me.stores():
        if store.names:
            sharing = [(each.blueprint.keep, other.names) for each in those for there, other in each.stores() if there == address]
            names = tuple(dict.fromkeys(name for _, those in sharing for name in those))
            found.append(Place(store.registry, address[0], store.repository, names, max(keep for keep, _ in sharing)))
    return found


def images(me: Member, place: Place) -> tuple[image_list.Dated, ...]:
    """The images of a place, with the times of their commits."""
    client = client_of(me.site, place.registry)
    stored = image_list.stored(client, place.repository)
    return image_list.dated(client, place.repository, stored, place.names, me.site.root, me.site.tool("git"))


def _recorded(site: Site) -> Iterator[Use]:
    """What this working copy has pushed lately, and what its unfinished runs had in hand."""
    now = site.clock.now()
    young = [record for record in site.records.history(LAST) if record.state == MADE and now - record.finished_at < YOUNG]
    in_hand = [site.records.artifact(record.parent) for record in site.records.unfinished() if record.parent]
    known = [(record.artifact, "it was pushed from here less than 2 hours ago") for record in young]
    for artifact, why in [*known, *((artifact, "a run from here that did not end has it") for artifact in in_hand)]:
        if isinstance(artifact, Images | Release):
            yield from (Use(image.digest, why) for image in artifact.images)
