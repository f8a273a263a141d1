"""Whether a Kubernetes object does what it is there for: ready, available, bound, complete, with an address; one rule a kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pipeline.tools import kube_objects

Object = Mapping[str, Any]
SERVICE_NAME = "kubernetes.io/service-name"  # https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/


def pod(value: Object) -> str:
    """ "" where it is ready or has done its work. One that ends, or failed and was replaced by its owner, is not asked."""
    phase, owned = value.get("status", {}).get("phase"), bool(value.get("metadata", {}).get("ownerReferences"))
    if kube_objects.terminating(value) or phase == "Succeeded" or (phase == "Failed" and owned) or kube_objects.ready(value):
        return ""
    return f"is not ready ({kube_objects.doing(value)})"


def deployment(value: Object) -> str:
    """ "" once its newest pods are all available and no older ones are left."""
    return kube_objects.pending(value).partition(": ")[2]


def stateful_set(value: Object) -> str:
    """ "" once all its pods are ready and of its newest revision. The rule is that of `kubectl rollout status`."""
    spec, status = value.get("spec", {}), value.get("status", {})
    wanted = int(spec.get("replicas", 1) if spec.get("replicas") is not None else 1)
    ready, updated = int(status.get("readyReplicas") or 0), int(status.get("updatedReplicas") or 0)
    if not kube_objects.taken_up(value):
        return "the new version has not been taken up yet"
    if ready < wanted:
        return f"{ready} of {wanted} pods are ready"
    partition = int(((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition") or 0)
    if spec.get("updateStrategy", {}).get("type") != "OnDelete" and updated < wanted - partition:
        return f"{updated} of {wanted - partition} pods are of the new version"
    return ""


def daemon_set(value: Object) -> str:
    """ "" once every node that should has its newest pod available."""
    status = value.get("status", {})
    wanted = int(status.get("desiredNumberScheduled") or 0)
    if not kube_objects.taken_up(value):
        return "the new version has not been taken up yet"
    for key, word in (("updatedNumberScheduled", "of the new version"), ("numberAvailable", "available")):
        if (has := int(status.get(key) or 0)) < wanted:
            return f"{has} of {wanted} pods are {word}"
    return ""


def service(value: Object, slices: Iterable[Object]) -> str:
    """ "" where something ready is behind it and, of type LoadBalancer, it has an external address."""
    kind = value.get("spec", {}).get("type")
    if kind == "ExternalName":
        return ""
    own = [each for each in slices if kube_objects.labels(each).get(SERVICE_NAME) == kube_objects.name(value)]
    endpoints = [endpoint for each in own for endpoint in each.get("endpoints") or []]
    if not any((endpoint.get("conditions") or {}).get("ready") is not False for endpoint in endpoints):
        return f"has no ready endpoint ({len(endpoints)} that are not)" if endpoints else "has no ready endpoint"
    if kind == "LoadBalancer" and not addresses(value):
        return "has no external address yet"
    return ""


def addresses(value: Object) -> list[str]:
    """The external addresses of a Service or an Ingress."""
    entries = value.get("status", {}).get("loadBalancer", {}).get("ingress") or []
    return [str(entry.get("ip") or entry.get("hostname")) for entry in entries if entry.get("ip") or entry.get("hostname")]


def ingress(value: Object) -> str:
    """ "" once a controller has given it an address."""
    return "" if addresses(value) else "has no address: no ingress controller has taken it up"


def ingress_route(value: Object, has_service: Callable[[str], bool]) -> str:
    """ "" where it has a route, and each Service of its own namespace that it leads to is there: Traefik gives it no status to read."""
    routes: Sequence[Object] = value.get("spec", {}).get("routes") or []
    if not routes:
        return "has no route"
    for each in (service for route in routes for service in route.get("services") or []):
        own = each.get("namespace") in (None, "", value.get("metadata", {}).get("namespace"))
        if each.get("kind", "Service") == "Service" and own and not has_service(str(each.get("name"))):
            return f"leads to Service {each.get('name')}, which is not there"
    return ""


def claim(value: Object) -> str:
    """ "" once the volume claim is bound."""
    phase = value.get("status", {}).get("phase") or "Pending"
    return "" if phase == "Bound" else f"is not bound ({phase})"


def job(value: Object) -> str:
    """ "" once it is complete."""
    if kube_objects.condition(value, "Complete").get("status") == "True":
        return ""
    failed = kube_objects.condition(value, "Failed")
    if failed.get("status") == "True":
        return f"failed ({failed.get('reason')}: {failed.get('message')})"
    status = value.get("status", {})
    return f"is not complete ({int(status.get('active') or 0)} running, {int(status.get('failed') or 0)} failed)"
