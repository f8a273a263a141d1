"""Fills in what stands in braces in the YAML manifests that the blueprint names: {reference}, {commit}, {values.replicas}, nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
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


def check(value: Any, place: Place, others: tuple[str, ...]) -> None:
    """Raise ConfigError for a word that no release can have, `others` being those of the stage's `values`."""
    for path, text in placeholders.texts(value):
        for found in IN_MANIFEST.finditer(text):
            if not placeholders.is_known(found[1], (*placeholders.OF_THE_SECRET, *others)):
                raise unknown(
                    str(place(path)),
                    found[1],
                    (*placeholders.OF_THE_SOURCE, *placeholders.OF_AN_IMAGE, *placeholders.OF_THE_SECRET, *others),
                )


def unknown(place: str, word: str, known: Iterable[str]) -> ConfigError:
    """The error of a {word} that is not `known`; what manifests say of braces differs from what a blueprint says."""
    error = placeholders.unknown(place, word, known)
    mend = error.mend.partition("; a brace")[0]
    return ConfigError(error.what, mend=f"{mend}; if it is no word of ours, move its object to a file that `placeholders` does not name")


def left(value: Any, place: Place, file: str) -> Iterator[str]:
    """What there is to tell of the words of ours in a manifest that is applied as it is. Raise ConfigError for a text that is nothing but
    such a word: it was meant to be filled in."""
    for path, word, alone in placeholders.meant(value):
        said = f"{place(path)}: {'.'.join(path)}"
        if alone:
            mend = f"add `placeholders: [{file}]` to the deploy stage: then words are filled in in this file"
            raise ConfigError(f"{said} is {{{word}}}, and this file is applied as it is", mend=mend)
        yield f"{said} holds {{{word}}}, which stays as it is: `placeholders` does not name this file"


def of_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """The words {values.NAME}."""
    return {f"values.{name}": value for name, value in given.items()}
