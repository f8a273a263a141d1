"""What the drivers of manifests have in common: the look, and what can be told before anything is built."""

from __future__ import annotations

import dataclasses
import shutil

from pipeline.artifacts import Images, Release
from pipeline.deploy import drift, history, manifest_files, manifest_render, stored, values
from pipeline.deploy.manifest_spec import Kubecfg, Manifests
from pipeline.deploy.shared import found, greet, known
from pipeline.errors import ConfigError
from pipeline.events import What
from pipeline.stage import Finding, Site
from pipeline.tools import placeholders
from pipeline.tools.kube import connect


def find(spec: Manifests, images: Images, site: Site) -> Finding:
    """Whether the release is live as it is wanted, and no object of it was touched: one request for each kind of object, and one."""
    kube = connect(site, spec.cluster)
    want = manifest_render.wanted(spec, images, manifest_files.read(site.root, spec), site)
    revisions = history.read(kube, spec.namespace, spec.release, spec.keeper)
    newest = revisions[0] if revisions else None
    now = stored.live(kube, spec, newest)
    # every object is compared below, and with it the images of those that are no Deployments
    why = drift.differences(kube, spec, newest, now, want, dataclasses.replace(images, images=()))
    return found(spec, images, kube, newest, now, why, want.inputs)


def make(spec: Manifests, images: Images, site: Site) -> Release:
    """Deploy and wait until it serves: see `pipeline.deploy.applied.make` for what it raises."""
    from pipeline.deploy import applied

    return applied.make(spec, images, site)


def validate(spec: Manifests, images: Images, site: Site) -> None:
    """Raise what is wrong with the manifests: see `pipeline.deploy.applied.prepared`."""
    from pipeline.deploy import applied

    applied.prepared(spec, images, site)


def rehearse(spec: Manifests, images: Images, site: Site) -> None:
    """Raise ConfigError for what is wrong with the manifests once these images are in them. Contacts nobody."""
    files = manifest_files.read(site.root, spec)
    manifest_render.objects(spec, manifest_render.wanted(spec, images, files, site), images, files, site)


def warm(spec: Manifests, site: Site) -> None:
    """Log in to the node that will be asked to pull, and load what acts."""
    from pipeline.deploy import applied as _applied  # noqa: F401  # its import takes as long as a request

    greet(spec, site)


def check(spec: Manifests, site: Site) -> None:
    """Contacts nobody. Raises ConfigError or AuthError for what the deploy itself would stumble over."""
    known(spec, site)
    for line in manifest_render.told(spec, manifest_files.read(site.root, spec), site):
        site.tell(What.WARN, "deploy", line)
    placeholders.check(spec.values, "values", placeholders.OF_THE_SECRET)
    if isinstance(spec, Kubecfg):
        placeholders.check(spec.external, "external", placeholders.OF_THE_SECRET)
    values.secret_data(spec.secret, site)
    program = site.tool(spec.program)
    if shutil.which(program) is None:
        from pipeline.tools import kubecfg, kubectl

        install = {"kubectl": kubectl.INSTALL, "kubecfg": kubecfg.INSTALL}[spec.program]
        raise ConfigError(f"{program} cannot be run: it is not there", mend=install)
