"""Verify against the lab's own API server, node and Traefik.

The pods are real (the node's pause image); behind Traefik stands a server of the test, so that what answers can be old, late or hanging.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.artifacts import Image, Release, Source
from pipeline.errors import Ambiguous, AuthError, Transient, VerifyError
from pipeline.events import Event, What
from pipeline.stage import Site
from pipeline.tools.kube import Kube, connect, path
from pipeline.tools.references import digest_in
from pipeline.verify.checks import Checks, make
from pipeline.verify.expect import Page
from pipeline.verify.web import Ask, get
from tests.verify import releases
from tests.verify.servers import Handler, Server, answer, saying, serving

pytestmark = pytest.mark.real
CLUSTER = "railiance01"
PAUSE = "docker.io/lab/pause:1"
LABELS = {"app": "probe"}
COMMIT, OLD = "b2" * 20, "a1" * 20
HEALTHY = answer(json.dumps({"status": "ok", "commit": COMMIT}).encode())
STALE = answer(json.dumps({"status": "ok", "commit": OLD}).encode())
CHECK = (Page("/healthz", json={"status": "ok", "commit": "{commit}"}),)


@pytest.fixture
def kube(lab: Site) -> Kube:
    return connect(lab, CLUSTER)


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    name = f"verify-{uuid.uuid4().hex[:8]}"
    kube.create(path("v1", "namespaces"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    for pod in kube.list(path("v1", "pods", name))["items"]:
        kube.delete(path("v1", "pods", name, pod["metadata"]["name"]))
    kube.delete(path("v1", "namespaces", name=name))


@pytest.fixture
def release(kube: Kube, namespace: str) -> Release:
    """A running pod, and the release it is of: its image is what the node says it runs.

    The release is stored as Helm does it. Its Deployment makes no pods: those are the test's.
    """
    deployment = workload(namespace)
    kube.create(path("apps/v1", "deployments", namespace), deployment)
    kube.create(path("v1", "secrets", namespace), releases.secret(json.dumps(deployment)))
    start_pod(kube, namespace, "probe-1")
    seen = ready(kube, namespace, "probe-1")
    digest = digest_in(seen["status"]["containerStatuses"][0]["imageID"])
    image = Image("docker.io/lab/pause", digest, "1")
    source = Source("7e" * 20, COMMIT, False, "/src")
    return Release(source, (image,), CLUSTER, namespace, "probe", releases.RELEASE.revision, "1f" * 32)


def workload(namespace: str) -> dict[str, Any]:
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "app", "image": PAUSE}]}}
    spec = {"replicas": 0, "paused": True, "selector": {"matchLabels": LABELS}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "probe", "namespace": namespace}, "spec": spec}


def start_pod(kube: Kube, namespace: str, name: str) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": LABELS},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "app", "image": PAUSE, "imagePullPolicy": "Never"}],
        },
    }
    end = time.monotonic() + 10
    while True:
        try:
            kube.create(path("v1", "pods", namespace), pod)
        except AuthError:  # 403 until the namespace has its service account
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def ready(kube: Kube, namespace: str, name: str) -> dict[str, Any]:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        pod = kube.get(path("v1", "pods", namespace, name)) or {}
        if any(each["type"] == "Ready" and each["status"] == "True" for each in pod.get("status", {}).get("conditions", [])):
            return dict(pod)
        time.sleep(0.1)
    raise AssertionError(f"pod {name} is not ready: {pod}")


def route(kube: Kube, namespace: str, host: str) -> None:
    rule = {"kind": "Rule", "match": f"Host(`{host}`)", "services": [{"name": "front", "port": 80}]}
    kube.create(
        path("traefik.io/v1alpha1", "ingressroutes", namespace),
        {
            "apiVersion": "traefik.io/v1alpha1",
            "kind": "IngressRoute",
            "metadata": {"name": "front"},
            "spec": {"entryPoints": ["web"], "routes": [rule]},
        },
    )


def service(kube: Kube, namespace: str, server: Server) -> None:
    """A Service without pods, whose one endpoint is the test's server on the workstation's end of the cable."""
    port = {"name": "http", "port": 80}
    kube.create(
        path("v1", "services", namespace),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "front"}, "spec": {"ports": [port]}},
    )
    kube.create(
        path("discovery.k8s.io/v1", "endpointslices", namespace),
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "front-1", "labels": {"kubernetes.io/service-name": "front"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": server.port}],
            "endpoints": [{"addresses": [server.address], "conditions": {"ready": True}}],
        },
    )


@contextlib.contextmanager
def behind(lab: Site, handler: Handler) -> Iterator[Server]:
    address = lab.registry("coulombcore").address.rpartition(":")[0]
    with serving(handler, address=address) as server:
        yield server


def reachable(lab: Site, host: str) -> None:
    """Wait until Traefik has the route."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(Transient):
            if get(Ask(lab.cluster(CLUSTER).ingress, host, "/healthz")).status == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"Traefik has no route for {host}")


def spec(host: str, **options: Any) -> Checks:
    return Checks(**{"cluster": CLUSTER, "host": host, "checks": CHECK, "deadline": 20.0, **options})


def test_pods_are_asked_once_and_a_page_ten_times(lab: Site, kube: Kube, release: Release) -> None:
    host = f"{release.namespace}.lab.test"
    with behind(lab, saying(HEALTHY)) as server:
        service(kube, release.namespace, server)
        route(kube, release.namespace, host)
        reachable(lab, host)
        before, asked = kube.requests, len(server.requests)
        report = make(spec(host), release, lab)
        assert (kube.requests - before, len(server.requests) - asked) == (3, 10), "what Helm stored, pods, Deployment; ten pages"
    assert report.passed
    assert report.url == f"http://{host}"
    assert report.checks[0].evidence == f"1 ready on {release.images[0].digest[:19]}: probe-1"
    assert report.checks[1].evidence == f'200; status = "ok"; commit = "{COMMIT}"; 10 of 10 answers'


def test_v01_an_old_version_behind_the_real_front_door_fails_and_names_both(lab: Site, kube: Kube, release: Release) -> None:
    host = f"{release.namespace}.lab.test"
    with behind(lab, saying(STALE)) as server:
        service(kube, release.namespace, server)
        route(kube, release.namespace, host)
        reachable(lab, host)
        with pytest.raises(VerifyError) as caught:
            make(spec(host, deadline=1.0), release, lab)
    assert OLD in caught.value.cause
    assert COMMIT in caught.value.cause
    assert "passed  pods" in caught.value.cause


def test_v01_a_running_pod_of_another_image_fails_by_its_image_id(lab: Site, release: Release) -> None:
    wanted = "sha256:" + "d1" * 32
    other = dataclasses.replace(release, images=(dataclasses.replace(release.images[0], digest=wanted),))
    with pytest.raises(VerifyError) as caught:
        make(spec("nobody.lab.test", checks=(), deadline=1.0), other, lab)
    assert f"probe-1 runs {release.images[0].digest[:19]} in container app, sha256:d1d1d1d1d1d1 was released" in caught.value.cause


def test_v03_a_route_that_comes_late_is_waited_for(lab: Site, kube: Kube, release: Release, events: list[Event]) -> None:
    host = f"{release.namespace}.lab.test"
    opened = threading.Event()

    def open_late(event: Event) -> None:
        events.append(event)
        if event.what is What.WAIT and not opened.is_set():
            opened.set()
            route(kube, release.namespace, host)

    with behind(lab, saying(HEALTHY)) as server:
        service(kube, release.namespace, server)
        assert make(spec(host), release, dataclasses.replace(lab, sink=open_late)).passed
    assert any("status 404, expected 200" in event.text for event in events if event.what is What.WAIT)


def test_v04_an_application_that_hangs_behind_traefik_fails_at_the_deadline(lab: Site, kube: Kube, release: Release) -> None:
    host = f"{release.namespace}.lab.test"
    hang = threading.Event()

    def handler(peer: socket.socket, _head: str) -> None:
        if hang.is_set():
            peer.recv(1)
        else:
            peer.sendall(HEALTHY)

    with behind(lab, handler) as server:
        service(kube, release.namespace, server)
        route(kube, release.namespace, host)
        reachable(lab, host)
        hang.set()
        with pytest.raises(VerifyError) as caught:
            make(spec(host, deadline=2.0), release, lab)
    assert "failed  GET /healthz: no complete answer within" in caught.value.cause


def test_v05_a_redirect_within_the_host_is_followed_through_traefik(lab: Site, kube: Kube, release: Release) -> None:
    host = f"{release.namespace}.lab.test"

    def handler(peer: socket.socket, head: str) -> None:
        there = head.startswith("GET /healthz ")
        peer.sendall(HEALTHY if there else answer(b"", "302 Found", Location=f"http://{host}/healthz"))

    with behind(lab, handler) as server:
        service(kube, release.namespace, server)
        route(kube, release.namespace, host)
        reachable(lab, host)
        assert make(spec(host, checks=(Page("/", json={"commit": "{commit}"}),)), release, lab).passed


def test_a_pod_that_is_deleted_while_we_look_is_no_longer_asked(lab: Site, kube: Kube, release: Release) -> None:
    start_pod(kube, release.namespace, "probe-2")
    ready(kube, release.namespace, "probe-2")
    with contextlib.suppress(Ambiguous):
        kube.delete(path("v1", "pods", release.namespace, "probe-2"))
    report = make(spec("nobody.lab.test", checks=(), deadline=5.0), release, lab)
    assert report.checks[0].evidence.endswith(": probe-1")
