"""Every built-in driver through the contract, on a world in this process; tests/real/test_contract.py does the same on the lab."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Artifact, Image, Images, Source, Tree
from pipeline.build.nix import Nix
from pipeline.build.none import Nothing
from pipeline.build.tagged import Tagged
from pipeline.deploy import unfinished
from pipeline.deploy.manifest_spec import Kubecfg, Kubectl
from pipeline.deploy.spec import Helm, SecretSpec
from pipeline.drivers import DRIVERS, driver
from pipeline.host import Host, Output
from pipeline.host.local import LocalHost
from pipeline.push.skopeo import Spec as Skopeo
from pipeline.records import Records
from pipeline.secrets import Secrets
from pipeline.source import snapshot
from pipeline.stage import Cluster, Registry, Remote, Site
from pipeline.sync.git import Git
from pipeline.testing import FakeHost
from pipeline.testing.contract import World, check_declaration, check_driver
from pipeline.testing.registry import FakeRegistry
from pipeline.verify.checks import Checks
from pipeline.verify.expect import Page
from tests.build import buildkit
from tests.build.conftest import NIX
from tests.build.images import Image as Archived
from tests.deploy import flux_cluster, manifest_cluster
from tests.deploy.cluster import NAMESPACE, RELEASE
from tests.deploy.cluster import Cluster as FakeCluster
from tests.push import parts
from tests.push.pusher import Pusher
from tests.source.worktree import Worktree
from tests.sync.machine import Machine
from tests.tools import gitserver
from tests.verify import releases
from tests.verify.servers import answer, serving

SPECS: dict[tuple[str, str], Any] = {
    ("sync", "git"): Git("builder"),
    ("build", "nix"): Nix("builder", env={"GHCRTS": "-M2g"}),
    ("build", "buildx"): buildkit.spec(),
    ("build", "none"): Nothing(),
    ("build", "tagged"): Tagged("lab", "team/probe", default_tag="main-latest"),
    ("push", "skopeo"): Skopeo("lab", "team/probe"),
    ("deploy", "helm"): Helm(
        "lab",
        NAMESPACE,
        RELEASE,
        values={"image": {"repository": "{repository}", "digest": "{digest}"}},
        secret=SecretSpec("web", {"KEY": "env:KEY"}),
        deadline=10.0,
    ),
    ("deploy", "kubectl"): Kubectl("lab", NAMESPACE, RELEASE, values={"image": "{reference}"}, deadline=10.0, placeholders=("*",)),
    ("deploy", "kubecfg"): Kubecfg("lab", NAMESPACE, RELEASE, values={"image": "{reference}"}, deadline=10.0),
    ("deploy", "flux"): flux_cluster.spec(),
    ("verify", "checks"): Checks("railiance01", "probe.example", checks=(Page("/healthz", json={"commit": "{commit}"}),)),
}


@dataclass(frozen=True)
class Case:
    """What a driver is tried with: the artifact to make from, the site, and a value of all that is there."""

    given: Artifact
    site: Site
    world: World


def site(root: Path, *, hosts: dict[str, Host] | None = None, **options: Any) -> Site:
    nothing: dict[str, Any] = {name: {} for name in ("remotes", "registries", "clusters", "tools", "values")}
    return Site(app="probe", root=root, hosts=hosts or {}, records=Records(root.parent / "records.db"), **{**nothing, **options})


def files(folder: Path) -> Any:
    """Every file below `folder` with its content, but those of this machine's own bookkeeping."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()}


@contextlib.contextmanager
def sync(folder: Path, _patch: pytest.MonkeyPatch) -> Iterator[Case]:
    work = Worktree(folder / "work")
    work.write("README", "hello\n")
    work.write(".gitignore", ".pipeline/\n")
    work.commit()
    machine = Machine(folder / "state")
    with site(work.path, hosts={"builder": machine}) as made:
        yield Case(snapshot(work.path), made, lambda: files(folder / "state"))


@contextlib.contextmanager
def build(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Case]:
    store = folder / "nix"
    store.mkdir()
    (store / "nix").write_text(NIX)
    (store / "nix").chmod(0o755)
    (store / "output").write_bytes(Archived().archive)
    patch.setenv("PATH", f"{store}:{os.environ['PATH']}")
    host = LocalHost("builder", str(folder / "state"))
    source = Source("7e" * 20, "b2" * 20, False, "/src")
    with site(folder / "work", hosts={"builder": host}) as made:
        yield Case(Tree(source, "builder", f"{host.state}/probe/trees/{source.tree}"), made, lambda: files(folder / "state"))


@contextlib.contextmanager
def buildx(folder: Path, _patch: pytest.MonkeyPatch) -> Iterator[Case]:
    with buildkit.world(folder) as made:
        yield Case(made.source, made.site, lambda: (dict(made.registry.tags), set(made.registry.manifests), set(made.registry.blobs)))


@contextlib.contextmanager
def tagged(folder: Path, _patch: pytest.MonkeyPatch) -> Iterator[Case]:
    """It never makes: somebody else's image comes while the stage is about to."""
    source = Source("7e" * 20, "b2" * 20, False, "/src")
    with FakeRegistry(auth="none") as registry:
        registry.fault("HEAD", "/main-latest$", skip=2, act=lambda: registry.put("team/probe", "main-latest"))
        with site(folder / "work", registries={"lab": Registry(registry.address, scheme="http", credentials="none")}) as made:
            yield Case(source, made, lambda: (dict(registry.tags), set(registry.manifests), set(registry.blobs)))


@contextlib.contextmanager
def push(folder: Path, _patch: pytest.MonkeyPatch) -> Iterator[Case]:
    archive = parts.Archive(folder / "image.tar").write()
    with FakeRegistry() as registry, parts.site(folder, registry.address, FakeHost("seed", otherwise=Pusher())) as made:
        yield Case(parts.bundle(archive), made, lambda: (dict(registry.tags), set(registry.manifests), set(registry.blobs)))


@contextlib.contextmanager
def deploy(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Case]:
    patch.setattr(unfinished, "SETTLE", 0.0)
    (folder / "cluster").mkdir()
    (folder / "copy" / "chart").mkdir(parents=True)
    (folder / "copy/chart/Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: 1.0.0\n")
    cluster = FakeCluster(folder / "cluster")
    node = FakeHost("node", otherwise=lambda _cmd: Output(0, b"present\n"))
    spec = Cluster(str(cluster.fake.kubeconfig()), node="node", crictl=("k3s", "crictl"))
    given = Images(releases.RELEASE.source, (Image("reg.test:5000/team/web", releases.DIGEST, "b2b2b2b"),))
    manifest_cluster.write(folder / "copy", manifest_cluster.CONFIG, manifest_cluster.DEPLOYMENT)
    (folder / "tools").mkdir()
    manifest_cluster.Tools(cluster, folder / "tools")
    with (
        contextlib.closing(cluster.fake),
        site(
            folder / "copy",
            hosts={"node": node},
            clusters={"lab": spec},
            tools={"helm": str(cluster.helm), **{name: str(folder / "tools" / name) for name in ("kubectl", "kubecfg")}},
            secrets=Secrets({"KEY": "c2Vzc2lvbi1zZWNyZXQ"}),
        ) as made,
    ):
        yield Case(given, made, lambda: json.dumps(cluster.fake.objects, sort_keys=True))


@contextlib.contextmanager
def flux(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Case]:
    """A git server behind a script that stands for ssh, and controllers that follow it on the API of this process."""
    (folder / "cluster").mkdir()
    (folder / "copy").mkdir()
    server = gitserver.serve(folder, patch)
    cluster = FakeCluster(folder / "cluster")
    flux_cluster.FakeFlux(cluster, server)
    given = Images(releases.RELEASE.source, (Image("reg.test:5000/team/web", releases.DIGEST, "b2b2b2b"),))
    node = FakeHost("node", otherwise=lambda _cmd: Output(0, b"present\n"))
    with (
        contextlib.closing(cluster.fake),
        site(
            folder / "copy",
            hosts={"node": node},
            clusters={"lab": Cluster(str(cluster.fake.kubeconfig()), node="node", crictl=("k3s", "crictl"))},
            remotes={"gitops": Remote(f"ssh://git@server.test{server.path}")},
        ) as made,
    ):
        yield Case(given, made, lambda: (json.dumps(cluster.fake.objects, sort_keys=True), server.head))


@contextlib.contextmanager
def verify(folder: Path, _patch: pytest.MonkeyPatch) -> Iterator[Case]:
    class Kube:
        def list(self, target: str, _labels: str = "", fields: str = "", *, metadata: bool = False) -> dict[str, Any]:
            if target.endswith("/secrets"):
                return {"items": [releases.secret()]}
            return {"items": [{"metadata": {"name": fields.rpartition("=")[2]}} if metadata else releases.pod()]}

    def healthy(peer: socket.socket, _head: str) -> None:
        peer.sendall(answer(json.dumps({"commit": releases.COMMIT}).encode()))

    with serving(healthy) as server:
        cluster = Cluster("kubeconfig", ingress=server.url)
        with site(folder / "work", clusters={"railiance01": cluster}, shared={"kube:railiance01": Kube()}) as made:
            yield Case(releases.RELEASE, made, lambda: None)


WORLDS: dict[tuple[str, str], Callable[[Path, pytest.MonkeyPatch], AbstractContextManager[Case]]] = {
    ("sync", "git"): sync,
    ("build", "nix"): build,
    ("build", "buildx"): buildx,
    ("build", "tagged"): tagged,
    ("push", "skopeo"): push,
    ("deploy", "helm"): deploy,
    ("deploy", "kubectl"): deploy,
    ("deploy", "kubecfg"): deploy,
    ("deploy", "flux"): flux,
    ("verify", "checks"): verify,
}


def test_no_built_in_driver_is_left_out() -> None:
    assert SPECS.keys() == DRIVERS.keys()
    assert {*WORLDS, ("build", "none")} == DRIVERS.keys()


@pytest.mark.parametrize("name", sorted(DRIVERS), ids=".".join)
def test_a_built_in_driver_declares_itself(name: tuple[str, str]) -> None:
    found = driver(*name)
    assert found is not None
    assert (found.verb, found.name) == name
    check_declaration(found, SPECS[name])


def test_nothing_is_always_built() -> None:
    source = Source("7e" * 20, "b2" * 20, False, "/src")
    found = driver("build", "none")
    assert found is not None
    assert found.find(Nothing(), source, None).artifact == found.make(Nothing(), source, None) == Images(source, ())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(WORLDS), ids=".".join)
def test_a_built_in_driver_keeps_its_promises(name: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = driver(*name)
    assert found is not None
    with WORLDS[name](tmp_path, monkeypatch) as case:
        made = check_driver(found, SPECS[name], case.given, case.site, world=case.world)
    assert isinstance(made, found.gives)
