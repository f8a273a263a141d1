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
from pipeline.tools.crictl import classify
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_objects import (
    HASH,
    SETS,
    condition,
    containers,
    crashes,
    doing,
    labels,
    name,
    newest_hash,
    newest_of,
    pending,
    ready,
    selector,
    taken_up,
    terminating,
)

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
    """What is known of a release's workloads now. `since` says when a passing sign was first seen."""

    deployments: dict[str, Object] = field(default_factory=dict)
    pods: dict[str, Object] = field(default_factory=dict)
    sets: Sequence[Object] = ()
    since: dict[str, float] = field(default_factory=dict)
    sets_of: dict[str, Object] = field(default_factory=dict)  # StatefulSets and DaemonSets, by plural/name
    listed: set[str] = field(default_factory=set)  # the kinds that have been seen whole

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

    def waiting_for(self) -> list[str]:
        return [text for each in self.workloads if (text := pending(each))]

    def line(self) -> str:
        """The state in one line: "2 of 3 pods ready, web-abc: ContainerCreating"."""
        pods = self.new_pods
        wanted = sum(int(each.get("spec", {}).get("replicas") or 0) for each in self.workloads)
        busy = [f"{name(pod)}: {doing(pod)}" for pod in pods if not ready(pod)]
        return f"{sum(map(ready, pods))} of {max(wanted, len(pods))} pods ready" + "".join(f", {text}" for text in busy[:3])


def follow(
    kube: Kube, namespace: str, release: str, clock: Clock, *, deadline: float, allowed: int, tell: Callable[[str], None],
    log: Callable[[str], None] = lambda _line: None, check: Callable[[], None] = lambda: None, kinds: Sequence[str] = ("deployments",),
) -> tuple[Failure | None, View]:  # fmt: skip
    """Wait until every workload of the release, of these `kinds`, runs its newest pods only, all available; or say why it will not.

    `deadline` is in seconds, `allowed` how often a container may end before that counts as a crash loop. `tell` hears each change of the
    state in one line, `log` the last lines of each container that crashed, as soon as it has. `check` is called twice a second and may
    raise to end the wait. Raises Transient if the API goes away.
    """
    started, shown, view = clock.monotonic(), "", View()
    freed: set[str] = set()
    told: dict[str, int] = {}
    watched = [Watched(path("apps/v1", kind, namespace), selector(release)) for kind in kinds]
    with watching(kube, [*watched, Watched(path("v1", "pods", namespace), selector(release))]) as changes:
        while True:
            for kind, value in drained(changes):
                _take(view, kind, value)
            if view.deployments and not (view.hashes and _complete(view)):
                view.sets = kube.list(path("apps/v1", "replicasets", namespace), selector(release), metadata=True)["items"]
            waiting = view.waiting_for()
            if view.workloads and view.listed.issuperset(kinds) and not waiting:
                return None, view
            if view.workloads and (line := view.line()) != shown:
                tell(shown := line)
            for pod in stuck(view.sets_of.values(), view.pods.values()):
                if name(pod) not in freed:
                    tell(f"{name(pod)} is of an older version and never came up: deleted, so that it is made anew")
                    kube.delete(path("v1", "pods", namespace, name(pod)))
                    freed.add(name(pod))
            _tell_crashes(kube, namespace, view, told, log)
            spent = clock.monotonic() - started
            if failure := judge(view, allowed, clock.monotonic()):
                return failure, view
            if not view.workloads and spent > GRACE["config"]:
                return Failure(f"no Deployment carries the label {selector(release)}: the chart has to set it"), view
            if spent > deadline:
                return Failure(f"not done after {deadline:.0f} s: {'; '.join(waiting)}", tuple(view.new_pods)), view
            check()


def _tell_crashes(kube: Kube, namespace: str, view: View, told: dict[str, int], log: Callable[[str], None]) -> None:
    """Pass on what each crashed container said last; `told` keeps how many crashes of it were passed on."""
    for pod in view.new_pods:
        for container in containers(pod):
            key, count = f"{name(pod)}/{container.name}", container.restarts + container.has_crashed
            if count > told.get(key, 0):
                told[key] = count
                for line in read_log(kube, namespace, name(pod), container.name, LAST_LINES).splitlines():
                    log(f"{name(pod)}: {line}")


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
                kind = classify(container.message).kind
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


def _take(view: View, kind: str, value: Any) -> None:
    if isinstance(value, PipelineError):
        raise value
    plural, _, what = kind.partition(" ")
    if plural in SETS:
        _take_set(view, plural, what, value)
        return
    group = view.deployments if plural == "deployments" else view.pods
    if kind.endswith("LIST"):
        view.listed.add(plural)
        group.clear()
        group.update({name(item): item for item in value})
    elif kind.endswith("DELETED"):
        group.pop(name(value), None)
    elif not kind.endswith("BOOKMARK"):
        group[name(value)] = value


def _take_set(view: View, plural: str, what: str, value: Any) -> None:
    """The same for a StatefulSet or a DaemonSet, which are known by kind and name."""
    if what == "LIST":
        view.listed.add(plural)
        view.sets_of = {key: each for key, each in view.sets_of.items() if not key.startswith(f"{plural}/")}
        view.sets_of.update({f"{plural}/{name(item)}": {**item, "kind": SETS[plural]} for item in value})
    elif what == "DELETED":
        view.sets_of.pop(f"{plural}/{name(value)}", None)
    elif what != "BOOKMARK":
        view.sets_of[f"{plural}/{name(value)}"] = {**value, "kind": SETS[plural]}
