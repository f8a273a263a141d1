"""Which image every pod of a release runs, by the node's own word (imageID), and whether it is ready: read from the API's objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.artifacts import Check, Release

Pod = Mapping[str, Any]
NAME = "pods"
SHOWN = 5  # pods that are named one by one


def judge(release: Release, pods: Sequence[Pod], beside: Sequence[str] = (), label: str = "") -> Check:
    """Whether every pod of `release` is ready and runs exactly what was pushed.

    Pods that end (deleted, succeeded, failed) are not asked. `beside` names image repositories that may run in these pods although the
    release did not push them. A release without a single pod does not pass; `label` is what they were listed by, "" if by the workloads.
    """
    running = [pod for pod in pods if not _ends(pod)]
    if not running:
        what = f"no pod carries {label}" if label else "no workload of the release has a pod"
        return Check(NAME, False, f"{what} in namespace {release.namespace}")
    wrong = [f"{_name(pod)} {problem}" for pod in running for problem in _problems(release, pod, beside)]
    if wrong:
        rest = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        return Check(NAME, False, "; ".join(wrong[:SHOWN]) + rest)
    missing = [image for image in release.images if not any(_runs(pod, {image.digest, image.config}) for pod in running)]
    if missing:
        return Check(NAME, False, "; ".join(f"no pod runs {image.reference}" for image in missing))
    names = ", ".join(_name(pod) for pod in running[:SHOWN]) + (" …" if len(running) > SHOWN else "")
    digests = ", ".join(short(image.digest) for image in release.images)
    return Check(NAME, True, f"{len(running)} ready on {digests}: {names}")


def short(digest: str) -> str:
    """A digest as people compare it: the algorithm and twelve digits."""
    algorithm, _, value = digest.partition(":")
    return f"{algorithm}:{value[:12]}"


def digest_of(image_id: str) -> str:
    """The digest in an imageID: `repo@sha256:…`, `docker-pullable://repo@sha256:…` or, for a side-loaded image, the bare config digest."""
    return image_id.rpartition("@")[2].rpartition("//")[2]


def _problems(release: Release, pod: Pod, beside: Sequence[str]) -> Iterator[str]:
    pushed = {digest for image in release.images for digest in (image.digest, image.config) if digest}
    wanted = ", ".join(short(image.digest) for image in release.images)
    statuses = pod.get("status", {}).get("containerStatuses") or []
    for status in statuses:
        digest = digest_of(status.get("imageID", ""))
        if digest and digest not in pushed and _repository(status) not in beside:
            yield f"runs {short(digest)} in container {status.get('name')}, {wanted} was released"
    if not _ready(pod):
        yield f"is not ready ({_why(pod, statuses)})"


def _runs(pod: Pod, digests: set[str]) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return any(digest_of(status.get("imageID", "")) in digests - {""} for status in statuses)


def _ends(pod: Pod) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp")) or pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def _ready(pod: Pod) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(condition.get("type") == "Ready" and condition.get("status") == "True" for condition in conditions)


def _why(pod: Pod, statuses: Sequence[Mapping[str, Any]]) -> str:
    for status in statuses:
        waiting = status.get("state", {}).get("waiting")
        if waiting and waiting.get("reason"):
            return str(waiting["reason"])
    return str(pod.get("status", {}).get("phase", "no status yet"))


def _repository(status: Mapping[str, Any]) -> str:
    """The repository a container's image is called by, without tag and digest. A port's colon stands before the last slash."""
    name = str(status.get("image", "")).partition("@")[0]
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(":")[0]


def _name(pod: Pod) -> str:
    return str(pod["metadata"]["name"])
