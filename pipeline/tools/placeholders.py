"""The words in braces that stages share, {commit}, {web.digest}: what they stand for, and how they are filled in.

One table for all: chart values, manifests, tags and checks mean the same by the same word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.artifacts import Image, Source
from pipeline.errors import ConfigError
from pipeline.yamlfile import keys_like

NAME = r"[a-z][A-Za-z0-9_-]*(?:[./][A-Za-z0-9_-]+)*"
WORD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")  # in a blueprint, where {{ and }} are the braces themselves
IN_TEXT = re.compile(rf"\{{({NAME})\}}")  # in what else has braces, as a regular expression has: whatever is no word stays
# In YAML manifests. ${HOME} is a shell's, {{ .x }} a template's, {"a": 1} is JSON: all of them stay
IN_MANIFEST = re.compile(rf"(?<![$\w{{])\{{({NAME})\}}(?!\}})")
OF_THE_SOURCE = ("app", "commit", "short", "label")
OF_THE_SECRET = ("secret", "secret.name")  # of the stage's own Secret
OF_AN_IMAGE = (  # bare if all images agree, else behind the image's name and a dot
    "repository", "repository.registry", "repository.path", "digest", "digest.algorithm", "digest.hex", "tag", "reference",
)  # fmt: skip
DEPTH = 50


def words(source: Source, images: Sequence[Image], app: str) -> dict[str, str]:
    """What may stand in braces: {app}, {commit}, {short} (the short commit, and the tree if that has uncommitted changes; {label} is the
    same), and of each image {web.repository}, {web.digest}, {web.tag}, {web.reference} (by digest), `web` being the last word of its
    repository, or its whole path if two end alike. Charts that want a part of it alone have {web.repository.registry},
    {web.repository.path}, {web.digest.algorithm} (sha256), {web.digest.hex}. The name may be left out if every image has the same there."""
    found = {"app": app, "commit": source.commit, "short": source.label, "label": source.label}
    facts = [dict(zip(OF_AN_IMAGE, _facts(each), strict=True)) for each in images]
    for name, of in zip(names(images), facts, strict=True):
        found |= {f"{name}.{key}": value for key, value in of.items()}
    return found | {key: facts[0][key] for key in OF_AN_IMAGE if len({each[key] for each in facts}) == 1}


def _facts(image: Image) -> tuple[str, ...]:
    registry, _, path = image.repository.partition("/")
    algorithm, _, digits = image.digest.partition(":")
    return image.repository, registry, path, image.digest, algorithm, digits, image.tag, image.reference


def names(images: Sequence[Image]) -> list[str]:
    """What each image is called: the last word of its repository, or its whole path if two end alike."""
    lasts = [each.repository.rpartition("/")[2] for each in images]
    return [last if lasts.count(last) == 1 else each.repository.partition("/")[2] for each, last in zip(images, lasts, strict=True)]


def check(value: Any, path: str, others: tuple[str, ...] = ()) -> None:
    """Raise ConfigError for a word in `value` that no image could fill, with its place below `path`, before any image is known. `others`
    are known to the caller alone, as {secret} is to helm's driver."""
    for name, text in flat(value, path):
        for found in WORD.finditer(text) if isinstance(text, str) else ():
            if found[1] is not None and not is_known(found[1], others):
                raise unknown(name, found[1], (*OF_THE_SOURCE, *OF_AN_IMAGE, *others))


def texts(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each text in `value`, with its path."""
    if isinstance(value, Mapping | list | tuple):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from texts(item, (*path, str(key)))
    elif isinstance(value, str):
        yield path, value


def meant(value: Any) -> Iterator[tuple[tuple[str, ...], str, bool]]:
    """Each word of ours in a text that nobody fills in: its path, the word, and whether the text is nothing else."""
    for path, text in texts(value):
        words = (each[1] for each in IN_MANIFEST.finditer(text))
        if found := next((each for each in words if is_known(each, OF_THE_SECRET) or each.startswith("values.")), ""):
            yield path, found, text.strip() == f"{{{found}}}"


def is_known(word: str, others: Sequence[str] = ()) -> bool:
    """Whether some release may have this word."""
    return word in (*OF_THE_SOURCE, *OF_AN_IMAGE, *others) or any(word[1:].endswith(f".{fact}") for fact in OF_AN_IMAGE)


def unknown(path: str, word: str, known: Iterable[str]) -> ConfigError:
    """The error of a {word} that is not `known`, with the near ones."""
    there = list(known)
    name, dot, fact = word.rpartition(".")
    same = [each for each in there if each.endswith(f"/{word}" if dot else f".{word}")]
    if len(same) > 1:
        said = " or ".join(f"{{{each}}}" for each in sorted(same))
        return ConfigError(f"{path}: {{{word}}} is not one value: the release has {len(same)}", mend=f"write {said}")
    near = keys_like(word, there)
    if not near and dot:
        near = keys_like(fact, list(OF_AN_IMAGE)).replace("'", f"'{name}.", 1)
    listed = ", ".join("{" + each + "}" for each in sorted(there))
    return ConfigError(f"{path}: {{{word}}} is not known{near}", mend=f"known are {listed}; a brace itself is written {{{{ or }}}}")


def render(value: Any, known: Mapping[str, str], path: str = "values", depth: int = 0) -> Any:
    """`value` with every {word} replaced; {{ and }} stand for the braces themselves. Raises ConfigError naming the place."""
    if depth > DEPTH:
        raise ConfigError(f"{path[:200]}… is nested too deeply", mend="values are at most 50 levels deep")
    if isinstance(value, Mapping):
        return {str(key): render(item, known, f"{path}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [render(item, known, f"{path}.{index}", depth + 1) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        if match[1] not in known:
            raise unknown(path, match[1], known)
        return known[match[1]]

    return WORD.sub(replaced, value)


def flat(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each leaf with its dotted name."""
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, values
