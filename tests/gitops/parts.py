"""A release that Flux keeps, small enough to be read at once."""

from __future__ import annotations

from typing import Any

from pipeline.deploy.flux_spec import Flux
from pipeline.gitops.place import Place
from pipeline.gitops.spec import Gitops

VALUES = {
    "server": {"image": {"repository": "{web.repository}", "digest": "{web.digest}"}},
    "commit": "{commit}",
}


def place(lines: dict[str, Any] | None = None, flux: dict[str, Any] | None = None, **gitops: Any) -> Place:
    """The place of app `fade`, on cluster `lab` and remote `gitops`; `lines` are the deploy stage's values."""
    spec = Flux(cluster="lab", remote="gitops", namespace="fade", release="fade", values=VALUES if lines is None else lines, **(flux or {}))
    return Place("fade", "fade", spec, Gitops(**gitops))
