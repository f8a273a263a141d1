"""A revision as its keeper stored it: the images its manifest names, and the revision that it went back to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.deploy.history import where
from pipeline.deploy.spec import HELM, Keeper
from pipeline.tools.helm_stored import unpacked
from pipeline.tools.kube import Kube
from pipeline.tools.kube_objects import SETS

IMAGE = re.compile(r"""^\s*-?\s*image:\s*["']?([^\s"']+@sha256:[0-9a-f]{64})""", re.MULTILINE)
ROLLBACK = re.compile(r"Rollback to (\d+)")


def read(kube: Kube, namespace: str, release: str, number: int, keeper: Keeper = HELM) -> Mapping[str, Any]:
    """The release object (`manifest`, `info`, …); {} where it is gone or cannot be read."""
    secret = kube.get(where(namespace, release, number, keeper))
    return {} if secret is None else unpacked(secret)


def images(release: Mapping[str, Any]) -> list[str]:
    """The images that the manifest names by digest."""
    return sorted(set(IMAGE.findall(str(release.get("manifest") or ""))))


def kinds(release: Mapping[str, Any]) -> tuple[str, ...]:
    """Which kinds of workload the manifest makes, as the API's plurals; Deployments where it cannot be told."""
    text = str(release.get("manifest") or "")
    known = {"deployments": "Deployment", **SETS}
    return tuple(plural for plural, kind in known.items() if re.search(rf"^kind:\s*{kind}\s*$", text, re.MULTILINE)) or ("deployments",)


def repeats(release: Mapping[str, Any]) -> int:
    """The number of the revision that it went back to, 0 where it was made anew.

    Source: the description in helm.sh/helm/v4/pkg/action/rollback.go, the same since Helm 3.0.
    """
    said = ROLLBACK.fullmatch(str((release.get("info") or {}).get("description") or ""))
    return int(said[1]) if said else 0
