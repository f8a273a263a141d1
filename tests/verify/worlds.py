"""A World whose cluster is the fake API: what the kinds of checks ask, and a release's objects on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.places import Docker
from pipeline.records import Records
from pipeline.stage import Cluster, Site
from pipeline.testing.kube import FakeKube
from pipeline.tools.kube import connect, path
from pipeline.verify.question import World
from pipeline.verify.view import View
from pipeline.verify.ways import Ways
from pipeline.verify.words import words
from tests.verify.releases import RELEASE, pod

SPACE, NAME = RELEASE.namespace, RELEASE.name
LABELS = {"app.kubernetes.io/instance": NAME}
SELECTOR = f"app.kubernetes.io/instance={NAME}"
PATHS = {
    "Pod": ("v1", "pods"), "Service": ("v1", "services"), "Deployment": ("apps/v1", "deployments"),
    "StatefulSet": ("apps/v1", "statefulsets"),
    "Ingress": ("networking.k8s.io/v1", "ingresses"),
    "EndpointSlice": ("discovery.k8s.io/v1", "endpointslices"), "Job": ("batch/v1", "jobs"),
}  # fmt: skip


class Shop:
    """The fake API with a release on it, the site that leads there, and one World and View of it."""

    def __init__(self, folder: Path, ingress: str = "") -> None:
        self.fake = FakeKube(folder)
        cluster = Cluster(str(self.fake.kubeconfig()), ingress=ingress)
        self.site = Site(
            app="probe",
            root=folder,
            hosts={},
            remotes={},
            registries={},
            clusters={RELEASE.cluster: cluster},
            tools={},
            values={},
            dockers={"lab": Docker("unix:///nowhere/docker.sock")},
            records=Records(folder / "records.db"),
        )
        self.ways = Ways()
        self.world = World(self.site, RELEASE, "probe.example", lambda: ingress, words(RELEASE, "probe"), SELECTOR, self.ways)
        self.view = self.look()

    def look(self) -> View:
        return View(lambda: connect(self.site, RELEASE.cluster), SPACE, SELECTOR)

    def put(self, kind: str, name: str, labels: dict[str, str] | None = None, **value: Any) -> str:
        """An object of the release; its path."""
        where = path(*PATHS[kind], SPACE, name)
        meta = {"name": name, "namespace": SPACE, "labels": LABELS if labels is None else labels, **value.pop("metadata", {})}
        self.fake.put(where, {"metadata": meta, **value})
        return where

    def pod(self, name: str = "probe-1", *, ready: bool = True, ports: tuple[tuple[str, int], ...] = (("http", 8000),)) -> str:
        value = pod(name, ready=ready)
        value["metadata"]["labels"] = {**LABELS, "app": "probe"}
        containers = [{"name": "app", "ports": [{"name": port, "containerPort": number} for port, number in ports]}]
        return self.put("Pod", name, value["metadata"]["labels"], spec={"containers": containers}, status=value["status"])

    def service(self, name: str = "probe", **spec: Any) -> str:
        ports = [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "git", "port": 9418, "targetPort": 9418}]
        status = spec.pop("status", {})
        return self.put("Service", name, spec={"type": "ClusterIP", "selector": {"app": "probe"}, "ports": ports, **spec}, status=status)

    def close(self) -> None:
        self.ways.close()
        self.site.close()
        self.fake.close()


@contextlib.contextmanager
def shop(folder: Path, ingress: str = "") -> Iterator[Shop]:
    made = Shop(folder, ingress)
    try:
        yield made
    finally:
        made.close()
