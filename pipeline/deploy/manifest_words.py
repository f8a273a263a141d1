"""Fills in what stands in braces in YAML manifests: {reference}, {commit}, {values.replicas}, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline.errors import ConfigError
from pipeline.tools import placeholders
from pipeline.tools.placeholders import IN_MANIFEST

Place = Callable[[tuple[str, ...]], object]


def filled(value: Any, words: Mapping[str, Any], place: Place, path: tuple[str, ...] = ()) -> Any:
    """`value` with every {word} of `words` replaced; a string that is nothing but one word becomes the word's value, of whatever type.

    `place` gives file and line of a path. Raises ConfigError there for a word that is not known.
    """
    if isinstance(value, Mapping):
        return {key: filled(item, words, place, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, words, place, (*path, str(index))) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    if (whole := IN_MANIFEST.fullmatch(value)) and whole[1] in words:
        return words[whole[1]]

    def replaced(found: re.Match[str]) -> str:
        if found[1] not in words:
            raise unknown(str(place(path)), found[1], words)
        said = words[found[1]]
        if isinstance(said, dict | list):
            raise ConfigError(f"{place(path)}: {{{found[1]}}} is no text", mend="let it stand alone in its string, or write it out")
        return {True: "true", False: "false", None: ""}[said] if said is None or isinstance(said, bool) else str(said)

    return IN_MANIFEST.sub(replaced, value)


def unknown(place: str, word: str, known: Iterable[str]) -> ConfigError:
    """The error of a {word} that is not `known`; what manifests say of braces differs from what a blueprint says."""
    error = placeholders.unknown(place, word, known)
    mend = error.mend.partition("; a brace")[0]
    return ConfigError(error.what, mend=f"{mend}; where the braces are meant as they stand, write ${{{word}}} or {{ {word} }}")


def of_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """The words {values.NAME}."""
    return {f"values.{name}": value for name, value in given.items()}
