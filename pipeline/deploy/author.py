"""Who made a revision, in its labels: written by each deploy, and again where helm's rollback repeats the labels of an older one."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipeline.deploy import history
from pipeline.deploy.work import Work
from pipeline.records import actor


def marks(work: Work) -> dict[str, str]:
    """The labels. All of them each time: what an upgrade is not given stays as it was in the revision before (mergeCustomLabels in
    helm.sh/helm/v4/pkg/action/upgrade.go)."""
    user, _, host = actor().partition("@")
    return {"actor": word(user) or "unknown", "host": word(host) or "unknown", "fence": str(work.lease.fence)}


def name(labels: Mapping[str, str]) -> str:
    """user@host, as far as the labels say."""
    return "@".join(filter(None, (labels.get("actor"), labels.get("host"))))


def claim(work: Work, number: int) -> None:
    """Write on a revision that helm's rollback made who made it, and that it is not up yet.

    helm gave it every label of the revision that it repeats (helm.sh/helm/v4/pkg/action/rollback.go): the commit and the inputs hold,
    the rest tells of somebody else's work.
    """
    labels = {**marks(work), "rollout": history.STARTED}
    work.kube.merge(work.secret(number), {"metadata": {"labels": labels}})


def word(text: str) -> str:
    """`text` as a label's value."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:63].strip("-_.")
