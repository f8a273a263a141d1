"""Deploys with Helm: nothing where nothing changed, by digest, under a lock, watched until it serves, taken back where it does not.

What only acts is loaded when something is to be done: the look is two requests and few imports.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pipeline.artifacts import Images, Release
from pipeline.deploy import chart, history, values
from pipeline.deploy.compare import differences, live_release, release_of
from pipeline.deploy.spec import Helm
from pipeline.host import Cmd
from pipeline.stage import Driver, Finding, Return, Site, Standing
from pipeline.tools.kube import connect


def find(spec: Helm, images: Images, site: Site) -> Finding:
    """Whether the release is live as it is wanted: two requests on one connection."""
    kube = connect(site, spec.cluster)
    want = values.wanted(spec, images, chart.identity(spec, site), site)
    revisions = history.read(kube, spec.namespace, spec.release)
    newest = revisions[0] if revisions else None
    now = history.deployments(kube, spec.namespace, spec.release) if newest else []
    why = differences(newest, now, want, images, spec.release)
    if newest and not why and any(each.get("spec", {}).get("replicas") == 0 for each in now):
        from pipeline.deploy import idle

        why = idle.idle(kube, spec.namespace, spec.release, newest.number, now)
    if why or newest is None:
        return Finding(None, "; ".join(why[:3]))
    return Finding(release_of(spec, images, newest.number, want.inputs), f"revision {newest.number} is live")


def live(spec: Helm, site: Site) -> Release | None:
    """What the cluster runs now, whoever deployed it; None where there is nothing."""
    kube = connect(site, spec.cluster)
    newest = next((one for one in history.read(kube, spec.namespace, spec.release) if one.status == "deployed"), None)
    return None if newest is None else live_release(spec, newest, history.deployments(kube, spec.namespace, spec.release))


def make(spec: Helm, images: Images, site: Site) -> Release:
    """Deploy and wait until it serves: see `pipeline.deploy.upgrade.make` for what it raises."""
    from pipeline.deploy import upgrade

    return upgrade.make(spec, images, site)


@contextlib.contextmanager
def exclusive(spec: Helm, images: Images, site: Site) -> Iterator[None]:
    """Hold the release's lock. Raises Locked where somebody else is at work, or deploys are frozen."""
    from pipeline.deploy import work

    with work.exclusive(spec, images, site):
        yield


def warm(spec: Helm, site: Site) -> None:
    """Log in to the node that will be asked to pull, and load what acts."""
    from pipeline.deploy import upgrade as _upgrade  # noqa: F401  # its import takes as long as a request

    if spec.pull != "skip" and (node := site.cluster(spec.cluster).node):
        site.host(node).run(Cmd(("true",)))


def undo(spec: Helm, release: Release, site: Site, why: str) -> None:
    """Take back a release of this run, since `why`. Always raises: RolledBack or NotRolledBack."""
    from pipeline.deploy import settle

    settle.undo(spec, release, site, why)


@contextlib.contextmanager
def back(spec: Helm, to: str, despite_freeze: bool, site: Site) -> Iterator[Return]:
    """The way back: see `pipeline.deploy.back.back`."""
    from pipeline.deploy import back as way

    with way.back(spec, to, despite_freeze, site) as found:
        yield found


def standing(spec: Helm, site: Site) -> Standing:
    """Since when and by whom it is live, what is odd about it, whether it is frozen: two requests."""
    from pipeline.deploy import standing as facts

    return facts.standing(spec, site)


def freeze(spec: Helm, message: str, site: Site) -> None:
    """Let nobody deploy this release, saying why; with no message, let deploys go on."""
    from pipeline.deploy import standing as facts

    facts.freeze(spec, message, site)


def check(spec: Helm, site: Site) -> None:
    """What can be known to fail before anything is built: see `pipeline.deploy.needs.check`."""
    from pipeline.deploy import needs

    needs.check(spec, site)


DRIVER = Driver(
    verb="deploy",
    name="helm",
    takes=Images,
    gives=Release,
    spec=Helm,
    find=find,
    make=make,
    stands_alone=False,  # a pod that moves to another node pulls again: the image has to stay in the registry
    exclusive=exclusive,
    live=live,
    undo=undo,
    warm=warm,
    back=back,
    standing=standing,
    freeze=freeze,
    check=check,
)
