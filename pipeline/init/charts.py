"""Helm charts: which of them is the application's, and by which values it is told its images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pipeline.init.texts import Texts
from pipeline.tools import references

FORMS = ("repository", "image", "name")  # keys of a mapping that say which image, beside one that says its tag
DEPTH = 6


@dataclass(frozen=True)
class Named:
    """An image that values name: `path` is where, `keys` which of its mapping's keys say it (none: the value itself), `repository` (with
    its registry) and `tag` what stands there."""

    path: tuple[str, ...]
    keys: tuple[str, ...]
    repository: str
    tag: str

    def filled(self, word: str) -> str:
        """What to write there, as flow text: `word` is "" for the only image, else its name and a dot."""
        if not self.keys:
            return f'"{{{word}reference}}"'
        return "{" + ", ".join(f'{key}: "{value}"' for key, value in self.parts(word).items()) + "}"

    def parts(self, word: str) -> dict[str, str]:
        """The same key by key."""
        own = next((key for key in self.keys if key in FORMS), "")
        parts = {"registry": f"{{{word}repository.registry}}"} if "registry" in self.keys else {}
        if own:
            parts[own] = f"{{{word}repository.path}}" if "registry" in self.keys else f"{{{word}repository}}"
        pinned = next((key for key in ("digest", "sha") if key in self.keys), "")
        tag = next((key for key in self.keys if key in ("tag", "imageTag", "version")), "")
        if tag:
            parts[tag] = f"{{{word}tag}}" if pinned else f"{{{word}tag}}@{{{word}digest}}"
        if pinned:
            parts[pinned] = f"{{{word}digest.hex}}" if pinned == "sha" else f"{{{word}digest}}"
        return parts


@dataclass(frozen=True)
class Chart:
    """A chart in `folder` of the working copy. `images` are those that its values name, `hosts` the public names in them, `fetched` the
    charts that it depends on and that do not lie in it."""

    folder: str
    name: str
    version: str
    images: tuple[Named, ...]
    fetched: tuple[str, ...] = ()


def find(paths: Iterable[str], known: frozenset[str], texts: Texts, app: str) -> tuple[Chart, ...]:
    """The charts that are no part of another one and no library, the application's own first."""
    folders = [str(PurePosixPath(path).parent) for path in paths]
    found = []
    for folder in folders:
        if any(f"{folder}/".startswith(f"{other}/charts/" if other != "." else "charts/") for other in folders if other != folder):
            continue
        if "{{" in folder:
            continue
        about = next((each for each in texts.values(_in(folder, "Chart.yaml")) if isinstance(each, dict)), {})
        if about.get("type") == "library" or not isinstance(about.get("name"), str):
            continue
        values = next((each for each in texts.values(_in(folder, "values.yaml")) if isinstance(each, dict)), {})
        images = tuple(_images(values, (), str(about.get("appVersion") or "")))
        found.append(Chart(folder, about["name"], str(about.get("version") or ""), images, tuple(_fetched(about, folder, known))))
    return tuple(
        sorted(found, key=lambda each: (each.name != app, not each.images, app not in each.folder, each.folder.count("/"), each.folder))
    )


def _in(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def _fetched(about: dict[str, Any], folder: str, known: frozenset[str]) -> Iterator[str]:
    wanted = about.get("dependencies")
    for each in wanted if isinstance(wanted, list) else ():
        name = each.get("name") if isinstance(each, dict) else None
        place = _in(folder, f"charts/{name}")
        if name and not any(path.startswith((f"{place}/", f"{place}-")) for path in known):
            yield str(name)


def _images(value: Any, path: tuple[str, ...], version: str) -> Iterator[Named]:
    """Every image that values name, in their order."""
    if not isinstance(value, dict) or len(path) > DEPTH:
        return
    said = _mapping(value, path, version)
    if said:
        yield said
    for key, item in value.items():
        if said and key in said.keys:
            continue
        if isinstance(item, str) and _is_image_key(key) and references.read(item).repository and "{{" not in item:
            found = references.read(item)
            if found.tag or found.digest or "/" in item:
                yield Named((*path, key), (), found.repository, found.tag)
        else:
            yield from _images(item, (*path, key), version)


def _is_image_key(key: str) -> bool:
    return key.lower().endswith("image")


def _mapping(value: dict[str, Any], path: tuple[str, ...], version: str) -> Named | None:
    own = next((key for key in FORMS if isinstance(value.get(key), str) and value[key]), "")
    if not own or (own == "name" and not (path and "image" in path[-1].lower())) or "{{" in value[own]:
        return None
    tags = [key for key in ("tag", "imageTag", "digest", "sha") if key in value and not isinstance(value[key], dict | list)]
    about_image = bool(path) and "image" in path[-1].lower()
    if not tags and not (own == "repository" and (about_image or "pullPolicy" in value)):
        return None
    if own == "repository" and not about_image and not tags:
        return None
    found = references.read(value[own])
    registry = value.get("registry")
    keys = [own, *(["registry"] if isinstance(registry, str) else []), *tags]
    if not {"tag", "imageTag"} & set(tags):
        keys.append("tag")  # the usual key: a chart that has no such word leaves it alone
    repository = f"{registry}/{found.repository}" if registry else found.repository
    return Named(path, tuple(keys), repository, str(value.get("tag") or value.get("imageTag") or found.tag or version))


def choose(chart: Chart, names: Sequence[str], app: str) -> dict[str, Named]:
    """Which image of the values each of the built ones (`names`) is: by its name, else the chart's own if there is one image alone."""
    left = list(chart.images)
    found: dict[str, Named] = {}
    for called in (_is_called, _has_word):
        for name in [name for name in names if name not in found]:
            if hit := next((each for each in left if called(each, name)), None):
                found[name] = hit
                left.remove(hit)
    for name in [name for name in names if name not in found]:
        top = [each for each in left if len(each.path) == 1]
        if len(names) == 1 and left:
            found[name] = (top or left)[0]
        elif name == app and top:
            found[name] = top[0]
            left.remove(top[0])
    return found


def _is_called(image: Named, name: str) -> bool:
    words = {image.repository.rpartition("/")[2].lower(), *(each.lower() for each in image.path)}
    plain = {word.replace("-", "").replace("_", "") for word in words}
    return name in words or name.replace("-", "") in plain or f"{name.replace('-', '')}image" in plain


def _has_word(image: Named, name: str) -> bool:
    """Whether the last word of the repository has the name as a part of it."""
    return bool(re.search(rf"(^|[-_.]){re.escape(name)}([-_.]|$)", image.repository.rpartition("/")[2].lower()))


def prefixed(chart: Chart) -> Named | None:
    """The values by which a chart makes the names of all its images, if it does: a place that they all lie in, and one tag."""
    return next((each for each in chart.images if each.path[-1:] == ("images",) and "repository" in each.keys), None)
