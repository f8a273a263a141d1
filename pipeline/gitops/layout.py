"""The layout of a GitOps repository, from a blueprint: each generated file by its path, and which lines of them are the pipeline's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.gitops import automation, manifests
from pipeline.gitops.place import INFRASTRUCTURE, Place
from pipeline.stage import Registry, registry_at
from pipeline.tools import markers, yamledit
from pipeline.tools.providers import endpoint

LARGEST = 4 << 20  # bytes of a chart; Flux refuses artifacts of 50 MiB
VALUES = ("spec", "values")
SUSPEND = ("spec", "suspend")
OCI = "oci://"


@dataclass(frozen=True)
class Layout:
    """What the repository shall hold: `files` by path; those in `once` are begun here and then people's alone. `chart` is the folder that
    is the chart's alone, "" where it comes from elsewhere. `written` is the file with the HelmRelease: `release` gives its text around the
    lines of a head, `carry` puts the lines of its second text into its first."""

    files: Mapping[str, bytes]
    once: frozenset[str]
    chart: str
    written: str
    release: Callable[[str | None], str]
    carry: Callable[[str, str], str]

    def at(self, path: str, head: bytes | None) -> bytes:
        """What `path` shall be, given what it is: the lines that the pipeline (or Flux's automation) wrote stay as they are."""
        if path != self.written or head is None:
            return self.files[path]
        return self.release(head.decode(errors="replace")).encode()

    def untouched(self, path: str, before: bytes, now: bytes) -> bool:
        """Whether a file that was generated as `before` is `now` what it was, but for lines that a release wrote."""
        if path != self.written or before == now:
            return before == now
        texts = (text.decode(errors="replace") for text in (before, now))
        return self.carry(*texts).encode() == now


def layout(place: Place, registries: Mapping[str, Registry], chart: Mapping[str, bytes]) -> Layout:
    """The layout. `chart` are the files of the chart, where it lies in the repository: those of the working copy, or those that are there.

    Raises ConfigError where the chart cannot be taken, or a line would be written by the pipeline and by the automation.
    """
    url, insecure = chart_url(place, registries) if place.gitops.oci else ("", False)
    release, carry = _release(place)
    files = {
        f"{place.folder}/namespace.yaml": manifests.namespace(place),
        place.flux.written: release(None),
        f"{place.folder}/values.yaml": manifests.values(place),
        f"{place.cluster_folder}/{INFRASTRUCTURE}.yaml": manifests.infrastructure(place),
        f"{INFRASTRUCTURE}/sources/helm-repos.yaml": manifests.sources(place, url, insecure=insecure),
        f"{INFRASTRUCTURE}/configs/network-policies.yaml": manifests.network_policies(place, own=_polices(chart)),
    }
    if place.gitops.automation:
        files |= automation.files(place.gitops.automation, _automated(place), registries)
    copied = chart if place.gitops.chart_from else {}
    content = {path: text.encode() for path, text in files.items()} | dict(copied)
    return Layout(content, frozenset({f"{place.folder}/values.yaml"}), place.chart if copied else "", place.flux.written, release, carry)


def chart_files(root: Path, place: Place) -> dict[str, bytes]:
    """The chart of the working copy, by the paths it gets in the repository; none where the blueprint names none.

    Raises ConfigError where it is no chart, holds a symbolic link, or is too large.
    """
    if not place.gitops.chart_from:
        return {}
    folder = root / place.gitops.chart_from
    if not (folder / "Chart.yaml").is_file():
        raise ConfigError(
            f"there is no chart in {place.gitops.chart_from}", mend="correct gitops.chart_from: it names the folder with Chart.yaml"
        )
    found = {f"{place.chart}/{name}": body for name, body in _walk(folder, place.gitops.chart_from)}
    if (size := sum(map(len, found.values()))) > LARGEST:
        mend = "leave out what is no part of it"
        raise ConfigError(f"the chart {place.gitops.chart_from} has {size} bytes, more than {LARGEST >> 20} MiB", mend=mend)
    return found


def chart_url(place: Place, registries: Mapping[str, Registry]) -> tuple[str, bool]:
    """The address of a chart in a registry as Flux reaches it, and whether it is asked by plain http. A registry is named as in the site,
    or by its host. Raises ConfigError for one that is neither."""
    host, _, repository = place.chart.removeprefix(OCI).partition("/")
    name = chart_registry(place, registries)
    if not name and "." not in host and ":" not in host:
        known = ", ".join(sorted(registries)) or "none"
        raise ConfigError(f"the site has no registry {host!r}", mend=f"name one of: {known}; or write its host")
    if not repository:
        raise ConfigError(f"{place.chart} names no chart", mend="write chart: oci://REGISTRY/PATH")
    spec = registries[name] if name else None
    return f"{OCI}{endpoint(spec.address if spec else host)}/{repository}", spec is not None and spec.scheme == "http"


def chart_registry(place: Place, registries: Mapping[str, Registry]) -> str:
    """The site's name of the registry that the chart lies in, "" where it has none."""
    host = place.chart.removeprefix(OCI).partition("/")[0]
    return host if host in registries else registry_at(registries, host)


def lines(values: Mapping[str, Any], above: tuple[str, ...] = VALUES) -> Iterator[tuple[str, ...]]:
    """The paths of the lines that a release writes: the scalars of its values, not those in a list."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from lines(value, (*above, str(key)))
        elif not isinstance(value, list | tuple):
            yield (*above, str(key))


def _release(place: Place) -> tuple[Callable[[str | None], str], Callable[[str, str], str]]:
    selector = yamledit.Selector("HelmRelease", place.flux.release, place.flux.namespace)
    spec = place.gitops.automation
    marked = automation.marked(spec, _automated(place), place.flux.values) if spec else {}

    def text(values: Mapping[str, Any]) -> str:
        made = manifests.release(place, values)
        there = set(lines(values))
        wanted = {(*VALUES, *path): marker for path, marker in marked.items() if (*VALUES, *path) in there}
        return markers.put(made, wanted, selector, name=place.flux.written) if wanted else made

    def written(head: str) -> dict[tuple[str, ...], yamledit.Scalar]:
        found = yamledit.read(head, selector, [SUSPEND, *lines(place.flux.values)], place.flux.written)
        return {path: value.value for path, value in found.items() if value is not None}

    def around(head: str | None) -> str:
        if head is None:
            return text(place.flux.values)
        try:
            there = written(head)
        except ConfigError:
            return text(place.flux.values)  # people made something else of it: told as a difference, and kept
        made = text(_only(place.flux.values, there))  # a line that is not there yet is the next release's to add: no placeholder goes live
        return yamledit.edit(made, selector, there, place.flux.written)

    def carry(before: str, now: str) -> str:
        try:
            return yamledit.edit(before, selector, written(now), place.flux.written)
        except ConfigError:
            return before

    return around, carry


def _only(values: Mapping[str, Any], there: Mapping[tuple[str, ...], Any], above: tuple[str, ...] = VALUES) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        here = (*above, str(key))
        if isinstance(value, Mapping):
            if below := _only(value, there, here):
                found[str(key)] = below
        elif isinstance(value, list | tuple) or here in there:
            found[str(key)] = value
    return found


def _automated(place: Place) -> automation.Place:
    flux = place.flux
    return automation.Place(place.app, flux.release, flux.written, flux.branch, flux.system, flux.source)


def _polices(chart: Mapping[str, bytes]) -> bool:
    return any(b"kind: NetworkPolicy" in body for path, body in chart.items() if "/templates/" in path)


def _walk(folder: Path, named: str) -> Iterator[tuple[str, bytes]]:
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if any(part.startswith(".") and part != ".helmignore" for part in name.parts):
            continue  # editors' own
        if file.is_symlink():
            raise ConfigError(f"{named}/{name} is a symbolic link", mend="put the file itself there: Flux follows none")
        if file.is_file():
            yield name.as_posix(), file.read_bytes()
