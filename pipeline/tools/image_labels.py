"""What an image in a registry says of itself: its labels and annotations. Its word, not a proof."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline import jsontext
from pipeline.tools import references
from pipeline.tools.registry import Client, Manifest

CONFIG_CAP = 4 * 1024 * 1024  # bytes of an image's config


def labels_of(client: Client, repository: str, digest: str) -> Mapping[str, str]:
    """The annotations of the manifest or index `digest`, over the labels of its config (of the first platform's, in an index).

    Empty where it is gone, or has none. Raises what the client raises.
    """
    manifest = client.manifest(repository, digest)
    if manifest is None:
        return {}
    own = _strings(_json(manifest.body).get("annotations"))
    child = _first(manifest)
    image = client.manifest(repository, child) if child else manifest
    if image is None or not image.config:
        return own
    config = _json(client.fetch(repository, image.config, CONFIG_CAP) or b"{}").get("config")
    return {**_strings(config.get("Labels") if isinstance(config, dict) else {}), **own}


def _first(index: Manifest) -> str:
    """The first image of an index, "" in a manifest. What BuildKit attests stands there too, for the platform unknown/unknown.
    Source: https://docs.docker.com/build/metadata/attestations/attestation-storage/"""
    entries = _json(index.body).get("manifests")
    for entry in entries if isinstance(entries, list) else []:
        platform = entry.get("platform") if isinstance(entry, dict) else None
        if isinstance(entry, dict) and not (isinstance(platform, dict) and platform.get("os") == "unknown"):
            return references.digest(str(entry.get("digest")))
    return ""


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = jsontext.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _strings(value: object) -> dict[str, str]:
    return {name: text for name, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}
