"""Publishes a chart: packed, linted, stored under its version, which from then on stands for this content and no other."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import Source
from pipeline.deploy import chart, oci, packed, process
from pipeline.deploy.oci import Named, Place
from pipeline.deploy.spec import SCHEME, Helm
from pipeline.errors import ConfigError, IntegrityError, PipelineError
from pipeline.events import What
from pipeline.records import FAILED, FOUND, MADE
from pipeline.stage import Plan, Site
from pipeline.tools import helm, versions
from pipeline.tools.registry import Manifest

STAGE = "chart"
LINT = 60.0  # seconds


@dataclass(frozen=True)
class Package:
    """A chart ready to go: `made` is what a registry gets, `files` what is in it, `folder` where it came from."""

    name: str
    version: str
    made: packed.Made
    files: packed.Files
    folder: Path


@dataclass(frozen=True)
class Published:
    """A chart in a registry. `state` is made or found."""

    reference: str
    version: str
    digest: str
    state: str
    size: int


def source_of(plan: Plan) -> Helm:
    """The options of the stage that says which chart is published, and where. Raises ConfigError where none does."""
    spec = next((stage.spec for stage in plan if isinstance(stage.spec, Helm)), None)
    if spec is None or not spec.source:
        raise ConfigError(
            "this blueprint publishes no chart",
            mend=f"deploy: {{driver: helm, chart: {SCHEME}REGISTRY/PATH, source: FOLDER, …}}",
        )
    return spec


def package(spec: Helm, site: Site, app_version: str = "") -> Package:
    """The chart of `spec.source` as it would be published; `app_version` replaces the one in Chart.yaml.

    Raises ConfigError where it is no chart, lacks a chart it depends on, or is called otherwise than the repository's last word, which
    is what helm asks for.
    """
    read = chart.read(site.root, spec.source)
    files = packed.with_app_version(packed.kept(read.files), app_version)
    last = spec.chart.rpartition("/")[2]
    if read.name != last:
        raise ConfigError(
            f"{spec.source}/Chart.yaml calls the chart {read.name!r}, but it would be published as {last!r}",
            mend=f"write chart: {spec.chart.rpartition('/')[0]}/{read.name}: helm takes a chart by its own name only",
        )
    _dependencies(spec, files)
    versions.tag(read.version)
    return Package(read.name, read.version, packed.manifest_of(read.name, files), files, read.folder)


def push(spec: Helm, site: Site, source: Source, app_version: str = "") -> Published:
    """Publish the chart, unless this very content is there under its version: then one HEAD is all. Both are recorded.

    Raises IntegrityError where the version stands for another content, ConfigError where helm finds fault with the chart, and what the
    registry's client raises. Whoever calls it again after Transient or Ambiguous looks first, and finds what was stored.
    """
    ready, where = package(spec, site, app_version), oci.place(spec.chart, site)
    reference = f"{where}:{ready.version}"
    run, key = uuid.uuid4().hex[:12], f"{STAGE} {reference} {ready.made.digest}"
    started, tag = site.clock.now(), versions.tag(ready.version)
    there = where.client.head(where.repository, tag)
    state, digest = MADE, ready.made.digest
    try:
        if there is not None and (there == digest or _same(where, Named(ready.version, there), ready, site)):
            state, digest = FOUND, there
        else:
            site.records.intend(run, STAGE, key, "", f"{reference} is to be {digest}")
            _stored(where, tag, there, ready, site)
    except PipelineError as error:
        site.records.outcome(run, STAGE, key, "", FAILED, None, started, {"error": site.secrets.mask(error.what)})
        raise
    about = {"why": reference, "digest": digest, "commit": source.commit, "dirty": source.dirty, "size": len(ready.made.archive)}
    site.records.outcome(run, STAGE, key, "", state, None, started, about)
    site.records.remember(f"chart {reference}", digest)
    site.shared.pop(oci.key(spec), None)
    return Published(reference, ready.version, digest, state, len(ready.made.archive))


def _same(where: Place, found: Named, ready: Package, site: Site) -> bool:
    """Whether what another tool pushed, or another version of this one, holds the same files. Raises IntegrityError where it does not."""
    differ = packed.differing(ready.files, oci.contents(where, found, site).files)
    if not differ:
        return True
    raise IntegrityError(
        f"version {found.version} of {where} is another chart already",
        cause=f"it is {found.digest}; what differs: {', '.join(differ[:5])}" + (" …" if len(differ) > 5 else ""),
        mend=f"raise the version in Chart.yaml ({_next(found.version)} is next), then inv chart.push: a version never changes",
    )


def _stored(where: Place, tag: str, there: str | None, ready: Package, site: Site) -> None:
    lint(ready.folder, site)
    client, repository = where.client, where.repository
    site.tell(What.ACT, STAGE, f"{where}:{tag}, {len(ready.made.archive)} bytes")
    for blob in (ready.made.config, ready.made.archive):
        client.put_blob(repository, blob)
    now = client.head(repository, tag)
    if now not in (there, ready.made.digest):
        raise IntegrityError(
            f"somebody else has just published {where}:{tag}", cause=f"it is {now}", mend="run it again: what is there is compared"
        )
    client.put_manifest(repository, tag, Manifest(ready.made.digest, packed.MANIFEST, ready.made.manifest, "", ()))
    now = client.head(repository, tag)
    if now != ready.made.digest:
        raise IntegrityError(f"{where}:{tag} is not what was put there", cause=f"put was {ready.made.digest}, it is {now or 'gone'}")


def lint(folder: Path, site: Site) -> None:
    """Let helm look at the chart. Raises ConfigError with what it finds, by file and line where it says so."""
    process.call(site, helm.lint(site.tool("helm"), str(folder)), LINT, meaning=helm.lint_failure)


def _dependencies(spec: Helm, files: packed.Files) -> None:
    """Raises ConfigError for a chart it depends on that does not lie in charts/."""
    about = chart.description(files, f"{spec.source}/Chart.yaml")
    there = {name.split("/")[1] for name, _ in files if name.startswith("charts/")}
    for each in about.get("dependencies") or []:
        name = str(each.get("name", "")) if isinstance(each, dict) else ""
        if not any(file == name or (file.startswith(f"{name}-") and file.endswith(".tgz")) for file in there):
            mend = f"helm dependency build {spec.source}"
            raise ConfigError(f"{spec.source}/charts/ lacks {name or each}, which Chart.yaml depends on", mend=mend)


def _next(version: str) -> str:
    major, minor, patch = versions.order(version)[0]
    return f"{major}.{minor}.{patch + 1}"
