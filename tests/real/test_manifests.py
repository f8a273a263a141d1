"""Manifests on the lab: the real kubectl and kubecfg, Kubernetes, containerd and registry; both drivers hold the same promises."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Images, Release
from pipeline.deploy import by_manifests
from pipeline.deploy.history import read
from pipeline.deploy.manifest_spec import Kubecfg, Kubectl, Manifests
from pipeline.deploy.manifests import find, make
from pipeline.deploy.shared import back, live, standing, undo
from pipeline.deploy.spec import OURS, SecretSpec
from pipeline.errors import ConfigError, RolledBack
from pipeline.events import Event, What
from pipeline.lab import programs
from pipeline.stage import Site
from pipeline.tools.kube import path
from tests.real.deploy_parts import APP, CLUSTER, ROOT, World, archive, world

pytestmark = pytest.mark.real
__all__ = ["archive"]
CASES = ROOT / "tests" / "cases" / "manifests"
EXTRA = {
    "kubectl": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\ndata: {a: b}\n",
    "kubecfg": "{ extra: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'extra' }, data: { a: 'b' } } }\n",
}


@dataclasses.dataclass
class Way:
    """One driver on the lab, and the namespace of one test."""

    world: World
    driver: str

    @property
    def site(self) -> Site:
        return self.world.site

    def spec(self, **options: Any) -> Manifests:
        values = {"image": "{reference}", "secret": "{secret}", "note": options.pop("note", "none")}
        secret = SecretSpec("web-env", {"IHP_SESSION_SECRET": "value:session_secret"})
        kind = {"kubectl": Kubectl, "kubecfg": Kubecfg}[self.driver]
        usual: dict[str, Any] = {"values": values, "secret": secret, "deadline": 60.0}
        chosen: dict[str, Any] = {**usual, **options}
        return kind(CLUSTER, self.world.namespace, APP, "manifests", **chosen)

    @property
    def folder(self) -> Path:
        return self.site.root / "manifests"

    def versions(self) -> dict[str, str]:
        """Of everything in the namespace that a deploy could write, less what beats on its own."""
        found = {}
        for version, plural in (("v1", "configmaps"), ("v1", "secrets"), ("v1", "services"), ("apps/v1", "deployments")):
            for item in self.world.kube.list(path(version, plural, self.world.namespace), metadata=True)["items"]:
                found[f"{plural}/{item['metadata']['name']}"] = item["metadata"]["resourceVersion"]
        return found

    def get(self, plural: str, name: str, version: str = "v1") -> dict[str, Any] | None:
        return self.world.kube.get(path(version, plural, self.world.namespace, name))

    def kubectl(self, *words: str) -> str:
        cluster = self.site.cluster(CLUSTER)
        argv = [self.site.tool("kubectl"), "--kubeconfig", cluster.kubeconfig, "--namespace", self.world.namespace, *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def runs(self, images: Images) -> bool:
        """Whether every ready pod runs this image."""
        pods = self.world.pods()
        return bool(pods) and all(pod["spec"]["containers"][0]["image"] == images.images[0].reference for pod in pods)


@pytest.fixture(scope="module")
def kubecfg() -> str:
    return str(programs.ensure("kubecfg") / "kubecfg")


@pytest.fixture
def lab_world(lab: Site, tmp_path: Path, archive: Path, kubecfg: str) -> Iterator[World]:
    yield from world(dataclasses.replace(lab, tools={**lab.tools, "kubecfg": kubecfg}), tmp_path, archive)


@pytest.fixture(params=["kubectl", "kubecfg"])
def way(lab_world: World, request: pytest.FixtureRequest) -> Way:
    shutil.copytree(CASES, lab_world.site.root / "manifests")
    return Way(lab_world, request.param)


def test_d07_made_once_and_then_nothing_is_written(way: Way) -> None:
    images, spec = way.world.image(), way.spec()
    assert find(spec, images, way.site).why == "nothing is deployed yet"
    made = make(spec, images, way.site)
    assert made.revision == 1
    assert way.runs(images)
    before, asked = way.versions(), way.world.kube.requests
    for _ in range(3):
        assert find(spec, images, way.site).artifact == made
    assert way.world.kube.requests - asked == 3 * 4  # revisions, Deployments, ConfigMaps, Services
    assert way.versions() == before
    running = live(spec, way.site)
    assert running is not None
    assert (running.source.commit, running.images[0].digest) == (images.source.commit, images.images[0].digest)
    assert standing(spec, way.site).ours


def test_a_changed_image_is_told_field_by_field_and_deployed(way: Way, events: list[Event]) -> None:
    first, second, spec = way.world.image(), way.world.image(), way.spec()
    make(spec, first, way.site)
    why = find(spec, second, way.site).why
    assert first.images[0].digest[:19] in why
    assert second.images[0].digest[:19] in why
    events.clear()
    assert make(spec, second, way.site).revision == 2
    assert way.runs(second)
    told = [event.text for event in events if event.what is What.LOG]
    assert any(second.images[0].digest[-20:] in text and "eployment" in text for text in told)
    assert not any(text.endswith("is new") for text in told)
