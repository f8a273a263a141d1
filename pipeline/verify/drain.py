"""Draining, checked for real: a rollout is restarted under load, no request may be lost, and a pod that ends has to say so first.

Opt-in, since it acts: it restarts the pods of one Deployment, as `kubectl rollout restart` does.
"""

from __future__ import annotations

import datetime
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pipeline.artifacts import Check
from pipeline.errors import ConfigError, Transient, VerifyError
from pipeline.events import What
from pipeline.schema import keyed
from pipeline.tools import kube, kube_objects
from pipeline.verify.front import asking, figures, lost, rated, trodden
from pipeline.verify.load import Load
from pipeline.verify.question import World
from pipeline.verify.through import PATH, Through
from pipeline.verify.view import View
from pipeline.verify.ways import Ways, container_port
from pipeline.verify.web import Ask, get

RESTARTED = "kubectl.kubernetes.io/restartedAt"  # the annotation that `kubectl rollout restart` sets
MANAGER = "pipeline-verify"  # a name of its own: a deploy that finds its own name on a later write would take it for somebody else's
BEFORE, AFTER = 0.5, 0.5  # seconds of load before the restart and after its end
WATCH = 0.1  # seconds between two looks at the pod that ends
LOOK = 1.0  # seconds that one such look may take


@dataclass(frozen=True)
class Drain:
    """The Deployment restarts while its users go on asking: for at most `seconds`, `rate` requests a second for the page `load`.

    None of these may be lost: no answer, or a status of 500 and more. And an old pod, asked directly on its `port` (a number or a name,
    by default its first), has to answer the page `drain` with status 503 and a JSON `status` of `says` before it ends. `deployment` names
    the Deployment where the release has several, `through` the way of the load: the ingress, an address, a load-balancer. Raises
    ValueError where something is none of that.
    """

    in_cluster: ClassVar[bool] = True

    drain: str
    load: str = "/"
    rate: float = 20.0
    seconds: float = 10.0
    says: str = "draining"
    port: str = ""
    deployment: str = ""
    through: str = "ingress"

    def __post_init__(self) -> None:
        for each in (self.drain, self.load):
            if not PATH.fullmatch(each):
                raise ValueError(f"path {each!r} has to start with / and have no spaces")
        with keyed("rate"):
            rated(self.rate)
        with keyed("seconds"):
            if not 2 <= self.seconds <= 120:
                raise ValueError(f"{self.seconds:g} s are not between 2 and 120")
        with keyed("through"):
            trodden(self.through)

    @property
    def ways(self) -> tuple[str, ...]:
        """How it reaches the application, as it is written."""
        return (self.through,)

    @property
    def name(self) -> str:
        return f"drain {self.drain}"


@dataclass
class Seen:
    """What an old pod was seen to say: `first` and `last` second of draining, its `answer` before."""

    pod: str
    answer: str = ""
    first: float = 0.0
    last: float = 0.0


def held(check: Drain, world: World, view: View) -> Check:
    """The check that the restart under load held, with its figures as evidence.

    Raises VerifyError where requests were lost or no pod said that it drains, ConfigError where it cannot be tried, and what the client of
    the API raises.
    """
    site = world.site
    deployment = _deployment(check, view)
    name = kube_objects.name(deployment)
    pod = _old_pod(deployment, view)
    port = int(check.port) if check.port.isdigit() else container_port(pod, check.port)
    ask = asking(check.load, check.through, world, view)
    direct = Through("port-forward", owner="pod", name=kube_objects.name(pod), port=str(port))
    ways, stop = Ways(), threading.Event()
    seen = Seen(direct.name)
    started = time.monotonic()
    with Load(ask, check.rate) as load:
        try:
            base = f"http://{ways.address(direct, View(view.client, view.namespace, view.selector))}"
            watching = threading.Thread(target=_watch, args=(base, check, world.host, seen, stop), name="drain", daemon=True)
            watching.start()
            load.run(BEFORE)
            if load.lost:
                raise VerifyError(f"{check.name}: {lost(load)} before anything was restarted", cause=figures(load), mend=_mend(check))
            site.tell(What.WAIT, "verify", f"{check.name}: restarting Deployment {name} under {check.rate:g} requests a second")
            _restart(name, view)
            left = _rolled(name, pod, view, load, check.seconds - (time.monotonic() - started))
            load.run(AFTER)
        finally:
            stop.set()
            ways.close()
    took = time.monotonic() - started
    told = f"{figures(load)} in {took:.1f} s while Deployment {name} restarted"
    if load.lost:
        raise VerifyError(f"{check.name}: {lost(load)} while Deployment {name} restarted", cause=told, mend=_mend(check))
    if not seen.first:
        raise VerifyError(
            f"{check.name}: pod {seen.pod} did not say that it drains" + (f" ({left})" if left else ""),
            cause=f"{told}; its last answer was {seen.answer or 'none'}",
            mend=f"on SIGTERM answer {check.drain} with 503 and status {check.says!r} for as long as readiness probes and proxies need",
        )
    if left:
        raise VerifyError(
            f"{check.name}: the restart did not end within {check.seconds:g} s: {left}", cause=told, mend="give it more `seconds`"
        )
    return Check(check.name, True, f"{told}; pod {seen.pod} said 503 {check.says} for {seen.last - seen.first:.1f} s")


def _deployment(check: Drain, view: View) -> Mapping[str, Any]:
    found = {name: each for name, each in view.of("apps/v1", "deployments", "Deployment").items() if each is not None}
    chosen = check.deployment or (next(iter(found)) if len(found) == 1 else "")
    if chosen not in found:
        there = ", ".join(sorted(found)) or "none"
        what = f"there is no Deployment {chosen}" if chosen else "which Deployment?"
        raise ConfigError(f"{check.name}: {what}", mend=f"name it with `deployment`; the release has: {there}")
    return found[chosen]


def _old_pod(deployment: Mapping[str, Any], view: View) -> Mapping[str, Any]:
    """One of the pods that the restart will end."""
    wanted = deployment.get("spec", {}).get("selector", {}).get("matchLabels") or {}
    own = [pod for pod in view.pods() if wanted.items() <= kube_objects.labels(pod).items() and kube_objects.ready(pod)]
    if not own:
        raise Transient(f"no pod of Deployment {kube_objects.name(deployment)} is ready")
    return min(own, key=kube_objects.name)


def _restart(name: str, view: View) -> None:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    patch = {"spec": {"template": {"metadata": {"annotations": {RESTARTED: now}}}}}
    view.client().merge(kube.path("apps/v1", "deployments", view.namespace, name), patch, MANAGER)


def _rolled(name: str, pod: Mapping[str, Any], view: View, load: Load, seconds: float) -> str:
    """Keep the load up until the rollout is done and the old pod has gone; what is still missing when the time is up, "" where nothing."""
    end = time.monotonic() + max(0.0, seconds)
    gone = kube.path("v1", "pods", view.namespace, kube_objects.name(pod))
    while True:
        deployment = view.client().get(kube.path("apps/v1", "deployments", view.namespace, name)) or {}
        left = kube_objects.pending(deployment) if deployment else f"Deployment {name} is gone"
        if not left and (old := view.client().get(gone)) is not None:
            left = f"pod {kube_objects.name(pod)} is {kube_objects.doing(old)}"
        if not left or time.monotonic() > end:
            return left
        load.run(WATCH)


def _watch(base: str, check: Drain, host: str, seen: Seen, stop: threading.Event) -> None:
    """Ask the old pod itself, over and over, until it is gone: each answer over a connection of its own, as a probe does."""
    ask = Ask(base, host or "localhost", check.drain, follow=False)
    while not stop.wait(WATCH):
        try:
            answer = get(ask, LOOK)
        except Transient:
            if seen.first:
                return
            continue
        seen.answer = f"status {answer.status}"
        if answer.status == 503 and _says(answer.body) == check.says:
            seen.last = time.monotonic()
            seen.first = seen.first or seen.last


def _says(body: bytes) -> Any:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value.get("status") if isinstance(value, dict) else None


def _mend(check: Drain) -> str:
    return (
        f"let the application answer {check.drain} with 503 for some seconds after SIGTERM before it stops listening, and let no pod go "
        "before the next is ready (maxUnavailable: 0)"
    )
