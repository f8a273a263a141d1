"""Which platforms lie behind a digest, and whether all of each can be fetched: read back from the registry, not believed.

An index names its images by platform; what BuildKit attests about them stands there too, for the platform unknown/unknown
(https://docs.docker.com/build/metadata/attestations/attestation-storage/).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline import jsontext
from pipeline.errors import IntegrityError
from pipeline.tools import references
from pipeline.tools.proof import missing
from pipeline.tools.registry import Client, Manifest

CONFIG_CAP = 4 * 1024 * 1024  # bytes of an image's configuration
UNKNOWN = "unknown/unknown"


@dataclass(frozen=True)
class Stored:
    """What lies in the registry: its `manifest`, the platforms of its images, and what the registry has lost of it."""

    manifest: Manifest
    platforms: tuple[str, ...]
    lost: tuple[str, ...] = ()


def stored(client: Client, repository: str, digest: str, *, whole: bool = True) -> Stored | None:
    """What is behind `digest`, children first-hand; with `whole` every blob of every image is opened too. None where it is gone.

    Raises IntegrityError where it is no image or index, and what the client raises.
    """
    top = client.manifest(repository, digest)
    if top is None:
        return None
    if top.config:
        return Stored(top, (_platform_of(client, repository, top),), tuple(sorted(missing(client, repository, top))) if whole else ())
    platforms, lost = [], []
    for child, platform in children(top):
        image = client.manifest(repository, child)
        if image is None:
            lost.append(child)
            continue
        if platform != UNKNOWN:
            platforms.append(platform)
        if whole and image.config:
            lost += sorted(missing(client, repository, image))
    return Stored(top, tuple(platforms), tuple(lost))


def children(index: Manifest) -> list[tuple[str, str]]:
    """(digest, platform) of what an index names. Raises IntegrityError where it is no index."""
    try:
        entries: list[dict[str, Any]] = jsontext.loads(index.body)["manifests"]
        return [(references.digest(str(entry["digest"])), _named(entry.get("platform") or {})) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{index.digest} is neither an image nor an index", cause=f"{type(error).__name__}: {error}") from error


def differs(found: Stored, wanted: tuple[str, ...], same: Callable[[str], str]) -> str:
    """What is wrong with the platforms, or with what is behind them; "" where they are those that were wanted (none: any)."""
    if found.lost:
        return f"the registry does not give {len(found.lost)} of its parts ({found.lost[0]})"
    have, want = {same(each) for each in found.platforms}, {same(each) for each in wanted}
    if want and have != want:
        return f"it is for {', '.join(sorted(have)) or 'no platform'}, wanted is {', '.join(sorted(want))}"
    return ""


def _platform_of(client: Client, repository: str, image: Manifest) -> str:
    try:
        return _named(jsontext.loads(client.fetch(repository, image.config, CONFIG_CAP) or b"{}"))
    except (ValueError, AttributeError) as error:
        raise IntegrityError(f"the configuration of {repository}@{image.digest} cannot be read", cause=str(error)) from error


def _named(platform: dict[str, Any]) -> str:
    words = (platform.get("os"), platform.get("architecture"), platform.get("variant"))
    return "/".join(str(word) for word in words if word) or UNKNOWN
