"""Renders a chart before anything is built, with images of the names that the build will give: what cannot work is told then."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.artifacts import Images
from pipeline.deploy import chart, layers, stored, typos, upgrade
from pipeline.deploy.chart import Chart
from pipeline.deploy.spec import Helm
from pipeline.errors import ConfigError
from pipeline.events import What
from pipeline.host import Cmd
from pipeline.host.local import LocalHost
from pipeline.stage import Site
from pipeline.tools import goyaml, helm, placeholders, references

STAGE = "deploy"
LIMIT = 60.0  # seconds helm may take
ASKS = (b"lookup", b".Capabilities")  # in a template: what it gives depends on the cluster
PLACES = ("repository", "image")  # how the values of charts call an image's name
SHOWN = 8


def rehearse(spec: Helm, images: Images, site: Site) -> None:
    """Raise ConfigError for a chart that cannot be rendered with its values, and for an image that the chart would not use."""
    made, want = upgrade.prepared(spec, images, site)
    seen = f"rehearsed {spec.namespace}/{spec.release} {want.code}"
    if site.records.hint(seen):
        return
    home = site.root / ".pipeline" / "deploy"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=home, prefix=".trial-") as folder:
        files = upgrade.values_files(Path(folder), spec.release, want)
        argv = helm.template(site.tool("helm"), spec.release, spec.namespace, str(made.folder), files)
        output = LocalHost().run(Cmd(argv, env=helm.environment(os.environ, str(home)), cwd=str(site.root), timeout=LIMIT, secret=True))
    if not output.ok:
        error = typos.explained(helm.failure(output.code, output.errors), layers.read(site.root, spec.values_files, spec.values), made.name)
        if isinstance(error, ConfigError) and not (helm.is_of_the_cluster(error) and _asks_the_cluster(made)):
            raise error
        said = " ".join(f"{error.what}: {error.cause}".split())
        site.tell(What.WARN, STAGE, f"the chart could not be tried before the build: {said[:500]}")
        return
    _check_used(made, images, output.stdout.decode(errors="replace"))
    site.records.remember(seen, "yes")


def _asks_the_cluster(made: Chart) -> bool:
    """Whether what the templates give may depend on the cluster; of charts in archives that is taken for granted."""
    if chart.description(made.files, "Chart.yaml").get("kubeVersion"):
        return True  # helm has a version of its own in mind
    return any(name.endswith(".tgz") or ("templates/" in name and any(word in text for word in ASKS)) for name, text in made.files)


def _check_used(made: Chart, images: Images, text: str) -> None:
    """Raise ConfigError for an image of the build that stands nowhere in what the chart gives."""
    unused = [each for each in images.images if each.digest not in text and f"{each.repository}:{each.tag}" not in text]
    if not unused:
        return
    used = [references.read(each) for each in stored.images({"manifest": text})]
    others = ", ".join(sorted({each.repository for each in used if each.repository})) or "none"
    name = "" if len(images.images) == 1 else placeholders.names(images.images)[images.images.index(unused[0])] + "."
    raise ConfigError(
        f"image {unused[0].repository} is not used by chart {made.name}",
        cause=f"used are: {others}",
        mend=f"hand it in under the stage's `values`, where the chart's own name its image{_said(made)}: "
        f'repository: "{{{name}repository}}", tag: "{{{name}tag}}@{{{name}digest}}"; or build it in a blueprint of its own',
    )


def _said(made: Chart) -> str:
    """Where the chart's own values name images, as " (image.repository, …)"."""
    found = list(_places(next(iter(goyaml.values(dict(made.files).get("values.yaml", b"").decode(errors="replace"), "values.yaml")), None)))
    return f" ({', '.join(found[:SHOWN])})" if found else ""


def _places(values: Any) -> Iterator[str]:
    for path, _ in placeholders.texts(values if isinstance(values, Mapping) else {}):
        if path[-1] in PLACES:
            yield ".".join(path)
