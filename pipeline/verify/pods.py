"""Which image every pod of a release runs, by the node's own word (imageID), and whether it is ready: read from the API's objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.artifacts import Check, Image, Release
from pipeline.tools import manifest, references
from pipeline.tools.kube_objects import Container, containers, doing, name, ready, template_images, terminating
from pipeline.tools.references import Reference

Object = Mapping[str, Any]
Is = Callable[[Image, str], bool]  # whether the digest that a node runs is that of the image
NAME = "pods"
SHOWN = 5  # pods that are named one by one


@dataclass(frozen=True)
class Stated:
    """What the manifest says of the containers of one workload: the image of each, by its name."""

    workload: manifest.Workload
    images: Mapping[str, str]


def stated(objects: Iterable[Object], namespace: str) -> list[Stated]:
    """The same of all workloads of a manifest."""
    return [Stated(of, dict(template_images(each))) for each in objects for of in manifest.workloads([each], namespace)]


def judge(
    release: Release, pods: Sequence[Object], workloads: Sequence[Stated] = (), label: str = "", is_image: Is = lambda _image, _runs: False
) -> Check:
    """Whether every pod of `release` is ready and runs exactly what was pushed; of other people's images, what the manifest says.

    Pods that end (deleted, succeeded, failed) are not asked. A container that the manifest does not have was put there by the cluster, as a
    mesh does, and is told. A release without a single pod does not pass; `label` is what they were listed by, "" if by the `workloads`.
    `is_image` is asked of what is no image's digest: it may lead to one.
    """
    running = [pod for pod in pods if not _ends(pod)]
    if not running:
        what = f"no pod carries {label}" if label else "no workload of the release has a pod"
        return Check(NAME, False, f"{what} in namespace {release.namespace}")
    wrong = [f"{name(pod)} {problem}" for pod in running for problem in _problems(release, pod, _of(pod, workloads), is_image)]
    if wrong:
        rest = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        return Check(NAME, False, "; ".join(wrong[:SHOWN]) + rest)
    missing = [image for image in release.images if _is_due(image, workloads) and not any(_runs(pod, image, is_image) for pod in running)]
    if missing:
        return Check(NAME, False, "; ".join(f"no pod runs {image.reference}" for image in missing))
    names = ", ".join(name(pod) for pod in running[:SHOWN]) + (" …" if len(running) > SHOWN else "")
    digests = ", ".join(short(image.digest) for image in release.images) or "other people's images"
    beside = sorted({each.name for pod in running for each in containers(pod) if _is_strange(each, _of(pod, workloads))})
    said = f"; beside it, of no manifest: {', '.join(beside)}" if beside else ""
    return Check(NAME, True, f"{len(running)} ready on {digests}: {names}{said}")


def short(digest: str) -> str:
    """A digest as people compare it: the algorithm and twelve digits."""
    algorithm, _, value = digest.partition(":")
    return f"{algorithm}:{value[:12]}"


def _of(pod: Object, workloads: Sequence[Stated]) -> Mapping[str, str]:
    """What the manifest says of a pod's containers, {} if it is of none of its workloads."""
    return next((each.images for each in workloads if each.workload.has(pod)), {})


def _problems(release: Release, pod: Object, said: Mapping[str, str], is_image: Is) -> Iterator[str]:
    pushed = {digest for image in release.images for digest in (image.digest, image.config) if digest}
    repositories = {image.repository for image in release.images}
    named = dict(template_images({"spec": {"template": pod}}))
    for each in containers(pod):
        runs, here = references.digest_in(each.image_id), references.read(named.get(each.name) or each.image)
        if not runs:
            continue  # it has not begun, which its pod's readiness tells
        wanted = references.read(said.get(each.name, ""))
        if repositories & {here.repository, wanted.repository}:
            if runs not in pushed and not any(is_image(image, runs) for image in release.images):
                released = ", ".join(short(image.digest) for image in release.images)
                yield f"runs {short(runs)} in {_place(each)}, {released} was released"
        elif wanted.repository and not _are_same(here, wanted):
            yield f"runs {_shown(here)} in {_place(each)}, the manifest says {_shown(wanted)}"
    if not ready(pod):
        yield f"is not ready ({doing(pod)})"


def _are_same(here: Reference, wanted: Reference) -> bool:
    """Whether a pod names the image that the manifest names: by digest if both have one; else by name and tag, a mirror's address before
    the name left out, which a cluster may write there."""
    if here.digest and wanted.digest:
        return here.digest == wanted.digest
    mirrored = here.path == wanted.path or here.path.endswith(f"/{wanted.path}")
    return mirrored and (here.tag or "latest") == (wanted.tag or "latest")


def _is_due(image: Image, workloads: Sequence[Stated]) -> bool:
    """Whether pods have to run an image: not if the manifest names it in a Job, a CronJob or a hook, and in no workload."""
    named = [references.read(each) for of in workloads for each in of.images.values()]
    return not named or any(each.digest == image.digest or each.repository == image.repository for each in named)


def _is_strange(container: Container, said: Mapping[str, str]) -> bool:
    return bool(said) and container.name not in said


def _runs(pod: Object, image: Image, is_image: Is) -> bool:
    ran = {references.digest_in(each.image_id) for each in containers(pod)} - {""}
    return not ran.isdisjoint({image.digest, image.config}) or any(is_image(image, each) for each in ran)


def _place(container: Container) -> str:
    return f"{'init container' if container.init else 'container'} {container.name}"


def _shown(image: Reference) -> str:
    return f"{image.repository}{f':{image.tag}' if image.tag else ''}{f'@{short(image.digest)}' if image.digest else ''}"


def _ends(pod: Object) -> bool:
    return terminating(pod) or pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
