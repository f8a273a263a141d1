"""What a deploy needs from here, looked at before anything is built: cluster, chart, placeholders, secrets, helm."""

from __future__ import annotations

import shutil

from pipeline.deploy import chart, values
from pipeline.deploy.spec import Helm
from pipeline.errors import ConfigError
from pipeline.stage import Site
from pipeline.tools.kubeconfig import access_of


def check(spec: Helm, site: Site) -> None:
    """Contacts nobody. Raises ConfigError or AuthError for what the deploy itself would stumble over."""
    cluster = site.cluster(spec.cluster)
    access_of(site, spec.cluster)
    for host in filter(None, (cluster.tunnel, cluster.node)):
        site.host(host)
    chart.read(site.root, spec.chart)
    values.check_words(spec.values, "values", ("secret",))
    values.secret_data(spec.secret, site)
    helm = site.tool("helm")
    if shutil.which(helm) is None:
        raise ConfigError(f"{helm} cannot be run: it is not there", mend="install Helm 3.13 or later, or name it in the site's tools")
