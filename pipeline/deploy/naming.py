"""How a release names its images: by digest; by a tag alone, which then has to be proven; or only in what does not run all the time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.artifacts import Image, Images
from pipeline.deploy import stored
from pipeline.deploy.history import Revision
from pipeline.deploy.spec import Spec
from pipeline.stage import Site
from pipeline.tools import manifest, named, references
from pipeline.tools.kube import Kube
from pipeline.tools.kube_objects import containers, name, template_images, terminating

Object = Mapping[str, Any]
COUNT, LABEL = "images", "image-"  # labels of a revision: how many images it was released with, and, numbered, the digest of each
LENGTH = 63  # of its 64 digits: a label's value may have no more
SHOWN = 3


def labels(images: Images) -> dict[str, str]:
    """What a revision's labels say of the images that were released with it."""
    return {COUNT: str(len(images.images))} | {f"{LABEL}{number}": _mark(each.digest) for number, each in enumerate(images.images)}


def tagged(workloads: Iterable[Object], images: Images) -> Images:
    """Those of the images that the workloads name by their tag alone."""
    found = [references.read(each) for workload in workloads for _, each in template_images(workload)]
    digests = {each.digest for each in found}
    tags = {(each.repository, each.tag) for each in found if not each.digest}
    return dataclasses.replace(
        images, images=tuple(each for each in images.images if each.digest not in digests and (each.repository, each.tag) in tags)
    )


def less(images: Images, those: Images) -> Images:
    """The images that are not among `those`."""
    return dataclasses.replace(images, images=tuple(each for each in images.images if each not in those.images))


def apart(kube: Kube, spec: Spec, newest: Revision | None, workloads: Sequence[Object], images: Images) -> tuple[Images, Images]:
    """(images that the workloads have to name by digest, those that they name by tag alone). One that the manifest names in a Job, a
    CronJob or a hook, and in no workload, is in neither."""
    by_tag = tagged(workloads, images)
    strict = less(images, by_tag)
    live = {references.read(each).digest for workload in workloads for _, each in template_images(workload)}
    if newest and any(each.digest not in live for each in strict.images):
        release = stored.read(kube, spec.namespace, spec.release, newest.number, spec.keeper)
        steady, passing = stored.named(release)
        strict = dataclasses.replace(
            strict, images=tuple(each for each in strict.images if _names(steady, each) or not _names(passing, each))
        )
    return strict, by_tag


def _names(those: Iterable[str], image: Image) -> bool:
    found = map(references.read, those)
    return any(each.digest == image.digest or (each.repository, each.tag) == (image.repository, image.tag) for each in found)


def unproven(spec: Spec, site: Site, kube: Kube, workloads: Sequence[Object], by_tag: Images) -> list[str]:
    """What speaks against it that the workloads run the images that they name by tag alone: what the registry has by that tag now, and what
    each of their pods runs by its node's word. Raises what the clients of both raise."""
    if not by_tag.images:
        return []
    moved = []
    for image in by_tag.images:
        now = named.leads_to(site, f"{image.repository}:{image.tag}") if named.registry_of(site, image.repository) else image.digest
        if now != image.digest:
            moved.append(f"{image.repository}:{image.tag} is {now or 'nothing'} in the registry by now, {image.digest} was released")
    return (moved + list(_others(site, by_tag, manifest.pods(kube, manifest.workloads(workloads, spec.namespace)))))[:SHOWN]


def _others(site: Site, by_tag: Images, pods: Iterable[Object]) -> Iterator[str]:
    """What runs in a container that names one of the images by its tag, and is another."""
    wanted = {image.repository: image for image in by_tag.images}
    for pod in pods:
        if terminating(pod) or pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            continue
        said = dict(template_images({"spec": {"template": pod}}))
        for each in containers(pod):
            image = wanted.get(references.read(said.get(each.name, each.image)).repository)
            runs = references.digest_in(each.image_id)
            if image and runs and not named.is_image(site, image, runs):
                yield f"pod {name(pod)} runs {runs} as {image.repository}:{image.tag} in container {each.name}, {image.digest} was released"


def known(site: Site, revision: Revision, texts: Iterable[str]) -> list[str]:
    """Those of the images that a revision's objects name that were released with it, each with its digest: one that is named by tag alone
    has that of the registry. Of a revision that does not say what was released with it, all that are named by digest."""
    marks, found = _marks(revision), []
    for text in sorted(set(texts)):
        each = references.read(text)
        if each.digest or not each.tag or not marks:
            found.append(text)
        elif named.registry_of(site, text):
            found.append(f"{text}@{named.leads_to(site, text)}")
    by_digest = [text for text in found if references.read(text).digest]
    return [text for text in by_digest if _mark(references.read(text).digest) in marks] or by_digest


def running(site: Site, revision: Revision, workloads: Iterable[Object]) -> list[str]:
    """The same of the workloads of a revision as they are now."""
    return known(site, revision, (image for each in workloads for _, image in template_images(each)))


def lost(revision: Revision, found: Iterable[str]) -> list[str]:
    """The digests of a revision's images that none of those `found` has: their tags lead to nothing, or to another image by now."""
    there = {_mark(references.read(each).digest) for each in found}
    return [f"sha256:{mark}… ({revision.labels.get('tag', '')})" for mark in _marks(revision) if mark not in there]


def _mark(digest: str) -> str:
    return digest.partition(":")[2][:LENGTH]


def _marks(revision: Revision) -> list[str]:
    count = revision.labels.get(COUNT, "")
    return [revision.labels.get(f"{LABEL}{number}", "") for number in range(int(count) if count.isdigit() else 0)]
