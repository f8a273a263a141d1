"""What every deploy driver is and offers alike, whatever its release is made from: what is live, the lock, the ways back, the facts.

What only acts is loaded when something is to be done.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.artifacts import Images, Release
from pipeline.deploy import history, naming, stored
from pipeline.deploy.compare import release_at, release_of
from pipeline.deploy.history import Revision
from pipeline.deploy.spec import Engined, Spec
from pipeline.host import Cmd
from pipeline.stage import Driver, Finding, Left, Removal, Return, Site, Standing, Use
from pipeline.tools.kube import Kube, connect
from pipeline.tools.kubeconfig import access_of

Validate = Callable[[Any, Images, Site], object]  # raises ConfigError or AuthError for what is wrong with a release; touches no cluster


def live(spec: Spec, site: Site) -> Release | None:
    """What the cluster runs now, whoever deployed it; None where there is nothing."""
    kube = connect(site, spec.cluster)
    newest = history.deployed(history.read(kube, spec.namespace, spec.release, spec.keeper))
    return None if newest is None else release_at(spec, newest, naming.running(site, newest, stored.running(kube, spec, newest)))


@contextlib.contextmanager
def exclusive(spec: Spec, images: Images, site: Site, *, validate: Validate) -> Iterator[None]:
    """Hold the release's lock. Raises Locked where somebody else is at work, or deploys are frozen; and if there was no lock yet, first
    what `validate` raises: what is refused leaves neither lock nor namespace."""
    from pipeline.deploy import work

    with work.exclusive(spec, images, site, first=lambda: validate(spec, images, site)):
        yield


def undo(spec: Engined, release: Release, site: Site, why: str) -> None:
    """Take back a release of this run, since `why`. Always raises: RolledBack or NotRolledBack."""
    from pipeline.deploy import settle

    settle.undo(spec, release, site, why)


@contextlib.contextmanager
def back(spec: Engined, to: str, despite_freeze: bool, site: Site) -> Iterator[Return]:
    """The way back: see `pipeline.deploy.back.back`."""
    from pipeline.deploy import back as way

    with way.back(spec, to, despite_freeze, site) as found:
        yield found


def standing(spec: Spec, site: Site) -> Standing:
    """All that is to be known of what is live: see `pipeline.deploy.standing.standing`."""
    from pipeline.deploy import standing as facts

    return facts.standing(spec, site)


def confirm(spec: Spec, release: Release, site: Site) -> None:
    """Note that a release came up, if nobody has: it was verified. Nothing is noted of one that is not live any more."""
    from pipeline.deploy import drift

    kube = connect(site, spec.cluster)
    revisions = history.read(kube, spec.namespace, spec.release, spec.keeper)
    newest = revisions[0] if revisions else None
    if newest and (newest.number, newest.status, newest.rollout) == (release.revision, "deployed", history.STARTED):
        kept = stored.read(kube, spec.namespace, spec.release, newest.number, spec.keeper)
        drift.note(kube, spec, newest.number, stored.parts(kept))


def freeze(spec: Spec, message: str, site: Site) -> None:
    """Let nobody deploy this release, saying why; with no message, let deploys go on."""
    from pipeline.deploy import standing as facts

    facts.freeze(spec, message, site)


def uses(spec: Spec, keep: int, site: Site) -> tuple[Use, ...]:
    """What the release needs of images: see `pipeline.deploy.used.uses`."""
    from pipeline.deploy import used

    return used.uses(spec, keep, site)


def left(spec: Spec, keep: int, site: Site) -> tuple[Left, ...]:
    """The revisions that are kept of the release: see `pipeline.deploy.used.revisions`."""
    from pipeline.deploy import used

    return used.revisions(spec, keep, site)


def removal(spec: Engined, with_data: bool, site: Site) -> Removal:
    """What taking the release away means: see `pipeline.deploy.remove.removal`."""
    from pipeline.deploy import remove

    return remove.removal(spec, with_data, site)


def greet(spec: Spec, site: Site) -> None:
    """Log in to the node that will be asked to pull."""
    if spec.pull != "skip" and (node := site.cluster(spec.cluster).node):
        site.host(node).run(Cmd(("true",)))


def known(spec: Spec, site: Site) -> None:
    """Whether the site knows the cluster, its kubeconfig, its tunnel and its node. Contacts nobody. Raises ConfigError."""
    cluster = site.cluster(spec.cluster)
    access_of(site, spec.cluster)
    for host in filter(None, (cluster.tunnel, cluster.node)):
        site.host(host)


def present(spec: Spec, site: Site) -> None:
    """Raise ConfigError if the cluster has no namespace for the release, and none is to be made."""
    from pipeline.deploy import work

    work.has_namespace(connect(site, spec.cluster), spec)


def idle(spec: Spec, kube: Kube, number: int, now: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which workloads of `now` were scaled to nothing though revision `number` says how many pods they have: live, for nobody."""
    if not any(each.get("spec", {}).get("replicas") == 0 for each in now):
        return []
    from pipeline.deploy import idle as scaled

    return scaled.idle(kube, spec.namespace, spec.release, number, now, spec.keeper)


def found(
    spec: Spec, images: Images, kube: Kube, newest: Revision | None, now: Sequence[Mapping[str, Any]], why: Sequence[str], inputs: str
) -> Finding:
    """The release that is live as it is wanted, by its `inputs`; else the first of the reasons `why` it is not."""
    if newest and not why:
        why = idle(spec, kube, newest.number, now)
    if why or newest is None:
        return Finding(None, "; ".join(why[:3]))
    return Finding(release_of(spec, images, newest.number, inputs), f"revision {newest.number} is live")


def driver(
    name: str,
    spec: type[Any],
    find: Callable[[Any, Images, Site], Finding],
    make: Callable[[Any, Images, Site], Release],
    warm: Callable[[Any, Site], None],
    check: Callable[[Any, Site], None],
    validate: Validate,
    rehearse: Validate,
) -> Driver:
    """The deploy driver of one tool."""
    return Driver(
        verb="deploy",
        name=name,
        takes=Images,
        gives=Release,
        spec=spec,
        find=find,
        make=make,
        stands_alone=False,  # a pod that moves to another node pulls again: the image has to stay in the registry
        exclusive=functools.partial(exclusive, validate=validate),
        live=live,
        undo=undo,
        warm=warm,
        back=back,
        standing=standing,
        confirm=confirm,
        freeze=freeze,
        check=check,
        rehearse=rehearse,
        present=present,
        uses=uses,
        left=left,
        removal=removal,
    )
