"""What a tag leads to: the image, and the commit that it was put on for, by what the registry holds. Its word, not a proof.

A tag that we put leads to an index of ours: annotations that name commit, time and version, above the image itself, whose own bytes say
nothing of a commit. So one image may be that of many commits. The images of others, and those of our releases before that, say it in the
labels of their configuration or in annotations of their own.

Source of the names: https://github.com/opencontainers/image-spec/blob/main/annotations.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import jsontext
from pipeline.artifacts import Image
from pipeline.stage import Site, registry_at
from pipeline.tools import references
from pipeline.tools.image_index import CONFIG_CAP, Stored
from pipeline.tools.registry import Client, Manifest, client_of, read_manifest
from pipeline.tools.tags import LABEL

INDEX = "application/vnd.oci.image.index.v1+json"
IMAGE = "pipeline.image.digest"  # our annotation: the image that an index of ours leads to


@dataclass(frozen=True)
class Named:
    """What lies under a digest: the `image` (the digest itself; of an index of ours the image in it) with the digest of its `config` (""
    if it is for several platforms), and the `labels` by which it was named."""

    image: str
    config: str
    labels: Mapping[str, str]

    @property
    def commit(self) -> str:
        return self.labels.get(LABEL + "revision", "")

    @property
    def version(self) -> str:
        return self.labels.get(LABEL + "version", "")

    @property
    def created(self) -> str:
        return self.labels.get(LABEL + "created", "")


def index(image: Stored, annotations: Mapping[str, str]) -> Manifest:
    """Return the index of ours that names the `image`: the same bytes for the same annotations."""
    top = image.manifest
    entries = _json(top.body).get("manifests")
    if top.config:
        words = dict(zip(("os", "architecture", "variant"), image.platforms[0].split("/"), strict=False))
        entries = [{"mediaType": top.media_type, "digest": top.digest, "size": len(top.body), "platform": words}]
    value = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, "annotations": {**annotations, IMAGE: top.digest}}
    return read_manifest(json.dumps(value, sort_keys=True, separators=(",", ":")).encode(), INDEX, "index")


def read(client: Client, repository: str, digest: str) -> Named | None:
    """What lies under `digest`, None if it is gone. It never changes, so it is asked once. Raises what the client raises."""
    key = f"named {client.origin.address}/{repository}@{digest}"
    if known := client.memory.hint(key):
        return Named(**jsontext.loads(known))
    found = _read(client, repository, digest)
    if found:
        client.memory.remember(key, json.dumps({"image": found.image, "config": found.config, "labels": dict(found.labels)}))
    return found


def image_of(client: Client, repository: str, digest: str) -> str:
    """The digest of the image that `digest` leads to, "" if it is gone. Raises what the client raises."""
    found = read(client, repository, digest)
    return found.image if found else ""


def claims(manifest: Manifest) -> str:
    """The image that an index says it leads to, "" if it is none of ours: to be believed when `read` says so too."""
    said = _strings(_json(manifest.body).get("annotations")).get(IMAGE, "")
    return said if not manifest.config and references.DIGEST.fullmatch(said) else ""


def leads_to(site: Site, reference: str) -> str:
    """The digest of the image that a name leads to in its registry, "" if there is none, or nobody knows the registry. Raises what the
    registry's client raises."""
    client = registry_of(site, reference)
    if client is None:
        return ""
    _, repository, suffix = references.split(reference)
    digest = suffix if ":" in suffix else client.head(repository, suffix)
    return image_of(client, repository, digest) if digest else ""


def is_image(site: Site, image: Image, runs: str) -> bool:
    """Whether what a node `runs` is the image: by its digest or that of its configuration, or by that of an index of ours that leads to it,
    which a node names that was given a tag."""
    if runs in (image.digest, image.config):
        return True
    return bool(image.tag and references.DIGEST.fullmatch(runs)) and leads_to(site, f"{image.repository}@{runs}") == image.digest


def registry_of(site: Site, reference: str) -> Client | None:
    """The client of the registry that an image lies in, None if the site does not know that."""
    name = registry_at(site.registries, reference.partition("/")[0])
    return client_of(site, name) if name else None


def _read(client: Client, repository: str, digest: str) -> Named | None:
    top = client.manifest(repository, digest)
    if top is None:
        return None
    own = _strings(_json(top.body).get("annotations"))
    if claimed := claims(top):
        image = client.manifest(repository, claimed)
        if image is None:
            return None
        if _parts(top) == ([image.digest] if image.config else _parts(image)):
            return Named(claimed, image.config, own)
    child = _first(top)
    image = client.manifest(repository, child) if child else top
    if image is None or not image.config:
        return Named(digest, "", own)
    config = _json(client.fetch(repository, image.config, CONFIG_CAP) or b"{}").get("config")
    return Named(digest, top.config, {**_strings(config.get("Labels") if isinstance(config, dict) else {}), **own})


def _first(top: Manifest) -> str:
    """The first image of an index, "" in a manifest. What BuildKit attests stands there too, for the platform unknown/unknown.
    Source: https://docs.docker.com/build/metadata/attestations/attestation-storage/"""
    for entry in _entries(top):
        platform = entry.get("platform")
        if not (isinstance(platform, dict) and platform.get("os") == "unknown"):
            return references.digest(str(entry.get("digest")))
    return ""


def _parts(top: Manifest) -> list[str]:
    return [str(entry.get("digest")) for entry in _entries(top)]


def _entries(top: Manifest) -> list[dict[str, Any]]:
    entries = _json(top.body).get("manifests")
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = jsontext.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _strings(value: object) -> dict[str, str]:
    """Those of the labels that name an image."""
    pairs = value.items() if isinstance(value, dict) else ()
    return {name: text for name, text in pairs if isinstance(text, str) and name.startswith((LABEL, IMAGE))}
