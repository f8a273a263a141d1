"""The words of a release that the checks of a blueprint may use: {commit}, {digest}, {name.digest} of one image of a set, and others."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipeline.artifacts import Release
from pipeline.errors import ConfigError

PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_-]*(?:\.[a-z]+)?)\}")
NAMES = ("app", "commit", "digest", "label", "short", "tag")
OF_IMAGES = ("digest", "tag")  # of one image of a set: {name.digest}


def refuse_unknown(*texts: str) -> None:
    """Raises ValueError for a placeholder that no release has."""
    for name in PLACEHOLDER.findall(" ".join(texts)):
        if name not in NAMES and name.partition(".")[2] not in OF_IMAGES:
            known = " ".join(f"{{{each}}}" for each in (*NAMES, "name.digest", "name.tag"))
            raise ValueError(f"{{{name}}} is nothing that a release has; it has {known}")


def compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression. Raises ValueError where it is none, and says where it breaks."""
    try:
        return re.compile(PLACEHOLDER.sub("x", pattern))
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error


def words(release: Release, app: str) -> dict[str, tuple[str, ...]]:
    """What each placeholder may stand for; `digest` and `tag` have as many values as the release has images."""
    source = release.source
    each = {
        f"{image.repository.rpartition('/')[2]}.{key}": (value,)
        for image in release.images
        for key, value in (("digest", image.digest), ("tag", image.tag))
    }
    return each | {
        "app": (app,),
        "commit": (source.commit,),
        "short": (source.commit[:7],),
        "label": (source.label,),
        "digest": tuple(dict.fromkeys(image.digest for image in release.images)),
        "tag": tuple(dict.fromkeys(image.tag for image in release.images)),
    }


def fill(text: str, known: Mapping[str, tuple[str, ...]], where: str, *, pattern: bool = False) -> str:
    """`text` with its placeholders replaced, taken literally where it is a `pattern`. Raises ConfigError where one has no single value."""

    def word(found: re.Match[str]) -> str:
        values = known.get(found[1], ())
        if len(values) != 1 or not values[0]:
            raise ConfigError(
                f"{found[0]} in a check of {where} is not one value: the release has {len(values)}",
                mend="use {commit}, which is the same for every image, or name the image: "
                + (" ".join(f"{{{name}}}" for name in known if "." in name) or "{name.digest}"),
            )
        return re.escape(values[0]) if pattern else values[0]

    return PLACEHOLDER.sub(word, text)
