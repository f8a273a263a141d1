"""What is to be known of a release beside what it is: since when and by whom, what is odd about it, whether it is frozen."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from pipeline.artifacts import Source
from pipeline.deploy import author, drift, history, naming, stored, work
from pipeline.deploy import freeze as ice
from pipeline.deploy.compare import UNNOTED, release_at
from pipeline.deploy.history import Revision
from pipeline.deploy.spec import Spec
from pipeline.stage import Site, Standing, TakenBack
from pipeline.tools.kube import connect


def standing(spec: Spec, site: Site) -> Standing:
    """The facts, of the newest revision that helm calls deployed and of those above it: two requests. Raises what the cluster's client
    raises."""
    kube = connect(site, spec.cluster)
    lease = ice.look(kube, *spec.lock)
    revisions = history.read(kube, spec.namespace, spec.release, spec.keeper)
    live = history.deployed(revisions)
    workloads = functools.cache(lambda: stored.running(kube, spec, live) if live else [])
    return Standing(
        since=live.since if live else "",
        by=author.name(live.labels) if live and not live.foreign else "",
        ours=live is None or not live.foreign,
        remarks=tuple(_remarks(revisions, live)),
        frozen=ice.frozen(lease),
        holder=ice.holder(lease),
        taken=tuple(taken(revisions)),
        live=lambda: release_at(spec, live, naming.running(site, live, workloads())) if live else None,
        edited=lambda: drift.look(kube, spec, live, workloads()) if live else [],
    )


def taken(revisions: Sequence[Revision]) -> Iterator[TakenBack]:
    """The sources whose newest revision was taken back. Who did it stands on the revision above, which went back: what failed and has none
    above it was left as it is, and may well be live."""
    seen: set[str] = set()
    for above, one in zip((None, *revisions), revisions, strict=False):
        labels = one.labels
        source = Source(labels.get("tree", ""), labels.get("commit", ""), labels.get("dirty") == "true", "")
        if not source.commit or source.id in seen:
            continue
        seen.add(source.id)
        if above and one.rollout in (history.BAD, history.TAKEN):
            yield TakenBack(source.id, source.label, author.name(above.labels), above.since, one.rollout == history.BAD)


def freeze(spec: Spec, message: str, site: Site) -> None:
    """Write the freeze on the release's lease, or take it off. Raises ConfigError where the namespace is missing."""
    kube = connect(site, spec.cluster)
    where, name = spec.lock
    if message:
        if where == spec.namespace:
            work.ensure_namespace(kube, spec, site)
        ice.freeze(kube, where, name, message, site.clock)
    else:
        ice.thaw(kube, where, name)


def _remarks(revisions: Sequence[Revision], live: Revision | None) -> Iterator[str]:
    newest = revisions[0] if revisions else None
    if newest and newest is not live:
        yield f"revision {newest.number} above it is {newest.status}: inv deploy puts it right, inv rollback goes back"
    if live and live.foreign:
        yield f"revision {live.number} was not made by this pipeline: {UNNOTED}"
    elif live and live.rollout == history.STARTED:
        yield f"nobody saw the rollout of revision {live.number} complete: a run was stopped, or is at work"
