"""Why a rollout fails, as one sentence: every sign that pods, events and workloads give is ranked, and the deepest cause wins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.tools import crictl
from pipeline.tools.kube_objects import Container, condition, containers, name, pending, ready, terminating

Object = Mapping[str, Any]
PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable")
CONFIG = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError", "PreStartHookError")
EXITS = {
    126: "the command cannot be executed",
    127: "the command was not found",
    137: "it was killed (SIGKILL)",
    139: "it crashed (SIGSEGV)",
    143: "it was asked to end (SIGTERM)",
}


@dataclass(frozen=True)
class Evidence:
    """What was seen of a release when it failed: its new `pods`, the namespace's `events`, its workloads and claims, `nodes_ready` of
    `nodes`, and `logs` by "pod/container" (of the container before, where there was one)."""

    pods: Sequence[Object] = ()
    events: Sequence[Object] = ()
    deployments: Sequence[Object] = ()
    claims: Sequence[Object] = ()
    services: Sequence[Object] = ()
    logs: Mapping[str, str] = field(default_factory=dict)
    nodes: int = -1
    nodes_ready: int = -1


@dataclass(frozen=True)
class Cause:
    """One sign: the lower its `rank`, the deeper it lies. `object` and `container` say where, `mend` what to do."""

    rank: int
    sentence: str
    object: str = ""
    container: str = ""
    mend: str = ""


def cause(evidence: Evidence) -> Cause:
    """The deepest cause that `evidence` shows; never none."""
    found = sorted(signs(evidence), key=lambda sign: sign.rank)
    return found[0] if found else Cause(99, "nothing says why: the pods are there and report no fault", mend="kubectl describe the pods")


def signs(evidence: Evidence) -> Iterator[Cause]:
    """Every sign there is."""
    for pod in evidence.pods:
        if not terminating(pod):
            yield from _of_pod(pod, evidence)
    for deployment in evidence.deployments:
        yield from _of_deployment(deployment)
    for claim in evidence.claims:
        if claim.get("status", {}).get("phase") == "Pending":
            text = _latest(evidence, name(claim), ("ProvisioningFailed", "FailedBinding"))
            said = _colon(text or _latest(evidence, name(claim), ("WaitForFirstConsumer",)))
            # with a fault of its own it keeps its pod from a node, without one it waits for its pod
            mend = "kubectl get storageclass,pv: name a class that is there, or make a volume"
            yield Cause(38 if text else 60, f"PersistentVolumeClaim {name(claim)} is Pending{said}", name(claim), mend=mend)
    for service in evidence.services:
        balancer = service.get("status", {}).get("loadBalancer", {}).get("ingress")
        if service.get("spec", {}).get("type") == "LoadBalancer" and not balancer:
            yield Cause(
                70, f"Service {name(service)} waits for a load balancer", name(service), mend="is there a load balancer controller?"
            )


def _of_pod(pod: Object, evidence: Evidence) -> Iterator[Cause]:
    called = name(pod)
    for container in containers(pod):
        yield from _of_container(pod, container, evidence)
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        text = str(scheduled.get("message") or "") or _latest(evidence, called, ("FailedScheduling",))
        if evidence.nodes_ready == 0:
            text = f"none of {evidence.nodes} nodes is ready; {text}"
        mend = "kubectl get nodes; kubectl describe node: NotReady, taints or too little CPU and memory"
        yield Cause(40, f"{called} cannot be scheduled{_colon(text)}", called, mend=mend)
    begun = any(each.state in ("running", "terminated") or each.last_exit is not None for each in containers(pod))  # volumes are there
    if not begun and (text := _latest(evidence, called, ("FailedMount", "FailedAttachVolume"))):
        yield Cause(
            25, f"{called}: a volume cannot be mounted: {text}", called, mend="make what the volume names: a Secret, ConfigMap or claim"
        )
    if not begun and (text := _latest(evidence, called, ("FailedCreatePodSandBox",))):
        yield Cause(45, f"{called}: the node cannot make the pod's sandbox: {text}", called, mend="see the node's kubelet and CNI logs")
    if text := _latest(evidence, called, ("Evicted", "Preempted")):
        yield Cause(35, f"{called} was put off its node: {text}", called, mend="free memory or disk on the node, or ask for less")
    for container in containers(pod):
        if container.init and container.state == "running" and not container.ready:
            last = _last_line(evidence.logs.get(f"{called}/{container.name}", ""))
            text = f"{called} waits for its init container {container.name}, which has not ended{_colon(last)}"
            yield Cause(55, text, called, container.name, "see what it waits for: kubectl logs of that container")
    if not ready(pod) and (text := _latest(evidence, called, ("Unhealthy",))):
        yield Cause(50, f"{called} is not healthy: {text}", called, mend="see the container's log: what its probe asks for does not answer")


def _of_container(pod: Object, container: Container, evidence: Evidence) -> Iterator[Cause]:
    called, where = name(pod), f"{name(pod)}: container {container.name}"
    kind = "init container" if container.init else "container"
    if container.state == "waiting" and container.reason in PULL:
        yield _pull(pod, container, evidence)
    elif container.state == "waiting" and container.reason in CONFIG:
        text = container.message or _latest(evidence, called, ("Failed",))
        yield Cause(20, f"{where} cannot be started: {text or container.reason}", called, container.name, _config_mend(text))
    elif not container.ready and (reason := _ended(container)) is not None:
        code = container.exit_code if container.state == "terminated" else container.last_exit
        last = _last_line(evidence.logs.get(f"{called}/{container.name}", ""))
        times = f", {container.restarts} restarts" if container.restarts else ""
        if reason == "OOMKilled":
            limit = _limit(pod, container.name)
            yield Cause(15, f"{where} was killed for memory (OOMKilled{limit}){times}", called, container.name,
                        "raise resources.limits.memory, or make it use less")  # fmt: skip
            return
        why = EXITS.get(code or 0, "")
        text = f"{called}: {kind} {container.name} ends with exit code {code}{f', {why}' if why else ''}{times}"
        yield Cause(30, text + _colon(last), called, container.name, "its last log lines say why; they are in the log file")


def _pull(pod: Object, container: Container, evidence: Evidence) -> Cause:
    image = _wanted_image(pod, container.name) or container.image
    if container.reason == "InvalidImageName":
        return Cause(
            5, f"{name(pod)}: {image!r} is not an image's name", name(pod), container.name, "correct image.repository in the values"
        )
    text = _latest(evidence, name(pod), ("Failed",), having="pull") or container.message or container.reason
    registry = image.partition("/")[0]
    pull = crictl.classify_message(text)
    mend = crictl.error(pull, image, "the node", registry).mend
    return Cause(10, f"{name(pod)}: image {image} cannot be pulled: {pull.evidence}", name(pod), container.name, mend)


def _of_deployment(deployment: Object) -> Iterator[Cause]:
    called = f"{deployment.get('kind', 'Deployment')} {name(deployment)}"
    failure = condition(deployment, "ReplicaFailure")
    if failure.get("status") == "True":
        mend = "a quota, an admission policy or a missing service account: see the message"
        yield Cause(18, f"{called}: pods cannot be made: {failure.get('message')}", called, mend=mend)
    progress = condition(deployment, "Progressing")
    if progress.get("reason") == "ProgressDeadlineExceeded":
        yield Cause(80, f"{called} made no progress: {progress.get('message')}", called, mend="kubectl describe its pods")
    if text := pending(deployment):
        yield Cause(90, f"waited for {text}", called, mend="raise `deadline`, if it is only slow")


def _ended(container: Container) -> str | None:
    """Why the container ended, None where it did not."""
    if container.state == "terminated" and container.exit_code:
        return container.reason or "Error"
    if container.last_exit is not None and (container.last_exit != 0 or container.reason == "CrashLoopBackOff"):
        return container.last_reason or "Error"
    return None


def _latest(evidence: Evidence, called: str, reasons: Sequence[str], having: str = "") -> str:
    found = [
        event for event in evidence.events
        if event.get("involvedObject", {}).get("name") == called and event.get("reason") in reasons
        and having in str(event.get("message", "")).lower()
    ]  # fmt: skip
    telling = [event for event in found if not _echo(str(event.get("message", "")))]
    chosen = max(telling or found, key=when, default={})
    return " ".join(str(chosen.get("message", "")).split())[:600]


def _echo(message: str) -> bool:
    """Whether an event only says that a former one is being waited out."""
    return "Back-off" in message or message.endswith(("ErrImagePull", "ImagePullBackOff"))


def when(event: Object) -> str:
    """When an event was last seen, as text that sorts."""
    return str(
        (event.get("series") or {}).get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
        or event.get("metadata", {}).get("creationTimestamp") or ""
    )  # fmt: skip


def _wanted_image(pod: Object, container: str) -> str:
    spec = pod.get("spec", {})
    for entry in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        if entry.get("name") == container:
            return str(entry.get("image", ""))
    return ""


def _limit(pod: Object, container: str) -> str:
    for entry in pod.get("spec", {}).get("containers") or []:
        if entry.get("name") == container and (limit := (entry.get("resources", {}).get("limits") or {}).get("memory")):
            return f", limit {limit}"
    return ""


def _config_mend(text: str) -> str:
    if "not found" in text:
        return "make what the message names, in this namespace: `secret` of the stage keeps a Secret in step"
    if "couldn't find key" in text:
        return "add that key to the Secret or ConfigMap: `secret.data` of the stage"
    return "correct the container's command, user or mounts in the chart"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _colon(text: str) -> str:
    return f": {text}" if text else ""
