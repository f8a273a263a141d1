"""A revision as its keeper stored it: its objects, the images they name, what it was made from, and the revision that it went back to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.artifacts import content_hash
from pipeline.deploy.history import Revision, where
from pipeline.deploy.spec import HELM, Keeper, Spec
from pipeline.errors import IntegrityError, Transient
from pipeline.tools import helm_stored, manifest, placeholders
from pipeline.tools.helm_stored import unpacked
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_objects import labels, name, pod_images
from pipeline.tools.manifest import Workload

IMAGE = re.compile(r"""\bimage["']?:\s*["']?([^\s"',}\]]+)""")
ROLLBACK = re.compile(r"Rollback to (\d+)")


def read(kube: Kube, namespace: str, release: str, number: int, keeper: Keeper = HELM) -> Mapping[str, Any]:
    """The release object (`manifest`, `info`, …); {} where it is gone or cannot be read."""
    secret = kube.get(where(namespace, release, number, keeper))
    return {} if secret is None else unpacked(secret)


def called(spec: Spec, number: int | str) -> str:
    """Return what people call a revision."""
    return f"revision {number} of {spec.namespace}/{spec.release}"


def kept(kube: Kube, spec: Spec) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return the Secret of each revision that is kept, and the release object in it. Raise IntegrityError if one cannot be read."""
    which = f"owner={spec.keeper.owner},name={spec.release}"
    found = [(each, unpacked(each)) for each in kube.list(path("v1", "secrets", spec.namespace), which)["items"]]
    for secret, release in found:
        if not release:
            where = f"kubectl get secret -n {spec.namespace} {name(secret)}"
            raise IntegrityError(
                f"{called(spec, labels(secret).get('version', '?'))} cannot be read, so it is not known what it has and needs",
                mend=f"look at it, and delete it if it is of no use: {where}",
            )
    return found


def objects(kube: Kube, spec: Spec, number: int) -> list[dict[str, Any]]:
    """The objects of revision `number`. Raises Transient if the revision is gone, IntegrityError if it cannot be read: what a release
    is made of is then unknown."""
    secret = kube.get(where(spec.namespace, spec.release, number, spec.keeper))
    if secret is None:
        raise Transient(f"revision {number} of {spec.release} is gone since it was listed")
    release = unpacked(secret)
    if not release:
        what = f"what {spec.keeper.owner} keeps of revision {number} of {spec.release} cannot be read"
        raise IntegrityError(what, mend="release it again under another name, or repair its Secret: which objects it has is not known")
    return list(helm_stored.parsed(str(release.get("manifest") or "")))


def workloads(kube: Kube, spec: Spec, number: int) -> list[Workload]:
    """What runs the pods of revision `number`. Raises as `objects` does."""
    return manifest.workloads(objects(kube, spec, number), spec.namespace)


def running(kube: Kube, spec: Spec, revision: Revision) -> list[dict[str, Any]]:
    """The workloads of a revision as they are now: one request for each kind of them, and one if nothing was noted of its objects."""
    noted = [place for place in revision.stamps if manifest.is_workload(place)]
    if not revision.stamps:
        noted = [each.path for each in workloads(kube, spec, revision.number)]
    return list(manifest.read(kube, noted).values())


def live(kube: Kube, spec: Spec, newest: Revision | None) -> list[dict[str, Any]]:
    """The workloads that run of the newest revision, none if that is not live."""
    return running(kube, spec, newest) if newest and newest.status == "deployed" else []


def images(release: Mapping[str, Any]) -> list[str]:
    """The images that the manifest and the hooks name, by digest or by tag."""
    hooks = [str(each.get("manifest") or "") for each in release.get("hooks") or []]
    return sorted(set(IMAGE.findall("\n".join([str(release.get("manifest") or ""), *hooks]))))


def named(release: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """(images that the workloads of the manifest name, those that its Jobs, CronJobs, Pods and hooks name)."""
    found = list(helm_stored.parsed(str(release.get("manifest") or "")))
    steady = {image for each in found if each.get("kind") in manifest.WORKLOADS for image in pod_images(each)}
    passing = {image for each in found if each.get("kind") not in manifest.WORKLOADS for image in pod_images(each)}
    for hook in release.get("hooks") or []:
        passing.update(IMAGE.findall(str(hook.get("manifest") or "")))
    return steady, passing


def parts(release: Mapping[str, Any]) -> dict[str, Any]:
    """What a revision was made from, as far as its keeper knows: its images, and hashes of its values; {} if it knows of none."""
    given = release.get("config")
    if not isinstance(given, dict):
        return {}
    by_digest = [each for each in images(release) if "@sha256:" in each]
    return {"images": by_digest, "values": {name: content_hash(value)[:8] for name, value in placeholders.flat(given)}}


def repeats(release: Mapping[str, Any]) -> int:
    """The number of the revision that it went back to, 0 where it was made anew.

    Source: the description in helm.sh/helm/v4/pkg/action/rollback.go, the same since Helm 3.0.
    """
    said = ROLLBACK.fullmatch(str((release.get("info") or {}).get("description") or ""))
    return int(said[1]) if said else 0
