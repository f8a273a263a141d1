"""What every deploy driver offers alike, whatever its release is made from: what is live, the lock, the ways back, the facts, the freeze.

What only acts is loaded when something is to be done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pipeline.artifacts import Images, Release
from pipeline.deploy import history
from pipeline.deploy.compare import live_release
from pipeline.deploy.spec import Spec
from pipeline.stage import Return, Site, Standing
from pipeline.tools.kube import connect


def live(spec: Spec, site: Site) -> Release | None:
    """What the cluster runs now, whoever deployed it; None where there is nothing."""
    kube = connect(site, spec.cluster)
    revisions = history.read(kube, spec.namespace, spec.release, spec.keeper)
    newest = next((one for one in revisions if one.status == "deployed"), None)
    return None if newest is None else live_release(spec, newest, history.workloads(kube, spec.namespace, spec.release))


@contextlib.contextmanager
def exclusive(spec: Spec, images: Images, site: Site) -> Iterator[None]:
    """Hold the release's lock. Raises Locked where somebody else is at work, or deploys are frozen."""
    from pipeline.deploy import work

    with work.exclusive(spec, images, site):
        yield


def undo(spec: Spec, release: Release, site: Site, why: str) -> None:
    """Take back a release of this run, since `why`. Always raises: RolledBack or NotRolledBack."""
    from pipeline.deploy import settle

    settle.undo(spec, release, site, why)


@contextlib.contextmanager
def back(spec: Spec, to: str, despite_freeze: bool, site: Site) -> Iterator[Return]:
    """The way back: see `pipeline.deploy.back.back`."""
    from pipeline.deploy import back as way

    with way.back(spec, to, despite_freeze, site) as found:
        yield found


def standing(spec: Spec, site: Site) -> Standing:
    """Since when and by whom it is live, what is odd about it, whether it is frozen: two requests."""
    from pipeline.deploy import standing as facts

    return facts.standing(spec, site)


def freeze(spec: Spec, message: str, site: Site) -> None:
    """Let nobody deploy this release, saying why; with no message, let deploys go on."""
    from pipeline.deploy import standing as facts

    facts.freeze(spec, message, site)
