"""The words of a release in the texts and patterns of checks: see `pipeline.tools.placeholders`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipeline.artifacts import Release
from pipeline.errors import ConfigError
from pipeline.tools import placeholders
from pipeline.tools.placeholders import IN_TEXT, OF_AN_IMAGE, OF_THE_SOURCE, is_known


def refuse_unknown(*texts: str) -> None:
    """Raise ValueError for a word that no release has."""
    for word in IN_TEXT.findall(" ".join(texts)):
        if not is_known(word):
            known = " ".join(f"{{{each}}}" for each in (*OF_THE_SOURCE, *OF_AN_IMAGE, *(f"name.{fact}" for fact in OF_AN_IMAGE)))
            raise ValueError(f"{{{word}}} is nothing that a release has; it has {known}")


def compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression. Raises ValueError where it is none, and says where it breaks."""
    try:
        return re.compile(IN_TEXT.sub("x", pattern))
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error


def words(release: Release, app: str) -> dict[str, str]:
    """What each word stands for."""
    return placeholders.words(release.source, release.images, app)


def fill(text: str, known: Mapping[str, str], where: str, *, pattern: bool = False) -> str:
    """`text` with its words replaced, taken literally in a `pattern`. Raises ConfigError for one that the release has no value of."""

    def word(found: re.Match[str]) -> str:
        if found[1] not in known:
            raise placeholders.unknown(f"a check of {where}", found[1], known)
        if not known[found[1]]:
            raise ConfigError(f"{found[0]} in a check of {where} is not one value: the release has 0", mend="use {commit} or {digest}")
        return re.escape(known[found[1]]) if pattern else known[found[1]]

    return IN_TEXT.sub(word, text)
