"""What a deploy needs from here, looked at before anything is built: cluster, chart, placeholders, secrets, helm."""

from __future__ import annotations

import re
import shutil

from pipeline.deploy import chart, values
from pipeline.deploy.spec import Helm
from pipeline.errors import ConfigError
from pipeline.stage import Site
from pipeline.tools.kubeconfig import access_of

SIMPLE = ("app", "commit", "short", "secret", "repository", "digest", "tag")
OF_ONE_IMAGE = re.compile(r"[^{}.]+\.(repository|digest|tag)")


def check(spec: Helm, site: Site) -> None:
    """Contacts nobody. Raises ConfigError or AuthError for what the deploy itself would stumble over."""
    cluster = site.cluster(spec.cluster)
    access_of(site, spec.cluster)
    for host in filter(None, (cluster.tunnel, cluster.node)):
        site.host(host)
    chart.read(site.root, spec.chart)
    words(spec)
    values.secret_data(spec.secret, site)
    helm = site.tool("helm")
    if shutil.which(helm) is None:
        raise ConfigError(f"{helm} cannot be run: it is not there", mend="install Helm 3.13 or later, or name it in the site's tools")


def words(spec: Helm) -> None:
    """Raises ConfigError for a placeholder in `values` that no image could fill, with its place."""
    for name, value in values.flat(spec.values):
        for found in values.WORD.finditer(value) if isinstance(value, str) else ():
            word = found[1]
            if word is None or word in SIMPLE or OF_ONE_IMAGE.fullmatch(word):
                continue  # {{ and }} are the braces themselves
            known = ", ".join(f"{{{each}}}" for each in SIMPLE)
            raise ConfigError(f"values.{name}: {{{word}}} is not known", mend=f"known are {known}; a brace itself is written {{{{ or }}}}")
