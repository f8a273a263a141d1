"""What is to be known of a release by commit beside what it is: what runs, since when and by whom, and what is odd about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pipeline.artifacts import Release
from pipeline.deploy import drift, flux_file, flux_history, flux_wanted, flux_world, history, stored
from pipeline.deploy import freeze as ice
from pipeline.deploy.flux_back import release_at, running
from pipeline.deploy.flux_history import Step
from pipeline.deploy.flux_look import asked
from pipeline.deploy.flux_spec import Flux
from pipeline.deploy.flux_wanted import Lines
from pipeline.deploy.flux_world import World
from pipeline.deploy.history import Revision
from pipeline.errors import ConfigError
from pipeline.stage import Site, Standing
from pipeline.tools import markers
from pipeline.tools.flux_words import words
from pipeline.tools.gitops import Head
from pipeline.tools.kube import Kube, connect


def live(spec: Flux, site: Site) -> Release | None:
    """What the cluster runs now, whoever released it, with its source where git knows a commit with these lines; None where there is
    nothing. A git server that is down is made up for by what was seen of it last."""
    kube = connect(site, spec.cluster)
    where = flux_wanted.paths(spec)
    with asked(flux_file.repository(spec, site), kept=True) as head:
        world = flux_world.look(kube, spec, where)
        number, lines = _runs(kube, spec, world, lambda: history.read(kube, spec.namespace, spec.release))
        if not number:
            return None
        at = head().commit
    step = flux_history.of_lines(flux_history.steps(flux_file.repository(spec, site), spec, where, at), lines)
    return release_at(spec, step, number, running(world.workloads))


def standing(spec: Flux, site: Site) -> Standing:
    """The facts, of what Helm calls deployed and of what git says. Raises what the cluster's client and git raise."""
    kube = connect(site, spec.cluster)
    where = flux_wanted.paths(spec)
    with asked(flux_file.repository(spec, site), kept=True) as head:
        lease = ice.look(kube, *spec.lock)
        world = flux_world.look(kube, spec, where)
        revisions = history.read(kube, spec.namespace, spec.release)
        number, lines = _runs(kube, spec, world, lambda: revisions)
        runs = next((one for one in revisions if one.number == number), None)
        top = head()
    known = list(flux_history.steps(flux_file.repository(spec, site), spec, where, top.commit))
    step = flux_history.of_lines(known, lines) if number else None
    return Standing(
        since=runs.since if runs else "",
        by=(step.entry.author if step.entry.human else step.entry.trailers.by) if step else "",
        ours=not number or (step is not None and step.ours),
        remarks=tuple(_remarks(spec, world, top, known, step, lines)),
        frozen=ice.frozen(lease),
        holder=ice.holder(lease),
        taken=tuple(flux_history.taken(known)),
        live=lambda: release_at(spec, step, number, running(world.workloads)) if number else None,
        edited=lambda: drift.look(kube, spec, runs, world.workloads) if runs else [],
    )


def _runs(kube: Kube, spec: Flux, world: World, revisions: Callable[[], Sequence[Revision]]) -> tuple[int, Lines]:
    """Helm's newest revision that is deployed, 0 where none is, and the lines that it was made from."""
    if world.serves and world.status == "deployed":
        return world.number, world.lines
    deployed = history.deployed(revisions())
    if deployed is None:
        return 0, {}
    config = stored.read(kube, spec.namespace, spec.release, deployed.number).get("config")
    return deployed.number, flux_wanted.within(config, flux_wanted.paths(spec))


def _remarks(spec: Flux, world: World, head: Head, known: list[Step], step: Step | None, lines: Lines) -> Iterator[str]:
    for state in world.objects:
        if not state.settled and (why := words(state)):
            yield why.what
    newest = known[0] if known else None
    if newest and newest.lines and newest.lines != lines:
        yield f"git says {newest}, which is not what runs: inv deploy follows or replaces it"
    if step and step.entry.human:
        yield f"{step.entry.author} wrote its lines by hand, in {step.commit[:7]}: {step.entry.subject}"
    elif step is None and lines:
        yield "no commit of the repository has the lines that run"
    if newest and newest.entry.human and newest is not step and newest.lines == lines:
        yield f"{newest.entry.author} wrote the same lines again, in {newest.commit[:7]}"
    yield from _automation(spec, head)


def _automation(spec: Flux, head: Head) -> Iterator[str]:
    """Lines that Flux's image automation writes as well."""
    try:
        found = flux_file.text(head, spec)
        marked = markers.written_by_automation(found, flux_file.selector(spec), name=spec.written)
    except ConfigError as error:
        yield error.what
        return
    ours = {(*flux_file.VALUES, *path) for path in flux_wanted.paths(spec)}
    for path, mark in marked.items():
        if path in ours:
            place, policy = f"{spec.written}:{mark.line}", mark.marker.policy
            yield f"{place}: Flux's image automation writes {'.'.join(path)} too, by policy {policy}: never both"
