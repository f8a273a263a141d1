"""Compares what is live with what is wanted, and says the first differences in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.artifacts import Image, Images, Release, Source
from pipeline.deploy.history import Revision
from pipeline.deploy.spec import Spec
from pipeline.deploy.values import Wanted, changes
from pipeline.tools.kube_objects import pending, template_images

Object = Mapping[str, Any]
UNNOTED = "helm hands the labels of an older revision on, so what they say of it need not be true"


def differences(newest: Revision | None, workloads: Sequence[Object], want: Wanted, images: Images) -> list[str]:
    """Why the release has to be made; empty where it is there, whole and untouched."""
    if newest is None:
        return ["nothing is deployed yet"]
    if newest.pending:
        return [f"revision {newest.number} is {newest.status}: its helm is at work, or was killed"]
    if newest.status != "deployed":
        return [f"revision {newest.number} is {newest.status}"]
    if newest.inputs != want.inputs:
        return (changes(newest.parts, want.parts) if newest.parts else []) or _unlabelled(newest, workloads, images)
    if newest.foreign:
        return [f"revision {newest.number} was not made by this pipeline: {UNNOTED}"]
    if not workloads:
        return [f"nothing of what revision {newest.number} runs is there"]
    found = other_images(workloads, images)
    found += [f"the rollout of revision {newest.number} is not done: {text}" for each in workloads if (text := pending(each))]
    return found


def other_images(deployments: Iterable[Object], images: Images) -> list[str]:
    """Images that the Deployments do not run, though the release says so."""
    live = {image for deployment in deployments for _, image in template_images(deployment)}
    return [
        f"a workload was edited: {_beside(live, image)} is live, {image.reference} is wanted"
        for image in images.images
        if image.reference not in live
    ]


def missing_images(deployments: Iterable[Object], images: Images) -> list[str]:
    """Images that are to run and do not, each beside the one that does."""
    live = {image for deployment in deployments for _, image in template_images(deployment)}
    return [f"image {_beside(live, image)} is live, {image.reference} is wanted" for image in images.images if image.reference not in live]


def release_of(spec: Spec, images: Images, revision: int, inputs: str) -> Release:
    return Release(images.source, images.images, spec.cluster, spec.namespace, spec.release, revision, inputs)


def live_release(spec: Spec, newest: Revision, deployments: Sequence[Object]) -> Release:
    """What runs, from the labels its deploy left and the images its Deployments name."""
    references = {image for deployment in deployments for _, image in template_images(deployment) if "@sha256:" in image}
    return release_at(spec, newest, references)


def release_at(spec: Spec, revision: Revision, references: Iterable[str]) -> Release:
    """A revision's release, from its labels and the images it runs."""
    labels = revision.labels
    source = Source(labels.get("tree", ""), labels.get("commit", ""), labels.get("dirty") == "true", "")
    images = tuple(
        Image(reference.partition("@")[0].rpartition(":")[0] if _tagged(reference) else reference.partition("@")[0],
              reference.partition("@")[2], labels.get("tag", ""))
        for reference in sorted(references)
    )  # fmt: skip
    return Release(source, images, spec.cluster, spec.namespace, spec.release, revision.number, revision.inputs)


def _tagged(reference: str) -> bool:
    return ":" in reference.partition("@")[0].rpartition("/")[2]


def _beside(live: Iterable[str], image: Image) -> str:
    """The live image of the same repository, as the one to name."""
    same = [other for other in sorted(live) if other.startswith((f"{image.repository}@", f"{image.repository}:"))]
    return (same or sorted(live) or ["none"])[0]


def _unlabelled(newest: Revision, deployments: Sequence[Object], images: Images) -> list[str]:
    return missing_images(deployments, images) or [f"revision {newest.number} was made from other inputs"]
