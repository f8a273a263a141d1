"""Compares what is live with what is wanted, and says the first differences in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.artifacts import Image, Images, Release, Source
from pipeline.deploy.history import Revision
from pipeline.deploy.spec import Spec
from pipeline.deploy.values import Wanted, changes
from pipeline.tools import references
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
    return [f"a workload was edited: {live} is live, {image.reference} is wanted" for image, live in _missing(deployments, images)]


def missing_images(deployments: Iterable[Object], images: Images) -> list[str]:
    """Images that are to run and do not, each beside the one that does."""
    return [f"image {live} is live, {image.reference} is wanted" for image, live in _missing(deployments, images)]


def release_of(spec: Spec, images: Images, revision: int, inputs: str) -> Release:
    return Release(images.source, images.images, spec.cluster, spec.namespace, spec.release, revision, inputs)


def release_at(spec: Spec, revision: Revision, named: Iterable[str]) -> Release:
    """A revision's release, from its labels and the images it runs, which are `named` by digest."""
    labels = revision.labels
    source = Source(labels.get("tree", ""), labels.get("commit", ""), labels.get("dirty") == "true", "")
    found = [references.read(each) for each in sorted(named)]
    images = tuple(Image(each.repository, each.digest, labels.get("tag", "")) for each in found)
    return Release(source, images, spec.cluster, spec.namespace, spec.release, revision.number, revision.inputs)


def _missing(workloads: Iterable[Object], images: Images) -> Iterator[tuple[Image, str]]:
    """Each image whose digest no workload names, with what is live in its place: one of the same repository, if there is one."""
    live = sorted({image for each in workloads for _, image in template_images(each)})
    digests = {references.read(each).digest for each in live}
    for image in images.images:
        if image.digest not in digests:
            same = [each for each in live if references.read(each).repository == image.repository]
            yield image, (same or live or ["none"])[0]


def _unlabelled(newest: Revision, deployments: Sequence[Object], images: Images) -> list[str]:
    return missing_images(deployments, images) or [f"revision {newest.number} was made from other inputs"]
