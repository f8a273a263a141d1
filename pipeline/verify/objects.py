"""The Kubernetes objects of the release are healthy: one list a kind, all at once; what is not is named with its reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pipeline.artifacts import Check
from pipeline.tools import kube_objects
from pipeline.verify import health
from pipeline.verify.parallel import at_once
from pipeline.verify.question import Question, World
from pipeline.verify.view import View
from pipeline.yamlfile import keys_like

Object = Mapping[str, Any]
KINDS = {
    "Pod": ("v1", "pods"),
    "Service": ("v1", "services"),
    "Deployment": ("apps/v1", "deployments"),
    "StatefulSet": ("apps/v1", "statefulsets"),
    "DaemonSet": ("apps/v1", "daemonsets"),
    "Ingress": ("networking.k8s.io/v1", "ingresses"),
    "IngressRoute": ("traefik.io/v1alpha1", "ingressroutes"),
    "PersistentVolumeClaim": ("v1", "persistentvolumeclaims"),
    "Job": ("batch/v1", "jobs"),
}
PLAIN: Mapping[str, Callable[[Object], str]] = {
    "Pod": health.pod,
    "Deployment": health.deployment,
    "StatefulSet": health.stateful_set,
    "DaemonSet": health.daemon_set,
    "Ingress": health.ingress,
    "PersistentVolumeClaim": health.claim,
    "Job": health.job,
}
NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
ALL = "release"
SHOWN = 6  # unhealthy objects that are named one by one


@dataclass(frozen=True)
class Objects:
    """Kubernetes objects that have to be healthy.

    `objects` is `release` (all of its manifest, of every kind that is known), or a list of Kind (all of it in the manifest; one at least)
    and Kind/name. Kinds: Pod, Service, Deployment, StatefulSet, DaemonSet, Ingress, IngressRoute, PersistentVolumeClaim, Job.
    Raises ValueError where it is none of that.
    """

    in_cluster: ClassVar[bool] = True

    objects: str | tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.wanted:
            raise ValueError("objects names none: say `release`, or a list of Kind or Kind/name")
        for each in self.wanted:
            kind, slash, name = each.partition("/")
            if each != ALL and kind not in KINDS:
                raise ValueError(f"{kind!r} is no kind that is known{keys_like(kind, [*KINDS, ALL])}; kinds are: {', '.join(KINDS)}")
            if slash and not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of an object")

    @property
    def wanted(self) -> tuple[str, ...]:
        return (self.objects,) if isinstance(self.objects, str) else tuple(self.objects)

    @property
    def name(self) -> str:
        return "objects " + ", ".join(self.wanted)


@dataclass(frozen=True)
class Seen:
    """One object and what is wrong with it, "" where nothing is."""

    kind: str
    name: str
    wrong: str


def question(check: Objects, world: World) -> Question:
    """One question for all of them."""
    return Question(
        check.name,
        ("objects", check.wanted),
        lambda view, seconds: _look(check, view, seconds),
        lambda seen: _judge(check, seen),
        mend=f"look yourself: kubectl describe --namespace {world.release.namespace} KIND NAME",
    )


def _look(check: Objects, view: View, seconds: float) -> list[Seen]:
    """Every object with its health. Lists of all kinds are asked for at the same time."""
    wanted = tuple(dict.fromkeys(each for one in check.wanted for each in (KINDS if one == ALL else (one,))))
    asks: list[Callable[[], Any]] = [lambda one=one: _found(one, one in check.wanted, view) for one in wanted]  # type: ignore[misc]
    if "Service" in wanted and view.selector:
        asks.append(lambda: view.list("discovery.k8s.io/v1", "endpointslices", view.selector))
    answers: list[Any] = at_once(asks, seconds)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return [_seen(kind, value, view) for answer in answers[: len(wanted)] for kind, value in answer]


def _found(one: str, named: bool, view: View) -> list[tuple[str, Object | str]]:
    """(kind, object) of one Kind or Kind/name; in place of what should be there and is not, its name."""
    kind, slash, name = one.partition("/")
    if slash:
        return [(kind, view.get(*KINDS[kind], name) or name)]
    values = view.of(*KINDS[kind], kind)
    return [(kind, value or called) for called, value in values.items()] or ([(kind, "")] if named else [])


def _seen(kind: str, value: Object | str, view: View) -> Seen:
    if isinstance(value, str):
        why = f"none carries {view.selector}" if view.selector else "the release has none"
        return Seen(kind, value, "is not there" if value else f"is not there: {why}")
    name = kube_objects.name(value)
    if kind == "Service":
        return Seen(kind, name, health.service(value, _slices(name, value, view)))
    if kind == "IngressRoute":
        return Seen(kind, name, health.ingress_route(value, lambda service: view.get("v1", "services", service) is not None))
    return Seen(kind, name, PLAIN[kind](value))


def _slices(name: str, service: Object, view: View) -> Sequence[Object]:
    """The endpoints of a Service: its controller gives them the Service's own labels, so that one list has those of a whole release."""
    key, _, label = view.selector.partition("=")
    if key and kube_objects.labels(service).get(key) == label:
        mirrored = view.list("discovery.k8s.io/v1", "endpointslices", view.selector)
        if any(kube_objects.labels(each).get(health.SERVICE_NAME) == name for each in mirrored):
            return mirrored
    return view.list("discovery.k8s.io/v1", "endpointslices", f"{health.SERVICE_NAME}={name}")


def _judge(check: Objects, seen: Sequence[Seen]) -> Check:
    wrong = [f"{each.kind} {each.name} {each.wrong}".replace("  ", " ") for each in seen if each.wrong]
    if not seen:
        return Check(check.name, False, "the release has no object")
    if wrong:
        return Check(check.name, False, "; ".join(wrong[:SHOWN]) + (f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""))
    names = {kind: [each.name for each in seen if each.kind == kind] for kind in dict.fromkeys(each.kind for each in seen)}
    shown = [f"{kind} {own[0]}" if len(own) == 1 else f"{len(own)} {kind}s" for kind, own in names.items()]
    return Check(check.name, True, "healthy: " + ", ".join(shown))
