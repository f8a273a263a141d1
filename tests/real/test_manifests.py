"""Manifests on the lab: the real kubectl and kubecfg, Kubernetes, containerd and registry. The two drivers are one engine below what each
renders: what depends on that is tried with both (`each_way`), all else with kubectl."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Image, Images, Release, Source
from pipeline.deploy import manifest_files, manifest_kinds, manifest_render, manifest_trial
from pipeline.deploy.history import read
from pipeline.deploy.manifest_spec import Kubecfg, Kubectl, Manifests
from pipeline.deploy.manifests import find, make
from pipeline.deploy.shared import back, live, removal, standing, undo
from pipeline.deploy.spec import OURS, SecretSpec
from pipeline.drivers import driver
from pipeline.errors import ConfigError, NotRolledBack, RolledBack
from pipeline.events import Event, What
from pipeline.lab import programs
from pipeline.stage import Site
from pipeline.testing.contract import check_driver
from pipeline.tools.kube import path
from tests.real.deploy_parts import APP, CLUSTER, ROOT, World, archive, world, written

pytestmark = pytest.mark.real
__all__ = ["archive"]
CASES = ROOT / "tests" / "cases" / "manifests"
EXTRA = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\ndata: {a: b}\n"
EXTRA_FIELD = "  extra: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'extra' }, data: { a: 'b' } },\n"
OBJECTS = (("configmaps", "web"), ("services", "web"), ("deployments", "web", "apps/v1"))


def authored(value: dict[str, Any] | None) -> Any:
    """What somebody wrote into an object: all but what the API and the tools keep for themselves."""
    assert value is not None
    notes = {key: each for key, each in (value["metadata"].get("annotations") or {}).items() if "/" not in key}
    marks = {key: each for key, each in value["metadata"]["labels"].items() if "ksonnet" not in key}
    return {**{key: each for key, each in value.items() if key not in ("status", "metadata")}, "notes": notes, "marks": marks}


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
        kinds: dict[str, type[Manifests]] = {"kubectl": Kubectl, "kubecfg": Kubecfg}
        usual: dict[str, Any] = {"values": values, "secret": secret, "deadline": 200.0}
        if self.driver == "kubectl":
            usual["placeholders"] = ("*",)
        chosen: dict[str, Any] = {**usual, **options}
        return kinds[self.driver](CLUSTER, self.world.namespace, APP, "manifests", **chosen)

    @property
    def folder(self) -> Path:
        return self.site.root / "manifests"

    def versions(self) -> dict[str, Any]:
        """Of everything in the namespace that a deploy could write, less what beats on its own."""
        found = {}
        for version, plural in (("v1", "configmaps"), ("v1", "secrets"), ("v1", "services"), ("apps/v1", "deployments")):
            for item in self.world.kube.list(path(version, plural, self.world.namespace), metadata=True)["items"]:
                if item["metadata"]["name"] == "kube-root-ca.crt":
                    continue  # the cluster writes it into each new namespace, a busy one a moment later
                found[f"{plural}/{item['metadata']['name']}"] = written(item["metadata"])
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


@pytest.fixture
def way(lab_world: World) -> Way:
    shutil.copytree(CASES, lab_world.site.root / "manifests")
    return Way(lab_world, "kubectl")


@pytest.fixture(params=["kubectl", "kubecfg"])
def each_way(lab_world: World, request: pytest.FixtureRequest) -> Way:
    shutil.copytree(CASES, lab_world.site.root / "manifests")
    return Way(lab_world, request.param)


def test_d07_made_once_and_then_nothing_is_written(each_way: Way) -> None:
    way = each_way
    images, spec = way.world.image(), way.spec()
    assert find(spec, images, way.site).why == "nothing is deployed yet"
    made = make(spec, images, way.site)
    assert made.revision == 1
    assert way.runs(images)
    before, asked = way.versions(), way.world.kube.requests
    for _ in range(3):
        assert find(spec, images, way.site).artifact == made
    assert way.world.kube.requests - asked == 3 * 5  # revisions, Deployments, ConfigMaps, Services, the stage's Secret
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


def test_what_is_no_longer_in_the_manifests_is_deleted_and_nothing_else(each_way: Way, events: list[Event]) -> None:
    way = each_way
    images, spec = way.world.image(), way.spec()
    extra = way.folder / f"extra.{'yaml' if way.driver == 'kubectl' else 'jsonnet'}"
    if way.driver == "kubecfg":
        whole = (way.folder / "web.jsonnet").read_text()
        (way.folder / "web.jsonnet").write_text(whole.replace("  settings: {", EXTRA_FIELD + "  settings: {", 1))
    else:
        extra.write_text(EXTRA)
    make(spec, images, way.site)
    assert way.get("configmaps", "extra") is not None
    way.kubectl("create", "configmap", "bystander")
    way.kubectl("label", "configmap", "bystander", f"app.kubernetes.io/instance={APP}", "kubecfg.ksonnet.io/garbage-collect-tag=web")
    if way.driver == "kubecfg":
        (way.folder / "web.jsonnet").write_text(whole)
    else:
        extra.unlink()
    assert find(spec, images, way.site).why == "the manifests changed"
    assert make(spec, images, way.site).revision == 2
    assert way.get("configmaps", "extra") is None
    assert way.get("configmaps", "bystander") is not None
    assert [event.text for event in events if "deleted" in event.text] == ["configmaps/extra is no longer part of the release: deleted"]
    assert find(spec, images, way.site).artifact is not None


def test_d14_an_edit_by_hand_is_seen_told_and_put_back(way: Way, events: list[Event]) -> None:
    images, spec = way.world.image(), way.spec()
    make(spec, images, way.site)
    way.kubectl("patch", "configmap", "web", "--type=merge", "-p", '{"data":{"NOTE":"by hand"}}')
    why = find(spec, images, way.site).why
    assert 'configmaps/web was edited: data.NOTE is "by hand", "none" is wanted (by kubectl-patch' in why
    make(spec, images, way.site)
    found = way.get("configmaps", "web")
    assert found is not None
    assert found["data"]["NOTE"] == "none"
    assert any(event.what is What.WARN and "data.NOTE was set by kubectl-patch" in event.text for event in events)
    assert find(spec, images, way.site).artifact is not None
    way.kubectl("set", "resources", "deployment", "web", "--limits=memory=80Mi")
    way.kubectl("set", "env", "deployment", "web", "FOO=bar")
    assert "deployments/web was edited" in find(spec, images, way.site).why
    way.kubectl("delete", "service", "web")
    assert "services/web is gone" in find(spec, images, way.site).why
    make(spec, images, way.site)
    deployment = way.get("deployments", "web", "apps/v1")
    assert deployment is not None
    assert deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] == "64Mi"
    assert way.get("services", "web") is not None
    assert find(spec, images, way.site).artifact is not None


def test_a_deployment_that_was_restarted_is_as_it_was_and_one_that_was_scaled_is_not(way: Way) -> None:
    images, spec = way.world.image(), way.spec()
    make(spec, images, way.site)
    way.kubectl("rollout", "restart", "deployment", "web")
    finding = find(spec, images, way.site)
    end = time.monotonic() + 60
    while finding.artifact is None and "rollout" in finding.why and time.monotonic() < end:
        time.sleep(0.2)
        finding = find(spec, images, way.site)
    assert finding.artifact is not None, finding.why
    way.kubectl("scale", "deployment", "web", "--replicas=2")
    assert "spec.replicas is 2, 1 is wanted (by kubectl scale)" in find(spec, images, way.site).why


def test_d04_a_broken_image_is_diagnosed_and_taken_back_while_the_old_one_serves(way: Way) -> None:
    good, spec = way.world.image(), way.spec(restarts=1)
    make(spec, good, way.site)
    bad = way.world.image(Entrypoint=["/bin/busybox", "sh", "-c", "echo cannot bind the port; exit 3"])
    with pytest.raises(RolledBack, match="revision 1 serves again") as caught:
        make(spec, bad, way.site)
    assert caught.value.exit_code == 16
    assert "exit code 3" in caught.value.cause
    assert "cannot bind the port" in caught.value.cause
    assert "cannot bind the port" in (way.site.root / caught.value.log).read_text()
    assert way.runs(good)
    assert find(spec, good, way.site).artifact is not None
    assert [one.rollout for one in read(way.world.kube, way.world.namespace, APP, OURS)] == ["complete", "failed", "complete"]


def test_a_first_deploy_that_fails_is_left_and_gone_on_from(way: Way) -> None:
    bad = way.world.image(Entrypoint=["/bin/busybox", "sh", "-c", "exit 3"])
    with pytest.raises(NotRolledBack, match=r"nothing was good before revision 1, so all of it is left as it is: .*Deployment/web"):
        make(way.spec(restarts=1), bad, way.site)
    assert way.get("deployments", "web", "apps/v1") is not None
    assert way.get("configmaps", "web") is not None
    assert [one.rollout for one in read(way.world.kube, way.world.namespace, APP, OURS)] == ["failed"]
    assert make(way.spec(restarts=1), way.world.image(), way.site).revision == 2


def test_x02_back_to_the_one_before_and_further_back(way: Way) -> None:
    three = [way.world.image() for _ in range(3)]
    spec = way.spec()
    for images in three:
        made = make(spec, images, way.site)
    for images in (three[1], three[0]):
        with back(spec, "", False, way.site) as found:
            assert found.go is not None
            release = found.go()
        assert isinstance(release, Release)
        assert release.source.commit == images.source.commit
        assert way.runs(images)
    assert find(spec, three[0], way.site).artifact is not None
    last = make(spec, three[2], way.site)
    assert last.revision == made.revision + 3
    with pytest.raises(RolledBack, match="verify says no; revision 5 serves again"):
        undo(spec, last, way.site, "verify says no")
    assert way.runs(three[0])
    numbers = [one.number for one in read(way.world.kube, way.world.namespace, APP, OURS)]
    assert numbers == [7, 6, 5, 4, 3]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("replicas: 1", "replicass: 1", r"Deployment web: \.?spec\.replicass is not a field this cluster knows"),
        ("replicas: 1", "replicas: 'two'", "Deployment web: spec.replicas: expected numeric"),
        ("apps/v1", "apps/v2", "Deployment web: this cluster knows no Deployment of apps/v2"),
        ("targetPort: '?http'?", "targetPort: 9418", "Service web port 8088 leads to port 9418, which no container has"),
    ],
)
def test_what_the_cluster_would_refuse_is_told_before_anything_is_written(way: Way, old: str, new: str, said: str) -> None:
    images = way.world.image()
    file = way.folder / "web.yaml"
    text, count = re.subn(old, new, file.read_text())
    assert count == 1
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        make(way.spec(), images, way.site)
    assert read(way.world.kube, way.world.namespace, APP, OURS) == []
    assert way.get("configmaps", "web") is None


def test_a_field_that_cannot_change_is_named_with_what_to_do(way: Way) -> None:
    images, spec = way.world.image(), way.spec()
    make(spec, images, way.site)
    before = way.versions()
    file = way.folder / "web.yaml"
    file.write_text(file.read_text().replace("app: web", "app: other"))
    with pytest.raises(ConfigError, match=r"Deployment web: spec\.selector cannot be changed once it is made") as caught:
        make(spec, images, way.site)
    assert "kubectl delete deployment/web" in caught.value.mend
    assert way.versions() == before


def test_another_managers_field_is_refused_where_the_stage_says_so(way: Way) -> None:
    images = way.world.image()
    make(way.spec(), images, way.site)
    way.kubectl("patch", "configmap", "web", "--type=merge", "-p", '{"data":{"NOTE":"by hand"}}')
    with pytest.raises(ConfigError, match=r"ConfigMap web: 1 field.* another manager's") as caught:
        make(way.spec(conflicts="refuse"), images, way.site)
    assert caught.value.cause == "data.NOTE was set by kubectl-patch"


def test_an_object_of_somebody_else_is_left_alone_unless_it_is_adopted(way: Way) -> None:
    images = way.world.image()
    way.kubectl("create", "configmap", "web", "--from-literal=NOTE=theirs")
    with pytest.raises(ConfigError, match="ConfigMap web is there already, and it was not made by this release"):
        make(way.spec(), images, way.site)
    make(way.spec(adopt=True), images, way.site)
    way.kubectl("label", "--overwrite", "configmap", "web", "app.kubernetes.io/instance=theirs")


def test_both_drivers_make_the_same_of_the_same(lab_world: World) -> None:
    shutil.copytree(CASES, lab_world.site.root / "manifests")
    images = lab_world.image()
    first = Way(lab_world, "kubectl")
    make(first.spec(), images, first.site)
    of_kubectl = [first.get(*which) for which in OBJECTS]
    second = Way(lab_world, "kubecfg")
    made = make(second.spec(), images, second.site)
    assert made.revision == 2
    assert [authored(each) for each in of_kubectl] == [authored(second.get(*which)) for which in OBJECTS]


def test_secrets_are_nowhere_but_in_the_secret(each_way: Way, events: list[Event]) -> None:
    way = each_way
    make(way.spec(), way.world.image(), way.site)
    canary = way.site.secrets.get(way.site.values["session_secret"]).reveal()
    assert canary not in "\n".join(event.text for event in events)
    files = [file for file in way.site.root.rglob("*") if file.is_file() and file.stat().st_size < 1 << 20]
    assert not any(canary in file.read_text(errors="replace") for file in files)
    (applied,) = (way.site.root / ".pipeline" / "deploy").rglob(f"{APP}.yaml")
    assert applied.stat().st_mode & 0o077 == 0


def test_the_relays_jsonnet_and_its_yaml_are_the_same_and_the_cluster_takes_them(lab_world: World) -> None:
    shutil.copytree(ROOT / "pipeline/lab/samples/relay/manifests", lab_world.site.root / "manifests")
    image = Image("ghcr.io/example/relay", "sha256:" + "a" * 64, "main")
    images = Images(Source("7e" * 20, "c" * 40, False, "/w"), (image,))
    values = {"image": "{reference}", "commit": "{commit}", "version": "{short}", "replicas": 2}
    found = []
    for kind in (Kubectl, Kubecfg):
        marked: dict[str, Any] = {"placeholders": ("relay.yaml",)} if kind is Kubectl else {}
        spec = kind(CLUSTER, lab_world.namespace, "relay", values=values, **marked)
        files = manifest_files.read(lab_world.site.root, spec)
        want = manifest_render.wanted(spec, images, files, lab_world.site)
        objects = manifest_render.objects(spec, want, images, files, lab_world.site)
        places = manifest_kinds.places(lab_world.kube, objects, lab_world.namespace)
        assert all(trial.lines == ("+",) for trial in manifest_trial.attempt(lab_world.kube, spec, objects, places, frozenset()))
        found.append(sorted(objects, key=lambda each: str(each["kind"])))
    assert found[0] == found[1]
    ports = {port["port"] for each in found[0] if each["kind"] == "Service" for port in each["spec"]["ports"]}
    assert ports == {8088, 9418}


SETS = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: web
  replicas: 1
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: app
          image: "{image}"
          envFrom: [{{secretRef: {{name: web-env}}}}]
          readinessProbe: {{httpGet: {{path: /healthz, port: 8000}}, periodSeconds: 1}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: log}}
spec:
  selector: {{matchLabels: {{app: log}}}}
  template:
    metadata: {{labels: {{app: log}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: app
          image: "{image}"
          envFrom: [{{secretRef: {{name: web-env}}}}]
          readinessProbe: {{httpGet: {{path: /healthz, port: 8000}}, periodSeconds: 1}}
"""


def test_stateful_and_daemon_sets_are_followed_and_explained(lab_world: World) -> None:
    way = Way(lab_world, "kubectl")
    way.folder.mkdir()
    (way.folder / "sets.yaml").write_text(SETS.format(image="{values.image}"))
    good, spec = lab_world.image(), way.spec(restarts=1)
    made = make(spec, good, way.site)
    assert find(spec, good, way.site).artifact == made
    running = live(spec, way.site)
    assert running is not None
    assert running.images[0].digest == good.images[0].digest
    assert len(lab_world.pods()) == 2
    bad = lab_world.image(Entrypoint=["/bin/busybox", "sh", "-c", "echo no disk; exit 4"])
    with pytest.raises(RolledBack, match="revision 1 serves again") as caught:
        make(spec, bad, way.site)
    assert "exit code 4" in caught.value.cause
    assert find(spec, good, way.site).artifact is not None
    assert way.runs(good)


def test_the_contract_holds_on_the_lab(each_way: Way) -> None:
    way = each_way
    found = driver("deploy", way.driver)
    assert found is not None
    check_driver(found, way.spec(), way.world.image(), way.site, world=way.versions)


def test_a_release_is_taken_away_and_its_volume_stays(each_way: Way) -> None:
    """What kubectl and kubecfg made goes by the inventory; a claim stays, with --with-data it goes too."""
    claim = "{ apiVersion: v1, kind: PersistentVolumeClaim, metadata: { name: disk }, spec: { accessModes: [ReadWriteOnce],"
    claim += " resources: { requests: { storage: 1Mi } } } }"
    if each_way.driver == "kubectl":
        (each_way.folder / "disk.yaml").write_text(claim)
    else:
        quoted = re.sub(r"(?<=: )(v1|PersistentVolumeClaim|disk|1Mi)|ReadWriteOnce", lambda found: f"'{found[0]}'", claim)
        (each_way.folder / "disk.jsonnet").write_text(f"function(image, secret, note='none') {quoted}")
    spec, site, kube = each_way.spec(), each_way.site, each_way.world.kube
    make(spec, each_way.world.image(), site)
    found = removal(spec, False, site)
    assert {"Deployment/web", "Service/web", "ConfigMap/web"} <= set(found.goes)
    assert [(each.name, each.why) for each in found.stays] == [("PersistentVolumeClaim/disk", "it may hold data")]
    assert found.go
    found.go()
    assert [each_way.get(plural, name, *version) for plural, name, *version in OBJECTS] == [None, None, None]
    assert each_way.get("persistentvolumeclaims", "disk")
    assert read(kube, spec.namespace, APP, OURS) == []
    assert removal(spec, False, site).go is None
    make(spec, each_way.world.image(), site)
    again = removal(spec, True, site)
    assert again.go
    again.go()
    disk = each_way.get("persistentvolumeclaims", "disk")
    assert disk is None or disk["metadata"]["deletionTimestamp"]
