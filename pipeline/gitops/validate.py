"""Every manifest of a GitOps repository looked at before it is committed: its schema, and the files and folders that it names."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ConfigError
from pipeline.gitops.place import INFRASTRUCTURE, Place
from pipeline.gitops.schemas import GROUPS, Schemas
from pipeline.tools import yamledit_scalar
from pipeline.tools.yamledit_tree import Node, parse
from pipeline.yamlfile import keys_like

COMPONENTS = "gotk-components.yaml"  # Flux's own, larger than all else, and none of ours
SHOWN = 8
MIGRATE = "inv flux.migrate"
REMOTE = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(:|/[^/]+/)")  # host/owner/… or user's host:…, as kustomize takes them


@dataclass(frozen=True)
class Finding:
    """Something wrong: `where` is file:line, `what` a sentence, `mend` what to do."""

    where: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Manifest:
    """One object of a file: its `value`, and the line of each path in it."""

    file: str
    value: Mapping[str, Any]
    line: Callable[[tuple[str, ...]], int]

    @property
    def version(self) -> tuple[str, str]:
        """(group, version); the group of core kinds is ""."""
        group, _, version = str(self.value.get("apiVersion") or "").rpartition("/")
        return group, version

    @property
    def kind(self) -> str:
        return str(self.value.get("kind") or "")

    def place(self, path: tuple[str, ...] = ()) -> str:
        return f"{self.file}:{self.line(path)}"


def check(files: Mapping[str, bytes], place: Place, schemas: Schemas) -> None:
    """Raises ConfigError where a manifest of the repository is wrong; all that is, is named."""
    found = list(findings(files, place, schemas))
    if not found:
        return
    more = f"\nand {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    raise ConfigError(
        f"{found[0]}" if len(found) == 1 else f"{len(found)} things are wrong in the GitOps repository",
        cause="" if len(found) == 1 else "\n".join(map(str, found[:SHOWN])) + more,
        mend=found[0].mend,
    )


def findings(files: Mapping[str, bytes], place: Place, schemas: Schemas) -> Iterator[Finding]:
    """What is wrong with the manifests below the cluster's folder and the infrastructure's; `files` are all of the repository."""
    ours = (f"{place.cluster_folder}/", f"{INFRASTRUCTURE}/")
    for file, body in sorted(files.items()):
        if not file.startswith(ours) or not file.endswith((".yaml", ".yml")) or file.endswith(f"/{COMPONENTS}"):
            continue
        try:
            manifests = list(read(file, body))
        except ConfigError as error:
            where, _, what = error.what.partition(": ")
            yield Finding(where, what or error.cause, error.mend)
            continue
        for each in manifests:
            yield from _schema(each, schemas)
            yield from _references(each, files, place)


def read(file: str, body: bytes) -> Iterator[Manifest]:
    """The objects of a file. Raises ConfigError, with file and line, where it is not YAML."""
    tree = parse(body.decode(errors="replace"), file)
    anchors = {node.anchor: node for document in tree.documents for node in _nodes(document) if node.anchor and node.form != "alias"}
    for document in tree.documents:
        if document.form == "mapping":
            lines: dict[tuple[str, ...], int] = {}
            value = _value(document, anchors, (), lines, 0)
            yield Manifest(file, value, _line(document, lines))


def _schema(manifest: Manifest, schemas: Schemas) -> Iterator[Finding]:
    group, version = manifest.version
    if not group.endswith(GROUPS):
        return
    known = schemas.versions(group, manifest.kind)
    if not known:
        near = keys_like(manifest.kind, [kind for of, kind in schemas.kinds if of == group])
        if schemas:
            yield Finding(manifest.place(("kind",)), f"{group} has no kind {manifest.kind}{near}", "correct it, or install what brings it")
        return
    if version not in known:
        what = f"{group}/{version} is not served by this Flux; {manifest.kind} is {group}/{known[0]} there"
        yield Finding(manifest.place(("apiVersion",)), what, MIGRATE)
        return
    if version != known[0]:
        what = f"{group}/{version} goes away with a later Flux; {manifest.kind} is {group}/{known[0]} now"
        yield Finding(manifest.place(("apiVersion",)), what, MIGRATE)
    for path, what in schemas.wrong(group, version, manifest.kind, manifest.value):
        yield Finding(manifest.place(path), f"{'.'.join(path) or manifest.kind} {what}", "correct it there, and commit")


def _references(manifest: Manifest, files: Mapping[str, bytes], place: Place) -> Iterator[Finding]:
    group, _ = manifest.version
    spec = manifest.value.get("spec")
    if group == "kustomize.config.k8s.io" or posixpath.basename(manifest.file) in ("kustomization.yaml", "kustomization.yml"):
        yield from _resources(manifest, files)
    elif not isinstance(spec, dict):
        return
    elif group == "kustomize.toolkit.fluxcd.io" and _from_here(spec.get("sourceRef"), place):
        folder = _folder(spec.get("path") or ".")
        if not _holds(files, folder):
            what = f"spec.path names {folder}, and there is no such folder"
            yield Finding(manifest.place(("spec", "path")), what, "correct it, or put the manifests there")
    elif group == "helm.toolkit.fluxcd.io" and isinstance(spec.get("chart"), dict):
        chart = spec["chart"].get("spec")
        if isinstance(chart, dict) and _from_here(chart.get("sourceRef"), place):
            folder = _folder(chart.get("chart") or ".")
            if f"{folder}/Chart.yaml".lstrip("/") not in files:
                yield Finding(
                    manifest.place(("spec", "chart", "spec", "chart")),
                    f"there is no chart in {folder}",
                    "name it as gitops.chart_from in the blueprint (inv flux.init copies it), or commit it there",
                )


def _resources(manifest: Manifest, files: Mapping[str, bytes]) -> Iterator[Finding]:
    here = posixpath.dirname(manifest.file)
    for key in ("resources", "components"):
        names = manifest.value.get(key)
        for number, name in enumerate(names if isinstance(names, list) else ()):
            if not isinstance(name, str) or "://" in name or "?ref=" in name or REMOTE.match(name):
                continue  # from elsewhere
            path = _folder(posixpath.join(here, name))
            if path not in files and not _holds(files, path):
                near = keys_like(name, [each.removeprefix(f"{here}/") for each in files if each.startswith(f"{here}/")])
                yield Finding(
                    manifest.place((key, str(number))),
                    f"{key} name {name}, and there is no such file{near}",
                    "correct it, or commit the file",
                )


def _from_here(reference: Any, place: Place) -> bool:
    """Whether a sourceRef means this repository."""
    return isinstance(reference, dict) and (reference.get("kind"), reference.get("name")) == ("GitRepository", place.flux.source)


def _folder(path: object) -> str:
    return posixpath.normpath(str(path)).removeprefix("./")


def _holds(files: Iterable[str], folder: str) -> bool:
    return folder == "." or any(each.startswith(f"{folder}/") for each in files)


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for each in node.values:
        yield from _nodes(each)


def _value(node: Node, anchors: Mapping[str, Node], path: tuple[str, ...], lines: dict[tuple[str, ...], int], hops: int) -> Any:
    lines.setdefault(path, node.line)
    if node.form == "alias":
        meant = anchors.get(node.anchor)
        return _value(meant, anchors, path, {}, hops + 1) if meant and hops < 8 else None
    if node.form == "list":
        return [_value(each, anchors, (*path, str(number)), lines, hops) for number, each in enumerate(node.values)]
    if node.form == "mapping":
        for name, _ in node.items:
            lines[*path, name.text] = name.line
        return {name.text: _value(value, anchors, (*path, name.text), lines, hops) for name, value in node.items}
    return node.text if node.tag else yamledit_scalar.value_of(node.text, node.style)


def _line(document: Node, lines: Mapping[tuple[str, ...], int]) -> Callable[[tuple[str, ...]], int]:
    def line(path: tuple[str, ...]) -> int:
        while path and path not in lines:
            path = path[:-1]
        return lines[path] if path else document.line

    return line
