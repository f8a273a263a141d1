"""Manifests without a chart: kustomizations, plain YAML, jsonnet; which images they name, in which namespace, under which public name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.deploy import kustomize
from pipeline.errors import ConfigError
from pipeline.init.texts import Texts
from pipeline.tools import references

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod", "ReplicaSet")
USUAL = ("production", "prod", "k8s", "kubernetes", "manifests", "deploy", "kube", "base", "default")
CONTAINERS = ("containers", "initContainers")
YAML = (".yaml", ".yml", ".json")
EXAMPLE = re.compile(r"(.*\.)?example(\.(com|org|net))?|.*\.(local|localhost|test|internal)|localhost|\*.*|.*\$.*|.*[{}].*", re.IGNORECASE)
ARGUMENTS = re.compile(r"^\s*function\s*\(([^)]*)\)", re.MULTILINE)


@dataclass(frozen=True)
class Plain:
    """Manifests at `path` (a file or a folder). `images` are the repositories that its containers name, in their order, each with its tag;
    `namespaces` those its objects name, `host` the public name of its Ingress, `page` the path that a probe asks, `workloads` how many it
    has. `arguments` are those of a jsonnet function."""

    path: str
    images: tuple[tuple[str, str], ...] = ()
    namespaces: tuple[str, ...] = ()
    host: str = ""
    page: str = ""
    workloads: int = 0
    arguments: tuple[str, ...] = ()
    mixed: bool = False


def find(root: Path, names: Sequence[str], texts: Texts) -> tuple[tuple[Plain, ...], tuple[Plain, ...]]:
    """(kustomizations that no other one leads to, other folders and files with workloads), the likeliest first."""
    homes = {str(PurePosixPath(name).parent) for name in names if name.rpartition("/")[2] in kustomize.NAMES}
    led: dict[str, list[str]] = {}
    for folder in sorted(homes):
        try:
            led[folder] = [_named(each, root) for each in kustomize.folders(root, root / folder)]
        except ConfigError:
            led[folder] = [folder]
    below = {each for folder, those in led.items() for each in those if each != folder}
    tops = [folder for folder in led if folder not in below]
    objects = {name: found for name in names if (found := [each for each in texts.values(name) if _is_object(each)])}
    kustomized = []
    used = {name for those in led.values() for there in those for name in _resources(there, texts)}
    for folder in tops:
        named = {name for there in led[folder] for name in _resources(there, texts)}
        own = [each for name, those in objects.items() for each in those if name in named]
        if not any(_workloads(own)):
            continue
        about = [each for there in led[folder] for each in _kustomization(there, texts)]
        kustomized.append(_renamed(_read(folder, own), about))
    folders: dict[str, list[str]] = {}
    for name in (name for name in objects if name not in used):
        folders.setdefault(str(PurePosixPath(name).parent), []).append(name)
    others = []
    for folder, there in folders.items():
        having = [name for name in there if any(_workloads(objects[name]))]
        if not having:
            continue
        foreign = [each for each in names if str(PurePosixPath(each).parent) == folder and each not in there and each.endswith(YAML)]
        if (foreign or folder == ".") and len(there) == 1:
            others.append(_read(there[0], objects[there[0]]))
        else:
            whole = _read(folder, [each for name in there for each in objects[name]])
            others.append(replace(whole, mixed=bool(foreign)))
    return tuple(sorted(kustomized, key=_likelihood)), tuple(sorted(others, key=_likelihood))


def of_jsonnet(path: str, texts: Texts) -> Plain:
    """A jsonnet file with the arguments of its function, if it is one."""
    found = ARGUMENTS.search(texts.text(path))
    names = [each.partition("=")[0].strip() for each in found[1].split(",")] if found else []
    return Plain(path, arguments=tuple(filter(None, names)))


def _likelihood(found: Plain) -> tuple[Any, ...]:
    words = [word for part in PurePosixPath(found.path).parts for word in (part.lower(),)]
    rank = min((USUAL.index(word) for word in words if word in USUAL), default=len(USUAL))
    return found.mixed, min(rank, 2), -found.workloads, rank, found.path.count("/"), found.path


def _named(path: Path, root: Path) -> str:
    return path.resolve().relative_to(root.resolve()).as_posix()


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("apiVersion"), str) and isinstance(value.get("kind"), str) and (
        isinstance(value.get("metadata"), dict) or value["kind"].endswith("List")
    ) and not value["apiVersion"].startswith(("kustomize.", "skaffold", "tilt", "kind.x-k8s.io", "backstage."))  # fmt: skip


def _flat(objects: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for each in objects:
        items = each.get("items")
        if each["kind"].endswith("List") and isinstance(items, list):
            yield from _flat(item for item in items if _is_object(item))
        else:
            yield each


def _workloads(objects: Iterable[Any]) -> Iterator[dict[str, Any]]:
    return (each for each in _flat(objects) if each["kind"] in WORKLOADS)


def _read(path: str, objects: Sequence[Any]) -> Plain:
    flat = list(_flat(objects))
    images: dict[str, str] = {}
    for each in _workloads(flat):
        for container in _containers(each):
            found = references.read(str(container.get("image") or ""))
            if found.repository:
                images.setdefault(found.repository, found.tag)
    named = [str(each["metadata"].get("namespace") or "") for each in flat] + [
        str(each["metadata"].get("name")) for each in flat if each["kind"] == "Namespace"
    ]
    spaces = tuple(dict.fromkeys(filter(None, named)))
    hosts = [host for each in flat if each["kind"] == "Ingress" for host in _hosts(each) if not EXAMPLE.fullmatch(host)]
    pages = [page for each in _workloads(flat) for page in _pages(each)]
    count = sum(1 for _ in _workloads(flat))
    return Plain(path, tuple(images.items()), spaces, hosts[0] if hosts else "", pages[0] if pages else "", count)


def _containers(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        for key in CONTAINERS:
            there = value.get(key)
            yield from (each for each in there if isinstance(each, dict)) if isinstance(there, list) else ()
        for item in value.values():
            yield from _containers(item)
    elif isinstance(value, list):
        for item in value:
            yield from _containers(item)


def _hosts(ingress: dict[str, Any]) -> list[str]:
    spec = ingress.get("spec")
    rules = spec.get("rules") if isinstance(spec, dict) else None
    return [str(rule["host"]) for rule in rules if isinstance(rule, dict) and rule.get("host")] if isinstance(rules, list) else []


def _pages(workload: dict[str, Any]) -> Iterator[str]:
    for container in _containers(workload):
        for probe in ("readinessProbe", "livenessProbe"):
            told = container.get(probe)
            page = told.get("httpGet", {}) if isinstance(told, dict) else {}
            if isinstance(page, dict) and str(page.get("path", "")).startswith("/"):
                yield str(page["path"])


def _kustomization(folder: str, texts: Texts) -> Iterator[dict[str, Any]]:
    for name in kustomize.NAMES:
        yield from (each for each in texts.values(name if folder == "." else f"{folder}/{name}") if isinstance(each, dict))


def _resources(folder: str, texts: Texts) -> Iterator[str]:
    """The files that a kustomization makes its objects of."""
    for each in _kustomization(folder, texts):
        listed = each.get("resources")
        for said in listed if isinstance(listed, list) else ():
            if isinstance(said, str) and "://" not in said:
                yield os.path.normpath(PurePosixPath(folder) / said)


def _renamed(found: Plain, about: Sequence[dict[str, Any]]) -> Plain:
    """What a kustomization makes of names: those of images, and the namespace. The first of `about` is the outermost."""
    images = dict(found.images)
    for each in reversed(about):
        listed = each.get("images")
        for one in listed if isinstance(listed, list) else ():
            if isinstance(one, dict) and one.get("name") in images:
                tag = images.pop(one["name"])
                images[str(one.get("newName") or one["name"])] = str(one.get("newTag") or tag)
    space = next((str(each["namespace"]) for each in about if each.get("namespace")), "")
    return replace(found, images=tuple(images.items()), namespaces=(space,) if space else found.namespaces)
