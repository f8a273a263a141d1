"""What a release by commit writes: the lines below spec.values of its HelmRelease, and the hash that names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.artifacts import Images, content_hash
from pipeline.deploy import values
from pipeline.deploy.flux_spec import Flux
from pipeline.deploy.values import Wanted
from pipeline.errors import ConfigError
from pipeline.stage import Site
from pipeline.tools import placeholders, unreleased
from pipeline.tools.yamledit import Path, Scalar

Lines = Mapping[Path, Scalar]  # by the path below spec.values; what is not there has no entry


def wanted(spec: Flux, images: Images, site: Site) -> Wanted:
    """The release as the blueprint wants it. Raises ConfigError for an unknown word or value, AuthError where a secret cannot be read.

    A Secret's content is no part of its `inputs`: git does not hold it. Where pods have to be made anew for it, {secret} in a line says so.
    """
    data = values.secret_data(spec.secret, site)
    words = placeholders.words(images.source, images.images, site.app) | values.secret_words(spec, values.fingerprint(spec, data))
    rendered = placeholders.render(spec.values, words)
    leaves = {name: content_hash(value)[:8] for name, value in placeholders.flat(rendered)}
    references = sorted(image.reference for image in images.images)
    code = values.code_of([references, placeholders.render(spec.values, values.unnamed(words))])
    return Wanted(rendered, data, {"images": references, "values": leaves}, code)


def lines(rendered: Mapping[str, Any]) -> dict[Path, Scalar]:
    """Each line that is written, by its path. Raises ConfigError for a list or an empty mapping, which is more than a line."""
    return dict(_flat(rendered, ()))


def paths(spec: Flux) -> list[Path]:
    """Where the lines of this release stand. Raises as `lines`."""
    return list(lines(spec.values))


def within(found: Any, where: list[Path]) -> dict[Path, Scalar]:
    """What stands at these paths of `found`, values as the cluster keeps them."""
    return {path: value for path in where if (value := _at(found, path)) is not ABSENT}


def nested(found: Lines) -> dict[str, Any]:
    """Lines as the mapping that they stand in."""
    made: dict[str, Any] = {}
    for path, value in found.items():
        place = made
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = value
    return made


def unmade(found: Lines) -> bool:
    """Whether these are lines of before the first release."""
    return unreleased.waits({"spec": {"suspend": True, "values": nested(found)}})


def changes(old: Lines, new: Lines) -> str:
    """The first lines that differ, in words; "" where none does."""
    names = [".".join(path) for path in new if path not in old or old[path] != new[path]]
    return ", ".join(names[:4]) + (" …" if len(names) > 4 else "")


ABSENT = object()


def _at(found: Any, path: Path) -> Any:
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return ABSENT
        found = found[key]
    return ABSENT if isinstance(found, Mapping | list) else found


def _flat(found: Mapping[str, Any], before: Path) -> Iterator[tuple[Path, Scalar]]:
    for key, value in found.items():
        path = (*before, str(key))
        if isinstance(value, Mapping) and value:
            yield from _flat(value, path)
        elif isinstance(value, str | int | float | bool):
            yield path, value
        else:
            raise ConfigError(
                f"values.{'.'.join(path)} is no single line",
                mend="a release by commit writes words, numbers, true and false; lists and the like stand in the people's own values",
            )
