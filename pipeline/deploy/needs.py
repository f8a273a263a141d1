"""What a deploy needs from here, looked at before anything is built: cluster, chart, placeholders, secrets, helm."""

from __future__ import annotations

import shutil

from pipeline.deploy import chart, layers, shared, typos, values
from pipeline.deploy.spec import SCHEME, Helm
from pipeline.errors import ConfigError
from pipeline.events import What
from pipeline.stage import Site
from pipeline.tools import placeholders

STAGE = "deploy"


def check(spec: Helm, site: Site) -> None:
    """Contacts nobody. Raises ConfigError or AuthError for what the deploy itself would stumble over."""
    shared.known(spec, site)
    _chart(spec, site)
    values.secret_data(spec.secret, site)
    helm = site.tool("helm")
    if shutil.which(helm) is None:
        raise ConfigError(f"{helm} cannot be run: it is not there", mend="install Helm 3.13 or later, or name it in the site's tools")


def _chart(spec: Helm, site: Site) -> None:
    """The chart where it lies here, and all that is said of its values."""
    here = spec.chart
    if spec.chart.startswith(SCHEME):
        from pipeline.deploy import oci

        oci.needs(spec.chart, site)
        here = spec.source
    found = layers.read(site.root, spec.values_files, spec.values)
    placeholders.check(spec.values, "values", placeholders.OF_THE_SECRET)
    for line in found.told():
        site.tell(What.WARN, STAGE, line)
    made = chart.read(site.root, here) if here else None
    if made and not spec.version:
        typos.check(made, found.merged(spec.values), found)
