"""Image automation: the objects by which Flux itself finds the newest images and writes them, and the markers of the lines it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.gitops.spec import Automation
from pipeline.stage import Registry
from pipeline.tools.markers import Marker


@dataclass(frozen=True)
class Place:
    """Where Flux writes: `release` is the HelmRelease's name, `file` the repository's file that holds it, `branch` what Flux follows,
    `system` the namespace of Flux's own objects and `source` the GitRepository there."""

    app: str
    release: str
    file: str
    branch: str
    system: str = "flux-system"
    source: str = "flux-system"


def files(spec: Automation, place: Place, registries: Mapping[str, Registry]) -> dict[str, str]:
    """The manifests, by their path in the GitOps repository: one file, image-automation.yaml beside the HelmRelease's.

    `registries` are the site's: one that speaks plain http is watched so.
    """
    raise NotImplementedError


def marked(spec: Automation, place: Place, values: Mapping[str, Any]) -> dict[tuple[str, ...], Marker]:
    """The marker of each line that is Flux's, by its path below spec.values; `values` are those of the deploy stage, not rendered.

    The comment at the end of that line is `str(marker)`. Raises ConfigError for a line of which Flux can only write a part, and for one
    that nobody would write any more ({commit}).
    """
    raise NotImplementedError
