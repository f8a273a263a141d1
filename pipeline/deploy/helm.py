"""Deploys with Helm: nothing where nothing changed, by digest, under a lock, watched until it serves, taken back where it does not.

What only acts is loaded when something is to be done: the look is two requests and few imports.
"""

from __future__ import annotations

import dataclasses

from pipeline.artifacts import Images, Release
from pipeline.deploy import chart, drift, history, naming, shared, stored, values
from pipeline.deploy.shared import driver, found, greet, live, undo
from pipeline.deploy.spec import SCHEME, Helm
from pipeline.stage import Finding, Site
from pipeline.tools.kube import connect

__all__ = ["DRIVER", "check", "find", "live", "make", "undo", "warm"]


def find(spec: Helm, images: Images, site: Site) -> Finding:
    """Whether the release is live as it is wanted, and no object of it was touched: one request for its revisions and one for each kind of
    object, all on one connection, and beside them one for a chart in a registry."""
    kube = connect(site, spec.cluster)
    with chart.asked(spec, site) as identity:
        revisions = history.read(kube, spec.namespace, spec.release)
        newest = revisions[0] if revisions else None
        now = stored.live(kube, spec, newest)
        made_of = identity()
    want = values.wanted(spec, images, made_of, site)
    strict, by_tag = naming.apart(kube, spec, newest, now, images)
    why = drift.differences(kube, spec, newest, now, want, strict) or naming.unproven(spec, site, kube, now, by_tag)
    finding = found(spec, images, kube, newest, now, why, want.inputs)
    return dataclasses.replace(finding, why=f"{finding.why}, of chart {made_of}") if finding.artifact and "@" in made_of else finding


def make(spec: Helm, images: Images, site: Site) -> Release:
    """Deploy and wait until it serves: see `pipeline.deploy.upgrade.make` for what it raises."""
    from pipeline.deploy import upgrade

    return upgrade.make(spec, images, site)


def validate(spec: Helm, images: Images, site: Site) -> None:
    """Raise what is wrong with the chart and its values: see `pipeline.deploy.upgrade.prepared`."""
    from pipeline.deploy import upgrade

    upgrade.prepared(spec, images, site)


def warm(spec: Helm, site: Site) -> None:
    """Log in to the node that will be asked to pull, and load what acts."""
    from pipeline.deploy import upgrade as _upgrade  # noqa: F401  # its import takes as long as a request

    greet(spec, site)


def check(spec: Helm, site: Site) -> None:
    """What can be known to fail before anything is built: see `pipeline.deploy.needs.check`."""
    from pipeline.deploy import needs

    needs.check(spec, site)


def rehearse(spec: Helm, images: Images, site: Site) -> None:
    """Raise ConfigError for a word in the values that this release does not have, and as `pipeline.deploy.chart_trial.rehearse` for a chart
    in a folder. Contacts nobody."""
    if spec.chart.startswith(SCHEME):
        values.wanted(spec, images, "", site)
        return
    from pipeline.deploy import chart_trial

    chart_trial.rehearse(spec, images, site)


def present(spec: Helm, site: Site) -> None:
    """Raise ConfigError if there is no such chart in its registry, or no namespace for the release."""
    chart.identity(spec, site)
    shared.present(spec, site)


DRIVER = dataclasses.replace(driver("helm", Helm, find, make, warm, check, validate, rehearse), present=present)
