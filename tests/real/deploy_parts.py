"""What the deploy tests on the lab are made of: real images in its registry, a namespace and a working copy for each test."""

from __future__ import annotations

import collections
import dataclasses
import io
import json
import os
import secrets
import shutil
import subprocess
import tarfile
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Bundle, Images, Source
from pipeline.deploy import history
from pipeline.deploy.spec import Helm, SecretSpec
from pipeline.host.local import LocalHost
from pipeline.push import skopeo
from pipeline.stage import Site
from pipeline.tools.kube import Kube, connect, path
from pipeline.tools.kube_objects import containers, name, ready, selector, terminating

ROOT = Path(__file__).parents[2]
CLUSTER, REGISTRY, APP = "railiance01", "coulombcore", "web"
NIX = (
    *("nix", "--extra-experimental-features", "nix-command flakes", "--option", "sandbox", "false", "--option", "substituters", ""),
    *(("--option", "build-users-group", "") if os.geteuid() == 0 else ()),
)


def probe_archive(folder: Path) -> Path:
    """The probe's image as the flake builds it."""
    source = folder / "flake"
    shutil.copytree(ROOT / "pipeline/lab/probe", source / "pipeline/lab/probe")
    shutil.copy(ROOT / "flake.nix", source / "flake.nix")
    subprocess.run([*NIX, "build", f"path:{source}#docker", "--out-link", folder / "result"], check=True, capture_output=True)
    return (folder / "result").resolve()


def variant(archive: Path, target: Path, **config: Any) -> str:
    """The same image with another configuration, and so another digest; gives the config digest."""
    with tarfile.open(archive) as tar:
        members = {member.name: (tar.extractfile(member) or io.BytesIO()).read() for member in tar}
    (manifest,) = json.loads(members.pop("manifest.json"))
    whole = json.loads(members.pop(manifest["Config"]))
    whole["config"] |= {"Labels": {"test": secrets.token_hex(8)}, **config}
    text = json.dumps(whole).encode()
    digest = sha256(text).hexdigest()
    members |= {f"{digest}.json": text, "manifest.json": json.dumps([{**manifest, "Config": f"{digest}.json"}]).encode()}
    with tarfile.open(target, "w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return f"sha256:{digest}"


def written(metadata: dict[str, Any]) -> Any:
    """Another value once somebody has written to an object. Its status does not count: a controller writes that when it likes."""
    if "generation" not in metadata:
        return metadata["resourceVersion"]
    writers = [each for each in metadata["managedFields"] if each.get("subresource") != "status"]
    return [metadata["generation"], metadata.get("labels"), metadata.get("annotations"), writers]


PUSHED: dict[str, list[Images]] = {}  # by what is special about them: a session pushes each once, and the tests share them


@dataclasses.dataclass
class World:
    """The lab as one test sees it. `taken` counts the images that it has got."""

    site: Site
    kube: Kube
    namespace: str
    archive: Path
    taken: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def image(self, **config: Any) -> Images:
        """An image in the lab's registry, of a commit of its own, that this test has not got before."""
        kind = json.dumps(config, sort_keys=True)
        pushed = PUSHED.setdefault(kind, [])
        self.taken[kind] += 1
        if len(pushed) < self.taken[kind]:
            pushed.append(self.push(**config))
        return pushed[self.taken[kind] - 1]

    def push(self, **config: Any) -> Images:
        """A new image, pushed as the pipeline does it."""
        file = Path(tempfile.mkstemp(suffix=".tar", dir=self.site.root)[1])
        digest = variant(self.archive, file, **config)
        source = Source(secrets.token_hex(20), secrets.token_hex(20), False, str(self.site.root))
        bundle = Bundle(source, "here", str(file), "sha256-x", digest, size=file.stat().st_size)
        return skopeo.make(skopeo.Spec(REGISTRY, "coulomb/deploy-test"), bundle, self.site)

    def spec(self, **options: Any) -> Helm:
        values: dict[str, Any] = {
            "image": {"repository": "{repository}", "digest": "{digest}", "tag": "{tag}"},
            "commit": "{commit}",
            "secretName": f"{APP}-env",
            "ingress": {"kind": "none"},
            "drainSeconds": 1,
            "terminationGracePeriodSeconds": 2,
            "preStopSeconds": 0,  # the probe serves on by itself
        }
        data = {"IHP_SESSION_SECRET": "value:session_secret"}
        values.update(options.pop("values", {}))
        usual: dict[str, Any] = {"values": values, "secret": SecretSpec(f"{APP}-env", data), "deadline": 200.0}
        chosen: dict[str, Any] = {**usual, **options}
        return Helm(CLUSTER, self.namespace, APP, **chosen)

    def revisions(self) -> list[history.Revision]:
        return history.read(self.kube, self.namespace, APP)

    def pods(self) -> list[dict[str, Any]]:
        return [pod for pod in self.kube.list(path("v1", "pods", self.namespace), selector(APP))["items"] if ready(pod)]


def world(lab: Site, folder: Path, archive: Path) -> Iterator[World]:
    """A namespace and a working copy for one test; both go afterwards."""
    copy = folder / "copy"
    shutil.copytree(ROOT / "chart", copy / "chart")
    here = LocalHost("here", str(folder / "state"))
    site = dataclasses.replace(lab, root=copy, hosts=Hosts(lab, here))
    kube = connect(site, CLUSTER)
    namespace = f"deploy-{uuid.uuid4().hex[:8]}"
    kube.create(path("v1", "namespaces"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    try:
        yield World(site, kube, namespace, archive)
    finally:
        kube.delete(path("v1", "namespaces", name=namespace))


class Hosts(dict[str, Any]):
    """The lab's hosts, and this machine as one more."""

    def __init__(self, lab: Site, here: LocalHost) -> None:
        super().__init__(here=here)
        self._lab = lab

    def __missing__(self, name: str) -> Any:
        return self._lab.hosts[name]

    def __contains__(self, name: object) -> bool:
        return name == "here" or name in self._lab.hosts


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return probe_archive(tmp_path_factory.mktemp("probe"))


def image_ids(pods: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """What each pod that stays runs, by its node's own word: pod name -> imageIDs."""
    return {name(pod): tuple(container.image_id for container in containers(pod)) for pod in pods if not terminating(pod)}
