"""Flux's components: read from a file or from the flux command, refused where they are for another namespace, applied and waited for."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import ConfigError, Expired, Unknown
from pipeline.events import Event
from pipeline.gitops import components
from pipeline.gitops.spec import Automation
from pipeline.host.local import LocalHost
from pipeline.records import Records
from pipeline.stage import Cluster, Site
from pipeline.testing.kube import FakeKube
from pipeline.tools.kube import Kube, connect
from tests.gitops.parts import place

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gitrepositories.source.toolkit.fluxcd.io"
DEPLOYMENT = "/apis/apps/v1/namespaces/flux-system/deployments/source-controller"
LABELS = {"app.kubernetes.io/version": "v2.7.3", "app.kubernetes.io/part-of": "flux"}
OBJECTS: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "flux-system", "labels": LABELS}},
    {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": CRD.rpartition("/")[2]}},
    {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "source-controller", "namespace": "flux-system"},
        "spec": {"replicas": 1},
    },
]  # fmt: skip
TEXT = yaml.safe_dump_all(OBJECTS, sort_keys=False)


@dataclass
class Clock:
    """Time that passes when somebody sleeps; `then` hears of it."""

    seconds: float = 0.0
    then: Any = lambda _seconds: None

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def uptime(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.then(self.seconds)


@dataclass
class World:
    """A cluster, a site that knows it, and a kubectl that does what `script` says."""

    fake: FakeKube
    site: Site
    kube: Kube
    clock: Clock
    events: list[Event] = field(default_factory=list)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "kube").mkdir()
    fake, clock, events = FakeKube(tmp_path / "kube"), Clock(), list[Event]()
    cluster = Cluster(str(fake.kubeconfig()))
    tools = {"kubectl": str(program(tmp_path / "kubectl", "exit 0")), "flux": str(tmp_path / "flux")}
    site = Site(
        "fade", tmp_path, {}, {}, {}, {"lab": cluster}, tools, {}, Records(tmp_path / "r.db"), clock=clock, sink=events.append
    )  # fmt: skip
    with site:
        yield World(fake, site, connect(site, "lab"), clock, events)
    fake.close()


def program(file: Path, script: str) -> Path:
    """A stand-in that writes down its arguments and its KUBECONFIG, then does what `script` says."""
    file.write_text(f'#!/bin/sh\nprintf "%s " "$@" "KUBECONFIG=$KUBECONFIG" >> {file}.argv\nprintf "\\n" >> {file}.argv\n{script}\n')
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def up(fake: FakeKube) -> None:
    fake.put(CRD, {**OBJECTS[1], "status": {"conditions": [{"type": "Established", "status": "True"}]}})
    done = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "readyReplicas": 1}
    fake.put(DEPLOYMENT, {**OBJECTS[2], "status": done})


def test_a_file_says_which_flux_it_is(tmp_path: Path) -> None:
    (tmp_path / "install.yaml").write_text(TEXT)
    found = components.of_path(tmp_path / "install.yaml")
    assert (found.version, len(found.objects), found.text) == ("v2.7.3", 3, TEXT)
    assert components.of_path(tmp_path).objects == found.objects


@pytest.mark.parametrize(("text", "said"), [("a: [", "is not YAML"), ("", "holds no Kubernetes objects"), ("- a\n", "holds no Kubernetes")])
def test_a_file_that_holds_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "install.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        components.of_path(tmp_path / "install.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        components.of_path(tmp_path / "none.yaml")


def test_components_for_another_namespace_are_refused() -> None:
    found = components.parse(TEXT, "here")
    components.fits(found, place())
    with pytest.raises(ConfigError, match="these components are for namespace 'flux-system', and the deploy stage says system: other"):
        components.fits(found, place(flux={"system": "other"}))


def test_the_flux_command_brings_its_own(world: World, tmp_path: Path) -> None:
    assert components.exported(place(), world.site, LocalHost()) is None
    (tmp_path / "text").write_text(TEXT)
    program(tmp_path / "flux", f"cat {tmp_path}/text")
    found = components.exported(place(), world.site, LocalHost())
    assert found is not None
    assert found.version == "v2.7.3"
    components.exported(place(automation=Automation({"web": "ghcr.io/o/web"})), world.site, LocalHost())
    said = [line.split(" KUBECONFIG")[0] for line in (tmp_path / "flux.argv").read_text().splitlines()]
    assert said == [
        "install --export --namespace=flux-system",
        "install --export --namespace=flux-system --components-extra=image-reflector-controller,image-automation-controller",
    ]
    program(tmp_path / "flux", "echo no >&2; exit 1")
    with pytest.raises(ConfigError, match="flux could not write its components"):
        components.exported(place(), world.site, LocalHost())


def test_they_are_applied_and_waited_for(world: World, tmp_path: Path) -> None:
    world.clock.then = lambda seconds: up(world.fake) if seconds >= 3 else None
    components.install(components.parse(TEXT, "here"), place(), world.site, world.kube, LocalHost())
    [said] = (tmp_path / "kubectl.argv").read_text().splitlines()
    assert "apply --namespace flux-system" in said
    assert "--server-side --force-conflicts --field-manager=pipeline --filename " in said
    assert said.strip().endswith("KUBECONFIG=")
    assert [each.text for each in world.events if each.what == "wait"] == ["gitrepositories.source.toolkit.fluxcd.io is not served yet"]


def test_one_that_does_not_come_up_is_named(world: World) -> None:
    up(world.fake)
    world.fake.put(DEPLOYMENT, {**OBJECTS[2], "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1}})
    with pytest.raises(Expired, match="Flux did not come up in 300 s") as late:
        components.wait(components.parse(TEXT, "here"), world.site, world.kube)
    assert late.value.cause.startswith("source-controller: ")


def test_what_kubectl_says_is_told(world: World, tmp_path: Path) -> None:
    program(tmp_path / "kubectl", "echo something >&2; exit 1")
    with pytest.raises(Unknown, match="kubectl failed"):
        components.install(components.parse(TEXT, "here"), place(), world.site, world.kube, LocalHost())
    (tmp_path / "kubectl").unlink()
    with pytest.raises(ConfigError, match="cannot be run"):
        components.install(components.parse(TEXT, "here"), place(), world.site, world.kube, LocalHost())
