"""A release as Helm stores it, in a Secret: the newest revision of it, and the objects of its manifest.

Source: helm.sh/helm/v4/pkg/storage/driver/secrets.go, the same since Helm 3.0; helm-controller stores its releases so, too.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline import jsontext
from pipeline.errors import IntegrityError
from pipeline.tools import goyaml
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_objects import labels, notes

KEEPERS = ("helm", "pipeline")  # values of the label `owner` of the Secrets that keep releases
NOTE = "pipeline/release"  # an annotation of the newest revision's Secret; Helm drops it when the next one supersedes it
UNPACKED = 64 << 20  # bytes a stored release may unpack to


@dataclass(frozen=True)
class Kept:
    """What is kept of a revision: the `objects` of its manifest, and the state of each when it was seen good (`stamps`, by path)."""

    objects: Sequence[Mapping[str, Any]] = ()
    stamps: Mapping[str, str] = field(default_factory=dict)


def unpacked(secret: Mapping[str, Any]) -> Mapping[str, Any]:
    """The release object (`manifest`, `info`, …) in its Secret; {} where it cannot be read."""
    try:
        packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            found = jsontext.loads(file.read(UNPACKED))
    except (KeyError, TypeError, ValueError, OSError, EOFError, zlib.error):
        return {}
    return found if isinstance(found, dict) else {}


def packed(release: Mapping[str, Any]) -> str:
    """Return a release object as it lies in the `data` of its Secret: what `unpacked` reads."""
    text = base64.b64encode(gzip.compress(json.dumps(release).encode(), mtime=0))
    return base64.b64encode(text).decode()


def newest(kube: Kube, namespace: str, release: str) -> int:
    """Return the number of the revision that is deployed, whoever keeps it; 0 if none is. One request for metadata only."""
    found = kube.list(path("v1", "secrets", namespace), f"name={release},status=deployed", metadata=True)["items"]
    return max((int(labels(each).get("version") or 0) for each in found if labels(each).get("owner") in KEEPERS), default=0)


def objects(kube: Kube, namespace: str, release: str, number: int) -> list[dict[str, Any]]:
    """Return the objects that a revision of Helm's made, its hooks not among them; none if it is gone or cannot be read."""
    secret = kube.get(path("v1", "secrets", namespace, f"sh.helm.release.v1.{release}.v{number}"))
    return list(parsed(str(unpacked(secret or {}).get("manifest") or "")))


def of(kube: Kube, namespace: str, name: str, number: int) -> Kept:
    """Return what is kept of a revision, by whomever, Helm or this pipeline. Raise IntegrityError if nobody does, or if it cannot be
    read."""
    found = kube.list(path("v1", "secrets", namespace), f"name={name},version={number}")["items"]
    kept = [(release, each) for each in found if labels(each).get("owner") in KEEPERS and (release := unpacked(each))]
    if not kept:
        what = "cannot be read" if found else "is not there any more"
        raise IntegrityError(
            f"revision {number} of {name} {what} in namespace {namespace}: of which objects it is made is not known",
            mend="inv status says what is live; inv deploy releases again",
        )
    release, secret = kept[0]
    return Kept(list(parsed(str(release.get("manifest") or ""))), note(secret).get("stamps") or {})


def note(secret: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was noted on a revision's Secret when it was seen good; {} if nothing was."""
    try:
        found = jsontext.loads(notes(secret).get(NOTE, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def parsed(manifest: str) -> Iterator[dict[str, Any]]:
    """The objects of a manifest; those of a List one by one. Raises ConfigError if it is no YAML."""
    for each in goyaml.values(manifest, "the release's manifest"):
        if isinstance(each, dict):
            inner = each.get("items") if str(each.get("kind", "")).endswith("List") else None
            yield from (one for one in inner if isinstance(one, dict)) if isinstance(inner, list) else (each,)
