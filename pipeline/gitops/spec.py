"""What a blueprint says about its GitOps repository beside the release: the chart, how often Flux looks, and image automation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Automation:
    """Flux itself writes the newest image's tag or digest: `images` maps a name to the repository that is watched (as Flux reaches it).

    `policies` maps the same names to what counts as the newest: `pattern` and `extract` of the tag, `order` numerical or alphabetical, or a
    semver `range`. `interval` is how often a repository is looked at.
    """

    images: Mapping[str, str]
    policies: Mapping[str, Any] = field(default_factory=dict)
    interval: str = "5m"


@dataclass(frozen=True)
class Gitops:
    """The section `gitops` of a blueprint whose deploy stage is flux's; what both need (remote, branch, path, release) stands there.

    `chart` is the chart's folder in the GitOps repository, or oci://REGISTRY/PATH of the site with `version`; `chart_from` the folder of
    the working copy that is put there. `url` is the repository's address as Flux reaches it, where that is not the remote's own.
    `interval` is how often Flux looks at the repository, `values` what people's own file of values begins with. `automation` makes Flux
    write new images itself, which the pipeline then must not.
    """

    chart: str = ""
    chart_from: str = ""
    version: str = ""
    url: str = ""
    interval: str = "1m"
    values: Mapping[str, Any] = field(default_factory=dict)
    automation: Automation | None = None
