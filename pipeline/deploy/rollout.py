"""Follows a rollout by the API's own watches, until it is done or shows that it will not be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.clock import Clock
from pipeline.deploy.capture import read_log
from pipeline.deploy.diagnosis import CONFIG, PULL
from pipeline.deploy.stuck import stuck
from pipeline.deploy.watching import Watched, drained, watching
from pipeline.errors import PipelineError
from pipeline.tools import manifest
from pipeline.tools.crictl import classify_message
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_objects import (
    HASH,
    condition,
    containers,
    crashes,
    doing,
    labels,
    name,
    namespace,
    newest_hash,
    newest_of,
    pending,
    ready,
    taken_up,
    terminating,
)
from pipeline.tools.manifest import KIND, Workload

Object = dict[str, Any]
GRACE = {"schedule": 20.0, "config": 6.0, "pull": 20.0, "quota": 8.0}  # seconds a sign may last that can pass by itself
LAST_LINES = 10  # of a container that crashed
UNREAD = "failed to sync"  # "… secret cache: timed out waiting for the condition": the kubelet has not read it yet, and says more soon
PASSING = ("network", "busy", "unknown")  # pulls that the kubelet's next try may mend


@dataclass(frozen=True)
class Failure:
    """The rollout will not be done: `why` in short; the pods it is about are in `pods`."""

    why: str
    pods: tuple[Object, ...] = ()


@dataclass
class View:
    """What is known of a release's workloads now, by path: `wanted` are those of its manifest. `since` says when a passing sign was first
    seen, `listed` which collections have been seen whole."""

    deployments: dict[str, Object] = field(default_factory=dict)
    pods: dict[str, Object] = field(default_factory=dict)
    sets: Sequence[Object] = ()
    since: dict[str, float] = field(default_factory=dict)
    sets_of: dict[str, Object] = field(default_factory=dict)  # StatefulSets and DaemonSets
    listed: set[str] = field(default_factory=set)
    wanted: Sequence[Workload] = ()

    @property
    def workloads(self) -> list[Object]:
        return [*(each for _, each in sorted(self.deployments.items())), *(each for _, each in sorted(self.sets_of.items()))]

    @property
    def hashes(self) -> set[str]:
        return {newest_hash(deployment, self.sets) for deployment in self.deployments.values() if taken_up(deployment)} - {""}

    @property
    def new_pods(self) -> list[Object]:
        """The pods of each Deployment's newest ReplicaSet, and of the newest version of the sets."""
        hashes, those = self.hashes, list(self.sets_of.values())
        found = [pod for _, pod in sorted(self.pods.items()) if not terminating(pod)]
        return [pod for pod in found if labels(pod).get(HASH) in hashes or any(newest_of(each, pod) for each in those)]

    @property
    def absent(self) -> list[Workload]:
        """Workloads of the manifest that are not there."""
        return [each for each in self.wanted if each.path not in self.deployments and each.path not in self.sets_of]

    def waiting_for(self) -> list[str]:
        return [f"{each} is not there" for each in self.absent] + [text for each in self.workloads if (text := pending(each))]

    def line(self) -> str:
        """The state in one line: "2 of 3 pods ready, web-abc: ContainerCreating"."""
        pods = self.new_pods
        wanted = sum(int(each.get("spec", {}).get("replicas") or 0) for each in self.workloads)
        busy = [f"{name(pod)}: {doing(pod)}" for pod in pods if not ready(pod)]
        return f"{sum(map(ready, pods))} of {max(wanted, len(pods))} pods ready" + "".join(f", {text}" for text in busy[:3])


def follow(
    kube: Kube, wanted: Sequence[Workload], clock: Clock, *, deadline: float, allowed: int, tell: Callable[[str], None],
    log: Callable[[str], None] = lambda _line: None, check: Callable[[], None] = lambda: None,
) -> tuple[Failure | None, View]:  # fmt: skip
    """Wait until every one of the workloads `wanted` runs its newest pods only, all available; or say why it will not.

    `deadline` is in seconds, `allowed` how often a container may end before that counts as a crash loop. `tell` hears each change of the
    state in one line, `log` the last lines of each container that crashed, as soon as it has. `check` is called twice a second and may
    raise to end the wait. Raises Transient if the API goes away.
    """
    started, shown, view = clock.monotonic(), "", View(wanted=wanted)
    freed: set[str] = set()
    told: dict[str, int] = {}
    watched = _watched(wanted)
    with watching(kube, watched) as changes:
        while True:
            for kind, value in drained(changes):
                _take(view, kind, value)
            if view.deployments and not (view.hashes and _complete(view)):
                view.sets = replica_sets(kube, wanted)
            waiting = view.waiting_for()
            if view.listed.issuperset(each.kind for each in watched) and not waiting:
                return None, view
            if view.workloads and (line := view.line()) != shown:
                tell(shown := line)
            for pod in stuck(view.sets_of.values(), view.pods.values()):
                if name(pod) not in freed:
                    tell(f"{name(pod)} is of an older version and never came up: deleted, so that it is made anew")
                    kube.delete(path("v1", "pods", namespace(pod), name(pod)))
                    freed.add(name(pod))
            _tell_crashes(kube, view, told, log)
            spent = clock.monotonic() - started
            if failure := judge(view, allowed, clock.monotonic()):
                return failure, view
            if view.absent and spent > GRACE["config"]:
                return Failure(f"{view.absent[0]} of the manifest is not there: somebody deleted it"), view
            if spent > deadline:
                return Failure(f"not done after {deadline:.0f} s: {'; '.join(waiting)}", tuple(view.new_pods)), view
            check()


def _tell_crashes(kube: Kube, view: View, told: dict[str, int], log: Callable[[str], None]) -> None:
    """Pass on what each crashed container said last; `told` keeps how many crashes of it were passed on."""
    for pod in view.new_pods:
        for container in containers(pod):
            key, count = f"{name(pod)}/{container.name}", container.restarts + container.has_crashed
            if count > told.get(key, 0):
                told[key] = count
                for line in read_log(kube, namespace(pod), name(pod), container.name, LAST_LINES).splitlines():
                    log(f"{name(pod)}: {line}")


def look(kube: Kube, wanted: Sequence[Workload], since: dict[str, float]) -> View:
    """The workloads and their pods as they are now: one request for each kind. `since` are the passing signs of the look before."""
    found = manifest.read(kube, [each.path for each in wanted])
    deployments = {place: each for place, each in found.items() if each["kind"] == "Deployment"}
    pods = {f"{namespace(pod)}/{name(pod)}": pod for pod in manifest.pods(kube, wanted)}
    sets_of = {place: each for place, each in found.items() if place not in deployments}
    return View(deployments, pods, replica_sets(kube, wanted), since, sets_of, wanted=wanted)


def replica_sets(kube: Kube, wanted: Sequence[Workload]) -> list[Object]:
    """The metadata of the ReplicaSets among which those of the Deployments are."""
    spaces = manifest.by_namespace(each for each in wanted if each.kind == "Deployment")
    return [
        each
        for space, those in spaces.items()
        for each in kube.list(path("apps/v1", "replicasets", space), manifest.shared_labels(those), metadata=True)["items"]
    ]


def judge(view: View, allowed: int, now: float) -> Failure | None:
    """Whether what is seen can only end badly. Signs that may pass by themselves have a short grace, in seconds of `now`."""
    signs: dict[str, tuple[str, str, Object]] = {}
    for pod in view.new_pods:
        if not ready(pod) and crashes(pod) >= allowed:
            return Failure(f"{name(pod)} has crashed {crashes(pod)} times", (pod,))
        if condition(pod, "PodScheduled").get("status") == "False":
            signs[f"schedule/{name(pod)}"] = ("schedule", f"{name(pod)} cannot be scheduled", pod)
        for container in containers(pod):
            if container.state != "waiting":
                continue
            if container.reason in PULL:
                kind = classify_message(container.message).kind
                passing = container.reason == "ErrImagePull" and kind in PASSING
                if container.reason == "InvalidImageName" or (not passing and kind not in PASSING):
                    return Failure(f"{name(pod)} cannot pull its image", (pod,))
                signs[f"pull/{name(pod)}"] = ("pull", f"{name(pod)} cannot pull its image", pod)
            elif container.reason in CONFIG and UNREAD not in container.message:
                signs[f"config/{name(pod)}"] = ("config", f"{name(pod)}: {container.reason}", pod)
    for deployment in view.deployments.values():
        if condition(deployment, "Progressing").get("reason") == "ProgressDeadlineExceeded":
            return Failure(f"{name(deployment)} made no progress in its progressDeadlineSeconds", tuple(view.new_pods))
        if condition(deployment, "ReplicaFailure").get("status") == "True":
            signs[f"quota/{name(deployment)}"] = ("quota", f"{name(deployment)}: pods cannot be made", deployment)
    view.since = {key: view.since.get(key, now) for key in signs}
    late = [signs[key] for key, since in view.since.items() if now - since > GRACE[signs[key][0]]]
    return Failure(late[0][1], (late[0][2],)) if late else None


def _complete(view: View) -> bool:
    return all(taken_up(deployment) and newest_hash(deployment, view.sets) for deployment in view.deployments.values())


def _watched(wanted: Sequence[Workload]) -> list[Watched]:
    """What has to be watched: a collection for each kind of workload, and the pods of each namespace."""
    found = []
    for collection in dict.fromkeys(each.collection for each in wanted):
        names = [each.name for each in wanted if each.collection == collection]
        found.append(Watched(collection, fields=f"metadata.name={names[0]}" if len(names) == 1 else "", called=collection))
    for space, those in manifest.by_namespace(wanted).items():
        pods = path("v1", "pods", space)
        found.append(Watched(pods, manifest.shared_labels(those), called=pods))
    return found


def _take(view: View, kind: str, value: Any) -> None:
    """Note one change of a collection; what is not the release's is left out."""
    if isinstance(value, PipelineError):
        raise value
    collection, _, what = kind.partition(" ")
    plural = collection.rpartition("/")[2]
    group = view.pods if plural == "pods" else view.deployments if plural == "deployments" else view.sets_of
    places = {each.path for each in view.wanted}

    def ours(item: Object) -> bool:
        return any(each.has(item) for each in view.wanted) if plural == "pods" else f"{collection}/{name(item)}" in places

    def whole(item: Object) -> Object:
        return item if plural == "pods" else {**item, "kind": KIND[plural]}

    if what == "LIST":
        view.listed.add(collection)
        for key in [key for key in group if key.startswith(f"{collection}/")]:
            del group[key]
        group.update({f"{collection}/{name(item)}": whole(item) for item in value if ours(item)})
    elif what == "DELETED":
        group.pop(f"{collection}/{name(value)}", None)
    elif what != "BOOKMARK" and ours(value):
        group[f"{collection}/{name(value)}"] = whole(value)
