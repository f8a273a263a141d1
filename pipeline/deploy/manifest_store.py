"""Keeps the revisions of a release of manifests, one Secret each: the rendered objects, where they lie, and what became of them.

The layout is that of Helm's own Secrets (helm.sh/helm/v4/pkg/storage/driver/secrets.go), so that one reader serves both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.deploy.work import Work
from pipeline.errors import ConfigError
from pipeline.tools import helm_stored
from pipeline.tools.kube import path
from pipeline.tools.kube_objects import labels

KEPT = 5  # revisions, and the newest that was good where that is older
LIMIT = (1 << 20) - (16 << 10)  # bytes a Secret may hold, less its metadata
PENDING, DEPLOYED, SUPERSEDED, FAILED = "pending-upgrade", "deployed", "superseded", "failed"


def begin(work: Work, number: int, manifest: str, places: Sequence[str], marks: Mapping[str, str], description: str) -> None:
    """Write down what revision `number` will be, before anything of it is applied. Raises ConfigError where that does not fit."""
    release = {"manifest": manifest, "places": list(places), "info": {"description": description}}
    data = helm_stored.packed(release)
    if len(data) > LIMIT:
        raise ConfigError(
            f"the manifests are {len(data) >> 10} KiB packed, a Secret holds {LIMIT >> 10}",
            mend="take large files out of the ConfigMaps: an image is the place for them",
        )
    spec = work.spec
    name = work.secret(number).rpartition("/")[2]
    marked = {**marks, "owner": spec.keeper.owner, "name": spec.release, "version": str(number), "status": PENDING}
    value = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": marked}, "type": "pipeline/release.v1",
             "data": {"release": data}}  # fmt: skip
    work.kube.create(path("v1", "secrets", spec.namespace), value)


def finish(work: Work, number: int) -> None:
    """Revision `number` is applied: it is what is deployed, and those before it are not any more."""
    _status(work, number, DEPLOYED)
    for one in work.revisions():
        if one.number != number and (one.status == DEPLOYED or one.pending):
            _status(work, one.number, SUPERSEDED if one.status == DEPLOYED else FAILED)


def give_up(work: Work, number: int) -> None:
    """Revision `number` was not applied whole."""
    _status(work, number, FAILED)


def forget(work: Work, numbers: Sequence[int]) -> None:
    """Delete these revisions."""
    for number in numbers:
        work.kube.delete(work.secret(number))


def places(release: Mapping[str, Any]) -> list[str]:
    """The paths of the objects of a stored revision."""
    found = release.get("places")
    return [str(each) for each in found] if isinstance(found, list) else []


def inventory(work: Work) -> dict[int, list[str]]:
    """The paths of the objects of every revision that is kept, by its number: one request."""
    spec = work.spec
    listed = work.kube.list(path("v1", "secrets", spec.namespace), f"owner={spec.keeper.owner},name={spec.release}")["items"]
    return {int(labels(item).get("version") or 0): places(helm_stored.unpacked(item)) for item in listed}


def _status(work: Work, number: int, status: str) -> None:
    work.kube.merge(work.secret(number), {"metadata": {"labels": {"status": status}}})
