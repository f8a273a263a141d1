"""Where the cluster keeps each object of a release: asked of the API's own lists of kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.deploy.manifest_check import called
from pipeline.errors import ConfigError
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_kinds import kinds
from pipeline.tools.kube_objects import name
from pipeline.yamlfile import keys_like


def places(kube: Kube, objects: Sequence[dict[str, Any]], namespace: str) -> list[str]:
    """The path of each object. Raises ConfigError for a kind that this cluster does not know, with the near one."""
    known: dict[str, dict[str, tuple[str, bool]]] = {}
    found = []
    for value in objects:
        version, kind = value["apiVersion"], value["kind"]
        if version not in known:
            known[version] = kinds(kube, version)
        if kind not in known[version]:
            what = f"{called(value)}: this cluster knows no {kind} of {version}{keys_like(kind, list(known[version]))}"
            mend = "correct apiVersion and kind (kubectl api-resources lists them)"
            raise ConfigError(what, mend=mend if known[version] else f"{mend}, or install what brings {version} first")
        plural, namespaced = known[version][kind]
        found.append(path(version, plural, namespace if namespaced else "", name(value)))
    return found
