"""A chart in a registry: its version resolved to a digest by one HEAD, its content pulled once into a cache of the working copy.

Helm's own client follows the token realm that a registry names, and fails where that does not answer: ours does not. Helm gets the archive.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import jsontext
from pipeline.deploy import chart, packed
from pipeline.deploy.chart import Chart
from pipeline.deploy.spec import SCHEME, Helm
from pipeline.errors import ConfigError, IntegrityError, ResourceError
from pipeline.events import What
from pipeline.stage import Registry, Site, registry_at
from pipeline.tools import references, registry, versions
from pipeline.tools.registry import Client, client_of

STAGE = "deploy"
SHOWN = 8  # versions named in an error


@dataclass(frozen=True)
class Place:
    """A repository of charts, and who asks its registry."""

    client: Client
    repository: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.client.origin.address}/{self.repository}"


@dataclass(frozen=True)
class Named:
    """A chart in a registry: its version, and the digest of the manifest that stands for it."""

    version: str
    digest: str

    def __str__(self) -> str:
        return f"{self.version}@{self.digest}"


def place(reference: str, site: Site) -> Place:
    """Where oci://REGISTRY/PATH is: REGISTRY is a name of the site, or a host. Nobody is asked.

    A host that the site has under a name is asked as that name says, any other one by https and with whatever login this machine has for
    it. Raises ConfigError for what is neither.
    """
    host, _, repository = reference.removeprefix(SCHEME).partition("/")
    references.repository(repository)
    if known := _name(host, site):
        return Place(client_of(site, known), repository)
    if "." not in host and ":" not in host and host != "localhost":
        site.registry(host)  # raises, with the near one
    stranger = dataclasses.replace(site, registries={host: Registry(references.address(host))})
    return Place(client_of(stranger, host), repository)


def needs(reference: str, site: Site) -> None:
    """What `place` needs, its registry's password too. Nobody is asked. Raises ConfigError or AuthError."""
    place(reference, site)
    if known := _name(reference.removeprefix(SCHEME).partition("/")[0], site):
        registry.needs(site, known)


def _name(host: str, site: Site) -> str:
    """The site's name for a registry that is called by its name or its host, "" where it has none."""
    if host in site.registries:
        return host
    return registry_at(site.registries, host)


def named(spec: Helm, site: Site) -> Named:
    """Which chart `spec` means: one HEAD for a version, none for a pinned digest, and a list of tags before it for a range or the latest.

    Resolved once in a run. Raises ConfigError where there is none, IntegrityError where a version is not what it was when this working
    copy last saw it, or not what its source is.
    """
    found: Named = site.share(key(spec), lambda: _resolved(spec, site))
    return found


def key(spec: Helm) -> str:
    """Where a site keeps what `named` found."""
    return f"chart {spec.chart} {spec.version or spec.source}"


def pulled(spec: Helm, site: Site) -> Chart:
    """The chart whole, from the cache or by two GETs. Raises IntegrityError where what lies there is no chart, or the cache was changed."""
    found, where = named(spec, site), place(spec.chart, site)
    return contents(where, found, site)


def contents(where: Place, found: Named, site: Site) -> Chart:
    """See `pulled`."""
    text = f"{where}:{found.version}"
    _, body = _kept(site, found.digest, ".json", lambda: _manifest(where, found))
    layer = _content(body, text)
    file, archive = _kept(site, layer, ".tgz", lambda: _layer(where, layer, text))
    folder, files = packed.unpack(archive, text)
    name, version = chart.metadata(files, text)
    if version != found.version or folder != name:
        raise IntegrityError(
            f"{text} holds chart {name} {version} in the folder {folder}",
            mend="do not deploy it; look who pushed it, and push it again under its own version",
        )
    return Chart(file, name, version, files, str(found))


def _resolved(spec: Helm, site: Site) -> Named:
    where = place(spec.chart, site)
    version, _, digest = spec.version.partition("@")
    source = chart.read(site.root, spec.source) if spec.source and not version else None
    version = source.version if source else version
    if not versions.exact(version):
        there = versions.of_tags(where.client.tags(where.repository))
        best = versions.best(version, there)
        if best is None:
            raise _missing(where, f"no version that {version} allows", there, spec)
        site.tell(What.LOG, STAGE, f"{where}: {version} is {best}")
        version = best
    seen = digest or where.client.head(where.repository, versions.tag(version))
    if seen is None:
        raise _missing(where, f"no version {version}", versions.of_tags(where.client.tags(where.repository)), spec)
    found = Named(version, seen)
    _compared_with_before(where, found, site, pinned=bool(digest))
    if source:
        _compared_with_source(where, found, source, spec, site)
    return found


def _missing(where: Place, what: str, there: list[str], spec: Helm) -> ConfigError:
    names = ", ".join(there[: -SHOWN - 1 : -1])
    mend = f"inv chart.push publishes {spec.source}/" if spec.source else "name one of these" if there else "correct `chart`, or push one"
    return ConfigError(f"{where} has {what}", cause=f"there are {names}" if names else "it has no chart at all", mend=mend)


def _compared_with_before(where: Place, found: Named, site: Site, *, pinned: bool) -> None:
    hint = f"chart {where}:{found.version}"
    before = site.records.hint(hint)
    if before and before != found.digest and not pinned:
        raise IntegrityError(
            f"version {found.version} of the chart {where} is not what it was",
            cause=f"it was {before}, it is {found.digest}",
            mend=f"find out who pushed it again; to take it as it is, pin it: version: {found}",
        )
    if before != found.digest:
        site.tell(What.LOG, STAGE, f"{where}:{found.version} is {found.digest}")
    site.records.remember(hint, found.digest)


def _compared_with_source(where: Place, found: Named, source: Chart, spec: Helm, site: Site) -> None:
    """Raises ConfigError where the working copy's chart was changed and its version was not: what is deployed would be the old one."""
    files = packed.kept(source.files)
    if packed.manifest_of(source.name, files).digest == found.digest or not packed.differing(
        contents(where, found, site).files, files, app_version=False
    ):
        return
    raise ConfigError(
        f"{spec.source}/ is not what {where}:{found.version} is",
        mend=f"raise the version in {spec.source}/Chart.yaml, then inv chart.push; or name the version to deploy in the blueprint",
    )


def _manifest(where: Place, found: Named) -> bytes:
    manifest = where.client.manifest(where.repository, found.digest)
    if manifest is None:
        raise ConfigError(f"{where} has no chart {found.digest}", mend="correct the digest, or push that chart again")
    return manifest.body


def _content(manifest: bytes, text: str) -> str:
    """The digest of the archive that a manifest names. Raises IntegrityError where it is not a chart's."""
    try:
        value: dict[str, Any] = jsontext.loads(manifest)
        config, layers = value["config"]["mediaType"], [layer for layer in value["layers"] if layer["mediaType"] == packed.CONTENT]
        digest = references.digest(str(layers[0]["digest"])) if len(layers) == 1 and config == packed.CONFIG else ""
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"what lies at {text} is not a chart", cause=f"{type(error).__name__}: {error}") from error
    if not digest:
        raise IntegrityError(f"what lies at {text} is not a chart", cause=f"its configuration is {config}", mend="correct `chart`")
    return digest


def _layer(where: Place, digest: str, text: str) -> bytes:
    body = where.client.fetch(where.repository, digest, packed.LARGEST)
    if body is None:
        raise IntegrityError(f"the registry has lost the content of {text} ({digest})", mend="push that chart again")
    return body


def _kept(site: Site, digest: str, suffix: str, fetch: Callable[[], bytes]) -> tuple[Path, bytes]:
    """The file that holds what `digest` names, and its content, asked for where it is not there yet."""
    folder = site.root / ".pipeline" / "charts"
    file = folder / (digest.removeprefix("sha256:") + suffix)
    try:
        body = file.read_bytes()
    except FileNotFoundError:
        body = fetch()
        _put(file, body)
    if references.digest_of(body) != digest:
        raise IntegrityError(
            f"{file.relative_to(site.root)} is not what its name says",
            cause=f"its bytes are {references.digest_of(body)}",
            mend="find out who changed it; delete it, and it is pulled again",
        )
    return file, body


def _put(file: Path, body: bytes) -> None:
    """The file, whole or not at all. Raises ResourceError where there is no room for it."""
    half = file.with_name(f".{secrets.token_hex(8)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:  # noqa: PTH123  # the mode counts from the first byte
            stream.write(body)
        half.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            half.unlink()
        raise ResourceError(f"the chart cannot be kept in {file.parent}", cause=str(error), mend="free some space here") from error
