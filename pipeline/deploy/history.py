"""The revisions that are kept of a release, read from its Secrets' metadata: what is live, what was good, what was left half-done."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.deploy.spec import HELM, Keeper
from pipeline.tools import helm_stored
from pipeline.tools.helm_stored import NOTE
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_objects import labels

GOOD, STARTED, BAD, TAKEN = "complete", "started", "failed", "taken-back"  # values of the label `rollout`; the last by a person


@dataclass(frozen=True)
class Revision:
    """One revision: its keeper's `status` of it, our `labels`, and the note: `parts` it was made from, and the state of each of its objects
    when it was seen good (`stamps`, by path).

    `since` is when it was made (ISO 8601), `noted` whether there is a note: `helm upgrade` and `helm rollback` hand labels on, not notes.
    """

    number: int
    status: str
    labels: Mapping[str, str]
    parts: Mapping[str, Any]
    since: str = ""
    noted: bool = True
    stamps: Mapping[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> str:
        return self.labels.get("inputs", "")

    @property
    def rollout(self) -> str:
        return self.labels.get("rollout", "")

    @property
    def foreign(self) -> bool:
        """Whether another tool made it. Of a revision that is not the newest this cannot be said: its note is gone."""
        return not self.rollout or (self.rollout == GOOD and not self.noted)

    @property
    def pending(self) -> bool:
        return self.status.startswith("pending-") or self.status == "uninstalling"


def read(kube: Kube, namespace: str, release: str, keeper: Keeper = HELM) -> list[Revision]:
    """Every revision that is kept, newest first: one request for metadata only.

    Source of the labels: helm.sh/helm/v4/pkg/storage/driver/secrets.go, the same since Helm 3.0.
    """
    listed = kube.list(path("v1", "secrets", namespace), f"owner={keeper.owner},name={release}", metadata=True)
    return sorted((_revision(item) for item in listed.get("items") or []), key=lambda revision: -revision.number)


def deployed(revisions: Sequence[Revision]) -> Revision | None:
    """Return the newest revision that is live, None if there is none."""
    return next((one for one in revisions if one.status == "deployed"), None)


def good(revisions: Sequence[Revision], before: int | None = None) -> Revision | None:
    """The revision to go back to: the newest below `before` whose rollout was seen complete, else one that others made; None where
    there is none."""
    kept = [revision for revision in revisions if revision.status in ("deployed", "superseded")]
    kept = [revision for revision in kept if before is None or revision.number < before]
    proven = [revision for revision in kept if revision.rollout == GOOD]
    foreign = [revision for revision in kept if not revision.rollout]
    return next(iter(proven or foreign), None)


def write_down(kube: Kube, target: str, parts: Mapping[str, Any], stamps: Mapping[str, str]) -> None:
    """Note on a revision's Secret, at `target`, that its rollout was complete, what it was made from, and the state of its objects then."""
    note = json.dumps({"parts": parts, "stamps": stamps}, sort_keys=True)
    kube.merge(target, {"metadata": {"labels": {"rollout": GOOD}, "annotations": {NOTE: note}}})


def mark(kube: Kube, target: str, rollout: str) -> None:
    """Note on a revision's Secret, at `target`, what became of its rollout."""
    kube.merge(target, {"metadata": {"labels": {"rollout": rollout}}})


def where(namespace: str, release: str, number: int, keeper: Keeper = HELM) -> str:
    return path("v1", "secrets", namespace, f"{keeper.prefix}.{release}.v{number}")


def _revision(item: Mapping[str, Any]) -> Revision:
    marks = labels(item)
    note = helm_stored.note(item)
    number = marks.get("version", "")
    return Revision(
        number=int(number) if number.isdigit() else 0,
        status=marks.get("status", "unknown"),
        labels={key: value for key, value in marks.items() if key not in ("name", "owner", "status", "version", "modifiedAt")},
        parts=note.get("parts") or {},
        since=str(item["metadata"].get("creationTimestamp") or ""),
        noted=bool(note),
        stamps=note.get("stamps") or {},
    )
