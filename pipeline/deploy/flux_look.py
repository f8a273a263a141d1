"""Asks the git server while the cluster is asked: the look of a release by commit takes as long as the slower of both."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

from pipeline.artifacts import Images
from pipeline.deploy import drift, flux_file, flux_wanted, flux_world, shared
from pipeline.deploy.compare import release_of
from pipeline.deploy.flux_spec import Flux
from pipeline.deploy.flux_wanted import Lines
from pipeline.deploy.flux_world import World
from pipeline.errors import Transient
from pipeline.stage import Finding, Site
from pipeline.tools.gitops import Head, Repository
from pipeline.tools.kube import Kube, connect


def find(spec: Flux, images: Images, site: Site) -> Finding:
    """Whether the head of the branch has our lines, Flux has applied them, and the workloads run the images.

    One connection to the git server, and beside it a request for each of Flux's objects and one for the workloads. Raises ConfigError
    where the file or Flux is not there, or the lines must not be written.
    """
    kube = connect(site, spec.cluster)
    want = flux_wanted.wanted(spec, images, site)
    lines, where = flux_wanted.lines(want.values), flux_wanted.paths(spec)
    with asked(flux_file.repository(spec, site)) as answer:
        world = flux_world.look(kube, spec, where)
        head = answer()
    found = flux_file.text(head, spec)
    flux_file.check(spec, found, where)
    if flux_file.lines(spec, found, where) != lines:
        return Finding(None, flux_world.unapplied(world, lines, images))
    if world.lines == lines:
        world = flux_world.steady(world, lambda: flux_world.look(kube, spec, where), site.clock)
    why = (
        list(flux_world.differences(world, lines, images))
        or _behind(spec, head, world, lines)
        or drift.unnoted(kube, spec, world.objects_kept, world.workloads)
        or shared.idle(spec, kube, world.number, world.workloads)
    )
    why += _secret(kube, spec, want.data)
    if why:
        return Finding(None, "; ".join(why[:3]))
    release = release_of(spec, images, world.number, want.inputs)
    return Finding(release, f"revision {world.number} is live, of commit {world.kustomization.commit[:7]}")


@contextlib.contextmanager
def asked(of: Repository, *, kept: bool = False) -> Iterator[Callable[[], Head]]:
    """The head of the branch, asked for beside what the caller does meanwhile. `kept` takes what was seen last where the server is down."""
    from concurrent.futures import ThreadPoolExecutor

    def look() -> Head:
        try:
            return of.look()
        except Transient:
            if kept and (seen := of.seen()) is not None:
                return seen
            raise

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(look).result


def _behind(spec: Flux, head: Head, world: World, lines: Lines) -> list[str]:
    """Whether Flux applies another commit than the head, one that does not hold the lines although the cluster has them."""
    applied = world.kustomization.commit
    if applied in (head.commit, "") or head.repository.contains(applied, applied) is None:
        return []
    if flux_file.then(spec, head.repository.at(applied), list(lines)) == lines:
        return []
    return [f"the commit is there, Flux has not applied it (it is at {applied[:7]})"]


def _secret(kube: Kube, spec: Flux, data: Mapping[str, str]) -> list[str]:
    if spec.secret is None:
        return []
    from pipeline.deploy import secret

    return [] if secret.holds(kube, spec.namespace, spec.secret.name, data) else ["the secret changed"]
