"""Deploys with Helm: nothing where nothing changed, by digest, under a lock, watched until it serves, taken back where it does not.

What only acts is loaded when something is to be done: the look is two requests and few imports.
"""

from __future__ import annotations

from pipeline.artifacts import Images, Release
from pipeline.deploy import chart, history, values
from pipeline.deploy.compare import differences, release_of
from pipeline.deploy.shared import back, exclusive, freeze, live, standing, undo
from pipeline.deploy.spec import Helm
from pipeline.host import Cmd
from pipeline.stage import Driver, Finding, Site
from pipeline.tools.kube import connect

__all__ = ["DRIVER", "check", "find", "live", "make", "undo", "warm"]


def find(spec: Helm, images: Images, site: Site) -> Finding:
    """Whether the release is live as it is wanted: two requests on one connection, and beside them one for a chart in a registry."""
    kube = connect(site, spec.cluster)
    with chart.asked(spec, site) as identity:
        revisions = history.read(kube, spec.namespace, spec.release)
        newest = revisions[0] if revisions else None
        now = history.running(kube, spec.namespace, spec.release, images) if newest else []
        made_of = identity()
    want = values.wanted(spec, images, made_of, site)
    why = differences(newest, now, want, images, spec.release)
    if newest and not why and any(each.get("spec", {}).get("replicas") == 0 for each in now):
        from pipeline.deploy import idle

        why = idle.idle(kube, spec.namespace, spec.release, newest.number, now)
    if why or newest is None:
        return Finding(None, "; ".join(why[:3]))
    of = f", of chart {made_of}" if "@" in made_of else ""
    return Finding(release_of(spec, images, newest.number, want.inputs), f"revision {newest.number} is live{of}")


def make(spec: Helm, images: Images, site: Site) -> Release:
    """Deploy and wait until it serves: see `pipeline.deploy.upgrade.make` for what it raises."""
    from pipeline.deploy import upgrade

    return upgrade.make(spec, images, site)


def warm(spec: Helm, site: Site) -> None:
    """Log in to the node that will be asked to pull, and load what acts."""
    from pipeline.deploy import upgrade as _upgrade  # noqa: F401  # its import takes as long as a request

    if spec.pull != "skip" and (node := site.cluster(spec.cluster).node):
        site.host(node).run(Cmd(("true",)))


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
