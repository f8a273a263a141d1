"""Deploys by a commit that Flux follows: nothing where nothing changed, by digest, watched until it serves, taken back by a commit.

What only acts is loaded when something is to be done: the look is one connection to the git server and a few requests beside it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator

from pipeline.artifacts import Images, Release
from pipeline.deploy import flux_file, flux_wanted, flux_world, shared, values
from pipeline.deploy.flux_look import find
from pipeline.deploy.flux_spec import Flux
from pipeline.errors import ConfigError
from pipeline.retry import Policy
from pipeline.stage import Removal, Return, Site, Standing, Use
from pipeline.tools import placeholders
from pipeline.tools.kube import connect

__all__ = ["DRIVER", "back", "check", "exclusive", "find", "freeze", "live", "make", "standing", "undo", "uses", "warm"]


def make(spec: Flux, images: Images, site: Site) -> Release:
    """Release by a commit and wait until it serves: see `pipeline.deploy.flux_make.make` for what it raises."""
    from pipeline.deploy import flux_make

    return flux_make.make(spec, images, site)


def live(spec: Flux, site: Site) -> Release | None:
    """What the cluster runs now: see `pipeline.deploy.flux_standing.live`."""
    from pipeline.deploy import flux_standing

    return flux_standing.live(spec, site)


@contextlib.contextmanager
def exclusive(spec: Flux, images: Images, site: Site) -> Iterator[None]:
    """Hold the release's lock, which stands beside Flux's own objects. Raises Locked where somebody else is at work, or deploys are frozen;
    ConfigError where there is no Flux."""
    flux_world.require(connect(site, spec.cluster), spec)
    with shared.exclusive(spec, images, site, validate=validate):
        yield


def validate(spec: Flux, images: Images, site: Site) -> None:
    """Raise ConfigError, AuthError for what is wrong with the lines that a release writes."""
    flux_wanted.lines(flux_wanted.wanted(spec, images, site).values)


def undo(spec: Flux, release: Release, site: Site, why: str) -> None:
    """Take back a release of this run, since `why`. Always raises: RolledBack or NotRolledBack."""
    from pipeline.deploy import flux_revert

    flux_revert.undo(spec, release, site, why)


@contextlib.contextmanager
def back(spec: Flux, to: str, despite_freeze: bool, site: Site) -> Iterator[Return]:
    """The way back: see `pipeline.deploy.flux_back.back`."""
    from pipeline.deploy import flux_back

    with flux_back.back(spec, to, despite_freeze, site) as found:
        yield found


def standing(spec: Flux, site: Site) -> Standing:
    """Since when and by whom it is live, what is odd about it, whether it is frozen."""
    from pipeline.deploy import flux_standing

    return flux_standing.standing(spec, site)


def freeze(spec: Flux, message: str, site: Site) -> None:
    """Let nobody deploy this release by the pipeline, saying why; with no message, let deploys go on."""
    flux_world.require(connect(site, spec.cluster), spec)
    shared.freeze(spec, message, site)


def uses(spec: Flux, keep: int, site: Site) -> tuple[Use, ...]:
    """What the release needs of images: see `pipeline.deploy.flux_used.uses`."""
    from pipeline.deploy import flux_used

    return flux_used.uses(spec, keep, site)


def removal(spec: Flux, _with_data: bool, _site: Site) -> Removal:
    """Raise ConfigError: what Flux keeps is taken away by a person's commit."""
    raise ConfigError(
        f"{spec.namespace}/{spec.release} is kept by Flux from git: what is deleted in the cluster would come back",
        mend=f"git rm -r {spec.written.rpartition('/')[0]} in the GitOps repository, and push: Flux deletes what it made (its Kustomization"
        f" {spec.kustomization} has to say prune: true), and helm-controller uninstalls the release; volume claims of StatefulSets stay",
    )


def warm(spec: Flux, site: Site) -> None:
    """Log in to the node that will be asked to pull, and load what acts."""
    from pipeline.deploy import flux_make as _flux_make  # noqa: F401  # its import takes as long as a request

    shared.greet(spec, site)


def check(spec: Flux, site: Site) -> None:
    """Contacts nobody. Raises ConfigError or AuthError for what the deploy itself would stumble over."""
    shared.known(spec, site)
    flux_file.repository(spec, site).check()
    placeholders.check(spec.values, "values", placeholders.OF_THE_SECRET)
    flux_wanted.paths(spec)
    values.secret_data(spec.secret, site)
    if shutil.which(site.tool("git")) is None:
        raise ConfigError(f"{site.tool('git')} cannot be run: it is not there", mend="install it: apt install git")


def present(spec: Flux, site: Site) -> None:
    """Raise ConfigError if the cluster has no Flux, or the repository no file that a release may write."""
    flux_world.require(connect(site, spec.cluster), spec)
    flux_file.check(spec, flux_file.text(flux_file.repository(spec, site).look(), spec), flux_wanted.paths(spec))


DRIVER = dataclasses.replace(
    shared.driver("flux", Flux, find, make, warm, check, validate, validate),
    exclusive=exclusive,
    live=live,
    undo=undo,
    back=back,
    standing=standing,
    confirm=None,  # its Secrets are helm-controller's, which holds what stands on them against what it wrote
    freeze=freeze,
    present=present,
    uses=uses,
    left=None,  # helm-controller keeps as many revisions as the HelmRelease says (maxHistory)
    removal=removal,
    policy=Policy(attempts=20, patience=150.0, base=1.0, cap=15.0),  # a git server may be away for a minute
)
