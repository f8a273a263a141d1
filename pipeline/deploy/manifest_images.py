"""Other people's manifests stay valid as they are: the blueprint says which of their images the build made, as kustomize does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.artifacts import Image, Images
from pipeline.errors import ConfigError
from pipeline.tools import placeholders, references
from pipeline.yamlfile import keys_like

CONTAINERS = ("containers", "initContainers")


@dataclass(frozen=True)
class Replaced:
    """An image that the build made: `name` is what the manifests call it, without tag and digest; `newName` is the repository that it was
    pushed to, as "{web.repository}". Without it the image of the build is meant whose last word is that of `name`, or the only one there
    is."""

    name: str
    newName: str = ""  # noqa: N815  # kustomize's own word

    def __post_init__(self) -> None:
        found = references.read(self.name)
        if not found.repository or found.tag or found.digest:
            raise ValueError(f"images: {self.name!r} is what the manifests call an image, without tag and digest")


def check(objects: Sequence[Any], wanted: Sequence[Replaced]) -> None:
    """Raise ConfigError for a name that no container of the manifests has, with the near ones."""
    there = {references.read(each["image"]).repository for value in objects for each in _containers(value)}
    for each in wanted:
        if each.name not in there:
            near = keys_like(each.name, sorted(there))
            used = ", ".join(sorted(there)) or "none"
            raise ConfigError(
                f"images: no container has an image {each.name}{near}", cause=f"named are: {used}", mend="write it as the manifests do"
            )


def replaced(objects: Sequence[Any], wanted: Sequence[Replaced], images: Images, words: Mapping[str, str]) -> list[Any]:
    """The objects, what `wanted` names replaced by the images of the build, by digest. Raises ConfigError as `check`, and for a repository
    that the build has no image for."""
    check(objects, wanted)
    by_name = {each.name: _meant(each, images, words).reference for each in wanted}
    return filled(objects, by_name)


def _meant(each: Replaced, images: Images, words: Mapping[str, str]) -> Image:
    repository = str(placeholders.render(each.newName, words, "images.newName"))
    last = references.read(each.name).repository.rpartition("/")[2]
    own = [image for image in images.images if image.repository == repository or (not repository and _last(image) == last)]
    if not repository and not own:
        own = list(images.images)
    if len(own) != 1:
        made = ", ".join(image.repository for image in images.images) or "none"
        names = " or ".join(f'newName: "{{{name}.repository}}"' for name in placeholders.names(images.images))
        raise ConfigError(f"images: which image {each.name} is, is not known", cause=f"the build made: {made}", mend=f"write {names}")
    return own[0]


def _last(image: Image) -> str:
    return image.repository.rpartition("/")[2]


def filled(objects: Sequence[Any], by_name: Mapping[str, str]) -> list[Any]:
    """Return the objects with the image of each container, if its name without tag and digest is one of these, as `by_name` has it."""
    return [_filled(value, by_name) for value in objects]


def _filled(value: Any, by_name: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        found = {key: _filled(item, by_name) for key, item in value.items()}
        for key in CONTAINERS:
            if isinstance(found.get(key), list):
                found[key] = [_with(each, by_name) for each in found[key]]
        return found
    return [_filled(each, by_name) for each in value] if isinstance(value, list) else value


def _with(container: Any, by_name: Mapping[str, str]) -> Any:
    if not isinstance(container, Mapping) or not isinstance(container.get("image"), str):
        return container
    repository = references.read(container["image"]).repository
    return {**container, "image": by_name.get(repository, container["image"])}


def _containers(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every container in an object, wherever its kind has them."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in CONTAINERS and isinstance(item, list):
                yield from (each for each in item if isinstance(each, Mapping) and isinstance(each.get("image"), str))
            yield from _containers(item)
    elif isinstance(value, list):
        for each in value:
            yield from _containers(each)
