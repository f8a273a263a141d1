"""The way back of a release by commit, because a person says so: chosen from git's history, proved to be there, written, and followed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.artifacts import Release
from pipeline.deploy import flux_history, flux_message, flux_wanted, flux_world, rollback
from pipeline.deploy.by_flux import FluxWork, at_work
from pipeline.deploy.flux_history import Step
from pipeline.deploy.flux_revert import taken_back
from pipeline.deploy.flux_settle import explained, served
from pipeline.deploy.flux_spec import Flux
from pipeline.deploy.work import STAGE
from pipeline.errors import ConfigError, IntegrityError, NotRolledBack
from pipeline.events import What
from pipeline.failpoint import failpoint
from pipeline.stage import Return, Site
from pipeline.tools.kube import connect
from pipeline.tools.kube_objects import pending, template_images

NAME = re.compile(r"[0-9]+|[0-9a-f]{4,40}")


@contextlib.contextmanager
def back(spec: Flux, to: str, despite_freeze: bool, site: Site) -> Iterator[Return]:
    """The way back to Helm's revision or the commit `to`, to the newest good release before what git says now where `to` is "".

    What was gone back to already is not "before" what is live: a second rollback goes further back, never forth again. Raises
    ConfigError where there is no such release, or it never came up; IntegrityError where an image of it is gone from the registry;
    Locked where somebody is at work or deploys are frozen.
    """
    flux_world.require(connect(site, spec.cluster), spec)
    with at_work(spec, site, despite_freeze) as work:
        work.repository.look()
        known, world = work.steps(), work.look()
        newest = next((step for step in known if step.ours), None)
        if newest is None:
            raise ConfigError(f"{spec.release} was never released by this pipeline, so there is no way back", mend="inv release")
        newest = known[0]
        live = world.serves and world.lines == newest.lines and not any(map(pending, world.workloads))
        origin = flux_history.origin(known, newest)
        unfinished = bool(newest.restores) and not live  # a run that was stopped on its way back: that way is finished first
        goal = origin if unfinished and not to else chosen(work, known, origin, to)
        _prove(work, goal, origin)
        now = release_at(spec, newest, world.number, running(world.workloads))
        there = goal.lines == newest.lines
        if there and live:
            yield Return(now, now, goal.commit, f"{goal} is live already", None)
        else:
            way = release_at(spec, goal, 0, flux_message.images_of(goal.entry))  # Helm numbers it once it is there
            why = f"from {origin} back to {goal}"
            if there:
                why = f"the way back to {goal} was begun in {newest.commit[:7]}, and is finished"
            yield Return(now, way, goal.commit, why, lambda: _go(work, newest, goal, was_good=live))


def chosen(work: FluxWork, known: Sequence[Step], origin: Step, to: str) -> Step:
    """The release that `to` names, else the newest good one before `origin`. Raises ConfigError where there is none."""
    if not to:
        if found := flux_history.good(known, origin):
            return flux_history.origin(known, found)
        raise ConfigError(
            f"there is no good release before {origin} with another image or other code",
            cause=flux_history.listed(known),
            mend=f"name one with --to; or release a good commit again: {rollback.by_release('COMMIT', origin.entry.trailers.commit)}",
        )
    if not NAME.fullmatch(to):
        raise ConfigError(f"{to!r} is neither a revision nor a commit", mend="write a number, or at least 4 digits of a commit")
    if to.isdigit() and (config := work.stored(int(to)).get("config")):
        lines = flux_wanted.within(config, list(work.where))
        if (step := flux_history.of_lines(known, lines)) and lines:
            return flux_history.named(known, step.commit)
    if len(to) < 4:
        raise ConfigError(
            f"Helm keeps no revision {to} of {work.spec.release}",
            cause=flux_history.listed(known),
            mend="name a commit: inv rollback --to COMMIT",
        )
    return flux_history.named(known, to)


def release_at(spec: Flux, step: Step | None, number: int, references: Sequence[str]) -> Release:
    """The release that a commit made; of a person's commit, or of none, only what runs is known."""
    tag = step.entry.trailers.more.get("Tag", "") if step else ""
    images = tuple(flux_message.image(reference, tag) for reference in sorted(references))
    if step is None:
        return Release(flux_message.NOTHING, images, spec.cluster, spec.namespace, spec.release, number, "")
    source = flux_message.source_of(step.entry)
    return Release(source, images, spec.cluster, spec.namespace, spec.release, number, step.entry.trailers.inputs)


def _go(work: FluxWork, newest: Step, goal: Step, *, was_good: bool) -> Release:
    """Write the goal's lines, unless they are there, and wait until it serves; what was live comes back where it does not."""
    spec, site = work.spec, work.site
    message = flux_message.again(spec, site.app, goal.entry, newest.commit)
    work.lease.assert_held()
    work.put_secret_back(flux_message.secret_of(goal.entry), str(goal))
    published = work.write(goal.lines, newest.lines, message)
    if published.made:
        site.tell(What.LOG, STAGE, f"commit {published.commit[:7]}: {message.subject}")
    failpoint("deploy.committed")
    outcome = served(work, published.commit, goal.lines, spec.deadline, "rollback: ", insist=True)
    if outcome.failure is None:
        work.begun(outcome.number)
        return release_at(spec, work.steps()[0], outcome.number, running(work.look().workloads))
    error = explained(work, outcome.failure, outcome.view)
    made = work.steps()[0]
    if was_good and published.made and made.restores == goal.commit:
        raise taken_back(work, made, error)
    raise NotRolledBack(
        f"{goal} does not come up either", cause=error.cause, log=error.log,
        mend=f"{error.mend}\nname another one: inv rollback --to COMMIT\n{flux_history.listed(work.steps())}".strip(),
    )  # fmt: skip


def _prove(work: FluxWork, goal: Step, live: Step) -> None:
    """X01: what is gone to must be whole before anything is changed."""
    found = flux_message.images_of(goal.entry)
    if not found:
        work.site.tell(What.WARN, STAGE, f"{goal} names no image by digest: whether the registry has it cannot be asked")
    commit = goal.entry.trailers.commit
    words = rollback.by_release(commit, live.entry.trailers.commit)
    again = f"{words}: it is built and pushed again" if commit else "name another: --to COMMIT"
    for reference in found:
        if rollback.is_gone(work.site, reference):
            raise IntegrityError(f"{goal} cannot come back: its image is gone from the registry", cause=reference, mend=again)


def running(workloads: Sequence[Mapping[str, Any]]) -> list[str]:
    """The images that run, by digest."""
    return sorted({image for each in workloads for _, image in template_images(each) if "@sha256:" in image})
