"""Opens the ways that checks go: a load balancer's address once it has one, a port-forward to a ready pod, closed in every end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.errors import AuthError, ConfigError, Transient
from pipeline.host import Address
from pipeline.tools import kube_objects
from pipeline.verify.through import Through
from pipeline.verify.view import View

if TYPE_CHECKING:
    from pipeline.tools.portforward import PortForward

Object = Mapping[str, Any]


class Ways:
    """The ways that are open. A port-forward is opened once and led anew in each look: the pod behind it may have been replaced.

    `published` are the ports of containers that a check runs itself, by the way that names them.
    """

    def __init__(self, published: Mapping[Through, Address] | None = None) -> None:
        self._published = published or {}
        self._forwards: dict[Through, PortForward] = {}
        self._lock = threading.Lock()

    def address(self, way: Through, view: View) -> Address:
        """Where to connect to. Raises Transient where there is nothing to connect to yet, ConfigError for a port that is not there."""
        match way.kind:
            case "address":
                return Address(way.name.strip("[]"), int(way.port))
            case "load-balancer":
                return _balancer(way, view)
            case "port-forward":
                return self._forward(way, view)
            case "port" if way in self._published:
                return self._published[way]
        known = ", ".join(sorted(each.port for each in self._published)) or "none"
        raise ConfigError(f"{way} is no way to an address", mend=f"the ports that are published: {known}")

    @contextlib.contextmanager
    def told(self, way: Through) -> Iterator[None]:
        """Where the port-forward knows better why something inside failed, its reason is raised: AuthError or Transient."""
        forward = self._forwards.get(way)
        if forward is not None:
            forward.failure = None
        try:
            yield
        except Transient as error:
            reason = forward.failure if forward else None
            if reason is None:
                raise
            if isinstance(reason, AuthError):
                raise reason from error
            cause = f": {reason.cause}" if reason.cause else ""
            raise Transient(reason.what + cause) from error

    def close(self) -> None:
        """Close every port-forward."""
        with self._lock:
            forwards, self._forwards = list(self._forwards.values()), {}
        for forward in forwards:
            forward.close()

    def _forward(self, way: Through, view: View) -> Address:
        pod, port = _pod_of(way, view)
        with self._lock:
            if way not in self._forwards:
                from pipeline.tools.portforward import PortForward  # a release without port-forwards needs no WebSocket

                self._forwards[way] = PortForward(view.client(), view.namespace)
            return self._forwards[way].lead(pod, port).address


def _balancer(way: Through, view: View) -> Address:
    service = _service(way, view)
    port = _port_of(service, way.port)
    for entry in service.get("status", {}).get("loadBalancer", {}).get("ingress") or []:
        if host := entry.get("ip") or entry.get("hostname"):
            return Address(str(host), int(port["port"]))
    kind = service.get("spec", {}).get("type")
    if kind != "LoadBalancer":
        raise ConfigError(f"Service {way.name} is of type {kind}, not LoadBalancer", mend="go through a port-forward or the ingress")
    raise Transient(f"Service {way.name} has no external address yet")


def _pod_of(way: Through, view: View) -> tuple[str, int]:
    if way.owner == "pod":
        pod = view.get("v1", "pods", way.name)
        if pod is None:
            raise Transient(f"there is no Pod {way.name} in namespace {view.namespace}")
        return way.name, int(way.port) if way.port.isdigit() else container_port(pod, way.port)
    service = _service(way, view)
    port = _port_of(service, way.port)
    labels = service.get("spec", {}).get("selector") or {}
    if not labels:
        raise ConfigError(f"Service {way.name} has no selector: there is no pod to forward to", mend="name a pod, or go another way")
    pods = view.list("v1", "pods", ",".join(f"{key}={value}" for key, value in sorted(labels.items())))
    ready = sorted((pod for pod in pods if kube_objects.ready(pod)), key=kube_objects.name)
    if not ready:
        states = ", ".join(f"{kube_objects.name(pod)} {kube_objects.doing(pod)}" for pod in pods[:5]) or "there is none"
        raise Transient(f"no pod behind Service {way.name} is ready ({states})")
    wanted = port.get("targetPort") or port["port"]
    return kube_objects.name(ready[0]), wanted if isinstance(wanted, int) else container_port(ready[0], str(wanted))


def _service(way: Through, view: View) -> Object:
    service = view.get("v1", "services", way.name)
    if service is None:
        from pipeline.yamlfile import keys_like

        names = sorted(kube_objects.name(each) for each in view.list("v1", "services"))
        there = f"there are: {', '.join(names[:10])}" if names else "there is none at all"
        raise Transient(f"there is no Service {way.name} in namespace {view.namespace}{keys_like(way.name, names)} ({there})")
    return service


def _port_of(service: Object, wanted: str) -> Object:
    """The entry of the Service's port. Raises ConfigError with the ports there are."""
    ports: Sequence[Object] = service.get("spec", {}).get("ports") or []
    for port in ports:
        if wanted in (port.get("name"), str(port.get("port"))):
            return port
    there = ", ".join(f"{port.get('name') or ''} {port.get('port')}".strip() for port in ports) or "none"
    raise ConfigError(
        f"Service {kube_objects.name(service)} does not map port {wanted}; it maps: {there}", mend="correct `through`, or the Service"
    )


def container_port(pod: Object, wanted: str) -> int:
    """The number of a port that a container of the pod names; of the first one for "". Raises ConfigError with the names there are."""
    containers = pod.get("spec", {}).get("containers") or []
    ports = {str(port.get("name") or ""): int(port["containerPort"]) for one in containers for port in one.get("ports") or []}
    if not wanted and ports:
        return next(iter(ports.values()))
    if wanted not in ports:
        there = ", ".join(f"{name} {number}".strip() for name, number in ports.items()) or "none"
        which = f"a port named {wanted}" if wanted else "a port that it names"
        raise ConfigError(
            f"no container of pod {kube_objects.name(pod)} has {which}; there are: {there}",
            mend="correct `through`, or the port's name in the pod or the Service",
        )
    return ports[wanted]
