"""Reads Kubernetes objects as the API gives them: which pods are ready, what a Deployment still waits for, which images run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.tools.kube_paths import path

Object = Mapping[str, Any]
REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"
INSTANCE = "app.kubernetes.io/instance"
SETS = ("StatefulSet", "DaemonSet")  # what runs pods of its own, beside Deployments
SCALE = "scale"  # the subresource by which people and autoscalers set replicas
AUTOSCALER = "kube-controller-manager"  # who writes there for a HorizontalPodAutoscaler
ROOT_CA = "kube-root-ca.crt"  # the ConfigMap that the cluster puts into every namespace
GENERATION = "deprecated.daemonset.template.generation"  # still how a DaemonSet's pods are told apart (k8s.io/api/apps/v1)


@dataclass(frozen=True)
class Container:
    """One container of a pod as its node reports it. `state` is waiting, running, terminated or "" (not reported yet)."""

    name: str
    image: str
    image_id: str
    ready: bool
    restarts: int
    state: str
    reason: str
    message: str
    exit_code: int | None
    last_reason: str
    last_exit: int | None
    init: bool

    @property
    def has_crashed(self) -> bool:
        """Whether it is not running now because it ended, or is held back after that. An init container that ended well is done."""
        ended = self.state == "terminated" and not (self.init and self.exit_code == 0)
        return ended or (self.state == "waiting" and self.reason == "CrashLoopBackOff")


def name(value: Object) -> str:
    return str(value.get("metadata", {}).get("name", ""))


def namespace(value: Object) -> str:
    """The namespace it names, "" where it names none."""
    return str(value.get("metadata", {}).get("namespace") or "")


def claims(pod: Object) -> list[str]:
    """The names of the volume claims that a pod mounts."""
    volumes = pod.get("spec", {}).get("volumes") or []
    return [str(each["persistentVolumeClaim"].get("claimName")) for each in volumes if each.get("persistentVolumeClaim")]


def labels(value: Object) -> Mapping[str, str]:
    return value.get("metadata", {}).get("labels") or {}


def notes(value: Object) -> Mapping[str, str]:
    """Its annotations."""
    return value.get("metadata", {}).get("annotations") or {}


def selector(release: str) -> str:
    """The label selector of everything a release made. Source: https://helm.sh/docs/chart_best_practices/labels/"""
    return f"{INSTANCE}={release}"


def terminating(pod: Object) -> bool:
    return bool(pod.get("metadata", {}).get("deletionTimestamp"))


def ready(pod: Object) -> bool:
    return condition(pod, "Ready").get("status") == "True" and not terminating(pod)


def condition(value: Object, kind: str) -> Object:
    """The condition of that type, empty where there is none."""
    found = [entry for entry in value.get("status", {}).get("conditions") or [] if entry.get("type") == kind]
    return found[0] if found else {}


def containers(pod: Object) -> Iterator[Container]:
    """Init containers first, as they run."""
    status = pod.get("status", {})
    for init, key in ((True, "initContainerStatuses"), (False, "containerStatuses")):
        for entry in status.get(key) or []:
            yield _container(entry, init)


def _container(entry: Object, init: bool) -> Container:
    state = entry.get("state") or {}
    kind = next((kind for kind in ("waiting", "running", "terminated") if state.get(kind) is not None), "")
    now, last = state.get(kind) or {}, (entry.get("lastState") or {}).get("terminated") or {}
    return Container(
        name=str(entry.get("name", "")),
        image=str(entry.get("image", "")),
        image_id=str(entry.get("imageID", "")),
        ready=bool(entry.get("ready")),
        restarts=int(entry.get("restartCount") or 0),
        state=kind,
        reason=str(now.get("reason") or ""),
        message=str(now.get("message") or ""),
        exit_code=now.get("exitCode"),
        last_reason=str(last.get("reason") or ""),
        last_exit=last.get("exitCode"),
        init=init,
    )


def restarts(pod: Object) -> int:
    """The restarts of its most restless container."""
    return max((container.restarts for container in containers(pod)), default=0)


def crashes(pod: Object) -> int:
    """Return how often its most restless container has ended though it should run: each restart, and the end that it is in now."""
    return max((each.restarts + each.has_crashed for each in containers(pod)), default=0)


def doing(pod: Object) -> str:
    """What a pod does now, in the fewest of Kubernetes' own words."""
    if terminating(pod):
        return "Terminating"
    for container in containers(pod):
        if container.state == "waiting" and container.reason not in ("", "PodInitializing"):
            return container.reason
        if container.state == "terminated" and not container.init:
            return container.reason or f"exit {container.exit_code}"
    if condition(pod, "PodScheduled").get("status") == "False":
        return str(condition(pod, "PodScheduled").get("reason") or "not scheduled")
    phase = str(pod.get("status", {}).get("phase") or "Pending")
    return "not ready" if phase == "Running" and not ready(pod) else phase


def template_images(deployment: Object) -> Iterator[tuple[str, str]]:
    """(container, image) of a workload's pod template."""
    spec = deployment.get("spec", {}).get("template", {}).get("spec", {})
    for key in ("initContainers", "containers"):
        for container in spec.get(key) or []:
            yield str(container.get("name", "")), str(container.get("image", ""))


def needed(pod: Object) -> list[str]:
    """Return the paths of the Secrets and ConfigMaps without which a pod does not start, but for the one that each namespace has.

    Source: https://kubernetes.io/docs/concepts/configuration/secret/#restriction-secret-must-exist
    """
    spec, found = pod.get("spec") or {}, []
    for volume in spec.get("volumes") or []:
        sources = (volume.get("projected") or {}).get("sources") or [volume]
        found += [("secrets", each.get("secret")) for each in sources] + [("configmaps", each.get("configMap")) for each in sources]
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        places = [*(container.get("envFrom") or []), *(each.get("valueFrom") or {} for each in container.get("env") or [])]
        for kind, keys in (("secrets", ("secretRef", "secretKeyRef")), ("configmaps", ("configMapRef", "configMapKeyRef"))):
            found += [(kind, place.get(key)) for place in places for key in keys]
    named = [(kind, str(each.get("secretName") or each.get("name"))) for kind, each in found if each and not each.get("optional")]
    return list(dict.fromkeys(path("v1", kind, namespace(pod), name) for kind, name in named if name != ROOT_CA))


def pod_images(value: Object) -> Iterator[str]:
    """The images of the pods that an object is, runs or will run: a Pod, a workload, a Job, a CronJob."""
    if value.get("kind") == "CronJob":
        value = (value.get("spec") or {}).get("jobTemplate") or {}
    if value.get("kind") == "Pod":
        value = {"spec": {"template": value}}
    if isinstance((value.get("spec") or {}).get("template"), Mapping):  # in other kinds it may be a text
        yield from (image for _, image in template_images(value))


def pending(deployment: Object) -> str:
    """What a Deployment still waits for, "" once its newest pods are all available and no older ones are left; so of a StatefulSet or a
    DaemonSet, where its `kind` says that it is one.

    The rule is that of `kubectl rollout status` (k8s.io/kubectl/pkg/polymorphichelpers/rollout_status.go).
    """
    if deployment.get("kind") in SETS:
        return _set_pending(deployment)
    spec, status = deployment.get("spec", {}), deployment.get("status", {})
    called, wanted = name(deployment), int(spec.get("replicas", 1) if spec.get("replicas") is not None else 1)
    if not taken_up(deployment):
        return f"{called}: the new version has not been taken up yet"
    updated, total, available = (int(status.get(key) or 0) for key in ("updatedReplicas", "replicas", "availableReplicas"))
    if updated < wanted:
        return f"{called}: {updated} of {wanted} new pods exist"
    if total > updated:
        return f"{called}: {total - updated} old pods are left"
    if available < updated:
        return f"{called}: {available} of {updated} new pods are available"
    return ""


def _set_pending(value: Object) -> str:
    spec, status, called = value.get("spec", {}), value.get("status", {}), name(value)
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        return ""  # its pods are renewed by hand
    if not taken_up(value):
        return f"{called}: the new version has not been taken up yet"
    if value.get("kind") == "DaemonSet":
        wanted = int(status.get("desiredNumberScheduled") or 0)
        updated, available = int(status.get("updatedNumberScheduled") or 0), int(status.get("numberAvailable") or 0)
    else:
        wanted = int(spec.get("replicas", 1) if spec.get("replicas") is not None else 1)
        held = int(((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition") or 0)
        same = status.get("updateRevision") == status.get("currentRevision")
        new, old = int(status.get("updatedReplicas") or 0), int(status.get("currentReplicas") or 0)
        # The same after a way back from the middle of an update, too: pods of the version that was left are in neither count
        updated = max(new, old) if same else new + min(held, wanted)
        available = int(status.get("readyReplicas") or 0)
    if updated < wanted:
        return f"{called}: {updated} of {wanted} new pods exist"
    if available < wanted:
        return f"{called}: {available} of {wanted} new pods are available"
    return ""


def newest_of(value: Object, pod: Object) -> bool:
    """Whether a pod is of the newest version of a StatefulSet or DaemonSet that has been taken up."""
    uid = value.get("metadata", {}).get("uid")
    if not taken_up(value) or uid not in [owner.get("uid") for owner in pod.get("metadata", {}).get("ownerReferences") or []]:
        return False
    if value.get("kind") == "DaemonSet":
        return labels(pod).get("pod-template-generation") == notes(value).get(GENERATION)
    return bool(labels(pod).get("controller-revision-hash") == value.get("status", {}).get("updateRevision"))


def taken_up(deployment: Object) -> bool:
    """Whether the Deployment's controller has seen its spec as it is: before that, its newest ReplicaSet is that of the spec before."""
    seen = deployment.get("status", {}).get("observedGeneration") or 0
    return int(seen) >= int(deployment.get("metadata", {}).get("generation") or 0)


def newest_hash(deployment: Object, replica_sets: Sequence[Object]) -> str:
    """The pod-template-hash of the Deployment's newest ReplicaSet, "" where it is not there yet."""
    revision, uid = notes(deployment).get(REVISION), deployment.get("metadata", {}).get("uid")
    for replica_set in replica_sets:
        owners = [owner.get("uid") for owner in replica_set.get("metadata", {}).get("ownerReferences") or []]
        if uid in owners and notes(replica_set).get(REVISION) == revision:
            return str(labels(replica_set).get(HASH, ""))
    return ""


def edits(value: Object, allowed: Sequence[str] = ("helm", "Helm", "pipeline"), since: str = "") -> list[str]:
    """Fields that somebody else set, as "spec.template… by kubectl-edit at 12:00"; none of its metadata, none of its status.

    What an autoscaler or `kubectl rollout restart` leaves is no edit, nor what was set before `since` (ISO 8601); `kubectl scale` is one,
    though the API notes no time of it. Read from managedFields.
    Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/
    """
    found = []
    for entry in value.get("metadata", {}).get("managedFields") or []:
        manager, part, at = entry.get("manager"), entry.get("subresource"), str(entry.get("time") or "")
        if manager in allowed or (part and (part != SCALE or manager == AUTOSCALER)):
            continue
        if since and at <= since and (at or part != SCALE):
            continue
        who = f"by {entry.get('manager')} at {entry.get('time', 'an unknown time')}"
        for key, fields in (entry.get("fieldsV1") or {}).items():
            if key.startswith("f:") and key not in ("f:metadata", "f:status"):
                found += [f"{path} {who}" for path in _leaves(fields or {}, key.removeprefix("f:")) if "restartedAt" not in path]
    return sorted(found)


def _leaves(fields: Mapping[str, Any], path: str) -> Iterator[str]:
    inner = {key: value for key, value in fields.items() if key != "."}
    if not inner:
        yield path
    for key, value in inner.items():
        kind, _, word = key.partition(":")
        word = word if kind == "f" else "[" + word.replace('"', "").replace("{", "").replace("}", "").replace("name:", "") + "]"
        yield from _leaves(value, path + (word if word.startswith("[") else f".{word}"))
