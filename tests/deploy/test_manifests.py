"""The drivers of manifests whole, on an API and tools of the tests' own: what they ask, apply, prune, repair and take back."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Image, Release
from pipeline.deploy import kubecfg, kubectl, manifest_render
from pipeline.deploy.by_manifests import ByManifests
from pipeline.deploy.manifest_images import Replaced
from pipeline.deploy.manifest_spec import Kubecfg, Kubectl, Manifests
from pipeline.deploy.manifests import check, find, make, rehearse
from pipeline.deploy.shared import back, live, standing, undo
from pipeline.deploy.spec import SecretSpec
from pipeline.errors import ConfigError, IntegrityError, Locked, NotRolledBack, RolledBack, Transient
from pipeline.events import Event, What
from pipeline.host import Output
from pipeline.records import Records
from pipeline.secrets import Secrets
from pipeline.stage import Site
from pipeline.testing import FakeHost
from pipeline.tools.kube import path
from pipeline.tools.kube_objects import template_images
from tests.deploy.cluster import NAMESPACE, RELEASE, WEB, Cluster
from tests.deploy.conftest import KEY
from tests.deploy.manifest_cluster import CONFIG, DEPLOYMENT, Tools, write
from tests.deploy.test_helm import images

EXTRA = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra"}, "data": {"A": "1"}}
CLAIM = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "disk"}, "spec": {}}


@pytest.fixture
def tools(cluster: Cluster, tmp_path: Path) -> Tools:
    folder = tmp_path / "tools"
    folder.mkdir()
    return Tools(cluster, folder)


@pytest.fixture(params=["kubectl", "kubecfg"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(site: Site, tools: Tools) -> Site:
    made = dataclasses.replace(site, tools={name: str(tools.folder / name) for name in ("kubectl", "kubecfg")})
    write(made.root, CONFIG, DEPLOYMENT)
    return made


def spec(driver: str = "kubectl", **options: Any) -> Manifests:
    kinds: dict[str, type[Manifests]] = {"kubectl": Kubectl, "kubecfg": Kubecfg}
    marked: dict[str, Any] = {"placeholders": ("*",)} if driver == "kubectl" else {}
    chosen: dict[str, Any] = {"values": {"image": "{reference}"}, "deadline": 10.0, **marked, **options}
    return kinds[driver]("lab", NAMESPACE, RELEASE, **chosen)


def test_d07_made_once_found_by_three_requests_and_no_tool(site: Site, cluster: Cluster, tools: Tools, driver: str) -> None:
    assert find(spec(driver), images(), site).why == "nothing is deployed yet"
    made = make(spec(driver), images(), site)
    asked, called = len(cluster.fake.asked), len(tools.calls("show"))
    for _ in range(5):
        assert find(spec(driver), images(), site).artifact == made
    assert [method for method, _ in cluster.fake.asked[asked:]] == ["GET"] * 15  # revisions, Deployments, ConfigMaps
    assert len(tools.calls("show")) == called
    running = live(spec(driver), site)
    assert running is not None
    assert (running.source.commit, running.images[0].digest) == ("a" * 40, "sha256:" + "a" * 64)
    assert standing(spec(driver), site).ours
    (argv,) = tools.calls("apply" if driver == "kubectl" else "update")
    assert argv[0] == driver


def test_the_objects_are_told_before_they_are_applied(site: Site, events: list[Event], tools: Tools) -> None:
    make(spec(), images(), site)
    lines = [event.text for event in events if event.what is What.LOG]
    assert lines[:2] == ["ConfigMap web is new", "Deployment web is new"]
    assert lines.index("Deployment web is new") < lines.index("ConfigMap web applied")
    events.clear()
    make(spec(), images("b"), site)
    told = [event.text for event in events if event.text.startswith("Deployment web: ")]
    assert len(told) == 1
    assert "spec.template.spec.containers[app].image: " in told[0]


def test_an_image_that_is_not_used_and_an_argument_that_is_missing_are_refused(site: Site, tools: Tools, driver: str) -> None:
    other = dataclasses.replace(images(), images=(*images().images, Image("reg.test/other", "sha256:" + "e" * 64, "t")))
    chosen = {"values": {"image": "{web.reference}"}}
    with pytest.raises(ConfigError, match=r"image reg\.test/other@sha256:e* is not used by any"):
        make(spec(driver, **chosen), other, site)
    with pytest.raises(ConfigError, match=r"manifests/web\.\w+(:3)?: (Missing argument: image|\{values\.image\} is not known)"):
        make(spec(driver, values={}), images(), site)
    assert tools.revisions() == {}
    assert tools.get("configmaps", "web") is None


def test_what_is_refused_leaves_neither_namespace_nor_lock(site: Site, cluster: Cluster, driver: str) -> None:
    cluster.fake.drop(path("v1", "namespaces", name=NAMESPACE))
    write(site.root, {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "metadata": {"name": "x"}}, DEPLOYMENT)
    before = dict(cluster.fake.objects)
    lock = {"kubectl": kubectl, "kubecfg": kubecfg}[driver].DRIVER.exclusive
    assert lock is not None
    with pytest.raises(ConfigError), lock(spec(driver, create_namespace=True), images(), site):
        pass
    with pytest.raises(ConfigError):
        make(spec(driver, create_namespace=True), images(), site)
    assert cluster.fake.objects == before


def test_a_word_in_yaml_is_told_with_its_line(site: Site) -> None:
    (site.root / "manifests/web.yaml").write_text(
        "# one\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  A: '{nope}'\n"
    )
    with pytest.raises(ConfigError, match=r"manifests/web\.yaml:7: \{nope\} is not known"):
        make(spec(), images(), site)
    (site.root / "manifests/web.yaml").write_text("a: 1\n---\na: 1\na: .inf\n")
    with pytest.raises(ConfigError, match=r"manifests/web\.yaml:4: \.inf is no number"):
        make(spec(), images(), site)


def test_a_commit_counts_only_where_it_is_written(site: Site) -> None:
    make(spec(), images(), site)
    later = dataclasses.replace(images(), source=dataclasses.replace(images().source, commit="f" * 40))
    assert find(spec(), later, site).artifact is not None, "the same image, the same files"
    write(site.root, {**CONFIG, "data": {"C": "{commit}"}}, DEPLOYMENT)
    make(spec(), later, site)
    assert find(spec(), later, site).artifact is not None
    assert find(spec(), images(), site).why == "values changed: commit"


def test_what_is_left_over_is_pruned_once_the_new_one_serves(site: Site, tools: Tools, events: list[Event], driver: str) -> None:
    write(site.root, CONFIG, EXTRA, CLAIM, DEPLOYMENT)
    make(spec(driver), images(), site)
    write(site.root, CONFIG, DEPLOYMENT)
    assert find(spec(driver), images(), site).why == "the manifests changed"
    make(spec(driver, prune=False), images(), site)
    assert tools.get("configmaps", "extra") is not None
    write(site.root, {**CONFIG, "data": {}}, DEPLOYMENT)
    make(spec(driver), images(), site)
    assert tools.get("configmaps", "extra") is None, "what was left in between is remembered"
    assert tools.get("persistentvolumeclaims", "disk") is not None
    assert any("persistentvolumeclaims/disk" in event.text and "may hold data" in event.text for event in events if event.what is What.WARN)


def test_what_others_have_taken_over_is_not_pruned(site: Site, tools: Tools, cluster: Cluster) -> None:
    write(site.root, CONFIG, EXTRA, DEPLOYMENT)
    make(spec(), images(), site)
    where = path("v1", "configmaps", NAMESPACE, "extra")
    taken = {**cluster.fake.objects[where], "metadata": {"name": "extra", "labels": {"app.kubernetes.io/instance": "theirs"}}}
    cluster.fake.put(where, taken)
    write(site.root, CONFIG, DEPLOYMENT)
    make(spec(), images(), site)
    assert tools.get("configmaps", "extra") is not None


def test_d04_what_crashes_is_explained_and_taken_back(site: Site, cluster: Cluster, tools: Tools, driver: str) -> None:
    make(spec(driver), images(), site)
    write(site.root, CONFIG, EXTRA, DEPLOYMENT)
    cluster.behaviour["sha256:" + "b" * 64] = "crash"
    with pytest.raises(RolledBack, match="revision 1 serves again") as caught:
        make(spec(driver), images("b"), site)
    assert "exit code 3" in caught.value.cause
    assert "cannot bind the port" in (site.root / caught.value.log).read_text()
    assert {number: (one["status"], one["rollout"]) for number, one in tools.revisions().items()} == {
        1: ("superseded", "complete"), 2: ("superseded", "failed"), 3: ("deployed", "complete"),
    }  # fmt: skip
    assert tools.get("configmaps", "extra") is None
    write(site.root, CONFIG, DEPLOYMENT)
    assert find(spec(driver), images(), site).artifact is not None


def test_a_first_one_that_fails_is_left_and_deleted_by_nobody(site: Site, cluster: Cluster, tools: Tools) -> None:
    cluster.behaviour["sha256:" + "a" * 64] = "crash"
    with pytest.raises(NotRolledBack, match="left as it is: ConfigMap/web, Deployment/web") as caught:
        make(spec(), images(), site)
    assert "kubectl delete" in caught.value.mend
    assert tools.revisions()[1]["rollout"] == "failed"
    assert tools.get("configmaps", "web") is not None
    assert make(spec(), images("b"), site).revision == 2


def test_what_was_adopted_or_holds_data_outlives_a_way_back(site: Site, cluster: Cluster, tools: Tools, events: list[Event]) -> None:
    """The failed revision took an object over that was there before, and brought a volume, a kind nobody knows and a ConfigMap."""
    make(spec(), images(), site)
    theirs = path("v1", "configmaps", NAMESPACE, "theirs")
    cluster.fake.put(
        theirs, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs", "creationTimestamp": "2020-01-01T00:00:00Z"}}
    )
    volume = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}
    unknown = {"apiVersion": "db.test/v1", "kind": "Cluster", "metadata": {"name": "db"}}
    served = [{"name": "clusters", "kind": "Cluster", "namespaced": True}]
    cluster.fake.objects["/apis/db.test/v1"] = {"kind": "APIResourceList", "metadata": {}, "resources": served}
    write(site.root, CONFIG, EXTRA, {**EXTRA, "metadata": {"name": "theirs"}}, volume, unknown, DEPLOYMENT)
    cluster.behaviour["sha256:" + "b" * 64] = "crash"
    with pytest.raises(RolledBack, match="revision 1 serves again"):
        make(spec(adopt=True), images("b"), site)
    assert theirs in cluster.fake.objects
    assert tools.get("persistentvolumeclaims", "data") is not None
    assert path("db.test/v1", "clusters", NAMESPACE, "db") in cluster.fake.objects
    assert tools.get("configmaps", "extra") is None
    told = " ".join(event.text for event in events if event.what is What.WARN)
    assert "configmaps/theirs is no longer part of the release, and is left: it was there before" in told
    assert "clusters/db is no longer part of the release, and is left: it may hold data" in told


def test_what_is_applied_in_part_is_taken_back(site: Site, tools: Tools, driver: str) -> None:
    make(spec(driver), images(), site)
    write(site.root, {**CONFIG, "data": {"A": "2"}}, DEPLOYMENT)
    fail = tools.folder / "fail"
    fail.write_text('The Deployment "web" is invalid: spec.selector: Invalid value: field is immutable')
    with pytest.raises(NotRolledBack, match="and going back to revision 1 failed"):
        make(spec(driver), images(), site)
    fail.unlink()
    assert make(spec(driver), images(), site).revision == 4
    found = tools.get("configmaps", "web")
    assert found is not None
    assert found["data"] == {"A": "2"}


def test_an_api_that_goes_away_is_tried_again_and_nothing_is_taken_back(site: Site, tools: Tools, events: list[Event]) -> None:
    fail = tools.folder / "fail"
    fail.write_text("Unable to connect to the server: dial tcp 10.0.0.1:6443: connect: connection refused")
    with pytest.raises(Transient, match="the Kubernetes API does not answer"):
        make(spec(), images(), site)
    assert tools.revisions()[1]["status"] == "pending-upgrade"
    assert "pending-upgrade" in find(spec(), images(), site).why
    fail.unlink()
    assert make(spec(), images(), site).revision == 2
    assert tools.revisions()[1]["status"] == "failed"
    assert any("left half applied" in event.text for event in events if event.what is What.WARN)


@pytest.mark.parametrize("point", ["deploy.proven", "deploy.secret", "deploy.begun", "deploy.applied"])
def test_d10_a_run_killed_at_any_step_is_finished_by_the_next(site: Site, tools: Tools, driver: str, point: str) -> None:
    pid = os.fork()
    if pid == 0:
        os.environ["FAILPOINT"] = f"{point}:kill"
        try:
            make(spec(driver), images(), dataclasses.replace(site, shared={}, records=Records(site.root / "other.db")))
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    make(spec(driver), images(), site)
    assert len(tools.calls("apply" if driver == "kubectl" else "update")) == 1, "what was applied is only waited for"
    assert find(spec(driver), images(), site).artifact is not None


def test_x02_back_and_further_back_and_five_are_kept(site: Site, tools: Tools, driver: str) -> None:
    for letter in "abc":
        made = make(spec(driver), images(letter), site)
    for letter in "ba":
        with back(spec(driver), "", False, site) as way:
            assert way.go is not None
            release = way.go()
        assert isinstance(release, Release)
        assert release.source.commit == letter * 40
    with pytest.raises(ConfigError, match="there is no good revision before"), back(spec(driver), "", False, site):
        pass
    assert sorted(tools.revisions()) == [1, 2, 3, 4, 5]
    last = make(spec(driver), images("d"), site)
    assert last.revision == made.revision + 3
    with pytest.raises(RolledBack, match="verify failed; revision 5 serves again"):
        undo(spec(driver), last, site, "verify failed")
    assert sorted(tools.revisions()) == [3, 4, 5, 6, 7]
    assert find(spec(driver), images("a"), site).artifact is not None


def test_an_edit_by_hand_is_drift_and_the_manifests_win(site: Site, cluster: Cluster, tools: Tools) -> None:
    make(spec(), images(), site)
    where = path("v1", "configmaps", NAMESPACE, "web")
    by = {"manager": "kubectl-edit", "time": "2026-11-21T12:00:00Z", "fieldsV1": {"f:data": {"f:A": {}}}}
    held = cluster.fake.objects[where]
    cluster.fake.put(where, {**held, "data": {"A": "by hand"}, "metadata": {**held["metadata"], "managedFields": [by]}})
    assert find(spec(), images(), site).why == (
        'configmaps/web was edited: data.A is "by hand", "1" is wanted (by kubectl-edit at 2026-11-21T12:00:00Z)'
    )
    assert make(spec(), images(), site).revision == 2
    assert cluster.fake.objects[where]["data"] == {"A": "1"}
    assert find(spec(), images(), site).artifact is not None
    cluster.fake.drop(where)
    assert find(spec(), images(), site).why == "configmaps/web is gone"


def test_d14_scaled_to_nothing_is_no_release(site: Site, cluster: Cluster) -> None:
    make(spec(), images(), site)
    held = cluster.fake.objects[WEB]
    status = {**held["status"], "observedGeneration": 99, "replicas": 0, "updatedReplicas": 0, "availableReplicas": 0}
    cluster.fake.put(WEB, {**held, "spec": {**held["spec"], "replicas": 0}, "status": status})
    assert find(spec(), images(), site).why == "deployments/web was edited: spec.replicas is 0, 1 is wanted"


def test_l02_no_tool_is_called_once_the_lock_is_lost(site: Site, cluster: Cluster, node: FakeHost, tools: Tools) -> None:
    def steal(_cmd: Any) -> Output:
        cluster.steal()
        return Output(0)

    node.on(("sh",), steal)
    with pytest.raises(Locked, match="another run took it over"):
        make(spec(), images(), site)
    assert tools.calls("apply") == []
    assert tools.revisions() == {}


def test_l02_nothing_is_pruned_once_the_lock_is_lost(site: Site, cluster: Cluster, tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    write(site.root, CONFIG, EXTRA, DEPLOYMENT)
    make(spec(), images(), site)
    write(site.root, CONFIG, DEPLOYMENT)
    delete = ByManifests._delete

    def stolen(*given: Any, **more: Any) -> None:
        cluster.steal()
        delete(*given, **more)

    monkeypatch.setattr(ByManifests, "_delete", stolen)
    with pytest.raises(Locked, match="another run took it over"):
        make(spec(), images(), site)
    assert tools.get("configmaps", "extra") is not None


def test_r01_the_stages_secret_is_kept_in_step_and_nowhere_else(site: Site, cluster: Cluster, tools: Tools, events: list[Event]) -> None:
    secret = SecretSpec("web-env", {"KEY": "value:key"})
    values = {"image": "{reference}", "mark": "{secret}"}
    write(site.root, {**CONFIG, "data": {"MARK": "{secret}", "NAME": "{secret.name}"}}, DEPLOYMENT)
    make(spec(secret=secret, values=values), images(), site)
    plain = cluster.fake.objects[path("v1", "secrets", NAMESPACE, "web-env")]["data"]
    held = tools.get("configmaps", "web")
    assert held is not None
    assert cluster.fake.objects[path("v1", "secrets", NAMESPACE, held["data"]["NAME"])]["data"] == plain
    other = dataclasses.replace(site, secrets=Secrets({"KEY": "bmV3LXNlY3JldA"}))
    assert "the secret changed" in find(spec(secret=secret, values=values), images(), other).why
    assert KEY not in "\n".join(event.text for event in events)
    assert not any(KEY in file.read_text(errors="replace") for file in site.root.rglob("*") if file.is_file() and file.suffix != ".db")


def test_a_key_and_a_keystore_reach_the_secret_byte_for_byte(site: Site, cluster: Cluster) -> None:
    files = {"id_ed25519": b"-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n", "p12": b"\x30\x82\xff\xfe\n"}
    for name, content in files.items():
        (site.root.parent / name).write_bytes(content)
        (site.root.parent / name).chmod(0o600)
    secret = SecretSpec("web-files", {name: f"file:{site.root.parent / name}" for name in files})
    made = make(spec(secret=secret), images(), site)
    held = cluster.fake.objects[path("v1", "secrets", NAMESPACE, "web-files")]["data"]
    assert {name: base64.b64decode(value) for name, value in held.items()} == files
    assert find(spec(secret=secret), images(), site).artifact == made


def test_d06_no_deploy_without_a_way_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    make(spec(), images(), site)
    monkeypatch.setattr("pipeline.deploy.rollback.is_gone", lambda *_: True)
    with pytest.raises(IntegrityError, match=r"its image reg\.test:5000/team/web@sha256:aaa"):
        make(spec(), images("b"), site)


def test_both_render_the_same(site: Site) -> None:
    from pipeline.deploy import manifest_files

    found = []
    for each in (spec("kubectl"), spec("kubecfg")):
        files = manifest_files.read(site.root, each)
        found.append(manifest_render.objects(each, manifest_render.wanted(each, images(), files, site), images(), files, site))
    assert found[0] == found[1]


def test_an_object_of_another_is_left_alone(site: Site, cluster: Cluster, tools: Tools) -> None:
    where = path("v1", "configmaps", NAMESPACE, "web")
    cluster.fake.put(where, {"metadata": {"name": "web"}, "data": {"theirs": "1"}})
    with pytest.raises(ConfigError, match="ConfigMap web is there already, and it was not made by this release") as caught:
        make(spec(), images(), site)
    assert "adopt: true" in caught.value.mend
    assert make(spec(adopt=True), images(), site).revision == 1
    cluster.fake.put(where, {"metadata": {"name": "web", "labels": {"app.kubernetes.io/instance": "other"}}})
    write(site.root, {**EXTRA, "metadata": {"name": "mine"}}, DEPLOYMENT)
    with pytest.raises(ConfigError, match="Deployment web is there already, and it belongs to release web"):
        make(dataclasses.replace(spec(), name="second"), images(), site)


def test_what_can_be_known_before_anything_is_built_is_told(site: Site, driver: str) -> None:
    check(spec(driver), site)
    with pytest.raises(ConfigError, match=r"values\.image: \{nope\} is not known"):
        check(spec(driver, values={"image": "{nope}"}), site)
    with pytest.raises(ConfigError, match="there is nothing at elsewhere"):
        check(spec(driver, manifests="elsewhere"), site)
    with pytest.raises(ConfigError, match=f"{driver}-0 cannot be run: it is not there"):
        check(spec(driver), dataclasses.replace(site, tools={driver: f"{driver}-0"}))
    with pytest.raises(ConfigError, match="no cluster 'other'"):
        check(dataclasses.replace(spec(driver), cluster="other"), site)


def test_the_look_loads_nothing_that_only_acts() -> None:
    acting = ["pipeline.deploy.lease", "pipeline.deploy.rollout", "pipeline.deploy.applied", "concurrent.futures", "kubernetes", "tenacity"]
    text = f"import sys, pipeline.deploy.kubectl, pipeline.deploy.kubecfg; print(sorted(set(sys.modules) & set({acting})))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]"
    for made in (kubectl.DRIVER, kubecfg.DRIVER):
        assert (made.takes.kind, made.gives.kind, made.back, made.undo) == ("images", "release", back, undo)


CADDY = """
apiVersion: v1
kind: ConfigMap
metadata: {name: caddy}
data:
  Caddyfile: |
    example.org {
      reverse_proxy {host}:{port}
      header X-Tag "{http.request.uri} {{placeholder}} ${tag}"
    }
  prompt: "\\e[0m\\r\\n"
  ready: "y"
  octal: "0o17"
"""


def test_a_caddyfile_in_a_manifest_is_left_alone(site: Site, tools: Tools) -> None:
    """Row 24 of the strangers: also beside a manifest in which words are filled in."""
    (site.root / "manifests/caddy.yaml").write_text(CADDY)
    check(spec(placeholders=("web.yaml",)), site)
    make(spec(placeholders=("web.yaml",)), images(), site)
    found = tools.get("configmaps", "caddy")
    assert found is not None
    assert found["data"] == {
        "Caddyfile": 'example.org {\n  reverse_proxy {host}:{port}\n  header X-Tag "{http.request.uri} {{placeholder}} ${tag}"\n}\n',
        "prompt": "\x1b[0m\r\n", "ready": "y", "octal": "0o17",
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"manifests/caddy\.yaml:6: \{host\} is not known") as told:
        check(spec(placeholders=("*",)), site)
    assert "a file that `placeholders` does not name" in told.value.mend


def test_a_word_of_ours_in_a_manifest_that_is_not_marked_is_told_by_the_plan(site: Site, events: list[Event], tools: Tools) -> None:
    with pytest.raises(
        ConfigError, match=r"manifests/web\.yaml:3: .*image is \{values\.image\}, and this file is applied as it is"
    ) as told:
        check(spec(placeholders=()), site)
    assert told.value.mend == "add `placeholders: [web.yaml]` to the deploy stage: then words are filled in in this file"
    (site.root / "manifests/web.yaml").write_text("a: 'v-{tag} of {host}'\nb: 1\nb: 2\n")
    with pytest.raises(ConfigError, match="holds something that is no object"):
        check(spec(placeholders=()), site)
    said = [event.text for event in events if event.what is What.WARN]
    assert [line.partition(" ")[2][:42] for line in said] == [
        "'b' stands here a second time, and what st",
        "a holds {tag}, which stays as it is: `plac",
    ]
    with pytest.raises(ConfigError, match=r"placeholders: there is no manifest wbe\.yaml; did you mean 'web\.yaml'"):
        check(spec(placeholders=("wbe.yaml",)), site)
    with pytest.raises(ConfigError, match=r"manifests/web\.yaml:1: \{host\} is not known"):
        check(spec(placeholders=("web.yaml",)), site)
    assert tools.revisions() == {}


def test_a_strangers_files_are_released_as_they_are(site: Site, tools: Tools) -> None:
    theirs = json.loads(json.dumps(DEPLOYMENT).replace("IMAGE", "theirs/web:latest"))
    marks = {"pod-security.kubernetes.io/warn": "baseline"}
    own = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": marks}}
    write(site.root, own, CONFIG, theirs)
    mine = Kubectl("lab", NAMESPACE, RELEASE, images=(Replaced("theirs/web"),), deadline=10.0)
    check(mine, site)
    made = make(mine, images(), site)
    assert find(mine, images(), site).artifact == made
    live_ = tools.cluster.fake.objects[WEB]
    assert [image for _, image in template_images(live_)] == [images().images[0].reference]
    space = tools.cluster.fake.objects[path("v1", "namespaces", name=NAMESPACE)]
    assert space["metadata"]["labels"] == marks
    make(mine, images("b"), site)
    with back(mine, "", False, site) as way:
        assert way.go is not None
        way.go()
    assert path("v1", "namespaces", name=NAMESPACE) in tools.cluster.fake.objects


def test_what_cannot_work_is_told_before_anything_is_built(site: Site) -> None:
    theirs = json.loads(json.dumps(DEPLOYMENT).replace("IMAGE", "theirs/web:latest"))
    write(site.root, CONFIG, theirs)
    with pytest.raises(ConfigError, match="no container has an image their/web"):
        check(Kubectl("lab", NAMESPACE, RELEASE, images=(Replaced("their/web"),)), site)
    write(site.root, CONFIG, theirs, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}})
    with pytest.raises(ConfigError, match="Namespace elsewhere is another namespace"):
        check(Kubectl("lab", NAMESPACE, RELEASE), site)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"values": {"image": "{wep.reference}"}}, "wep.reference"),
        ({"images": (Replaced("other/app"),)}, "no container has an image other/app"),
        ({"values": {"image": "somebody/else:1"}}, "is not used by any of the manifests"),
    ],
)
def test_what_is_wrong_with_images_is_said_before_they_are_built(wrong: dict[str, Any], said: str, site: Site, cluster: Cluster) -> None:
    with pytest.raises(ConfigError, match=said):
        rehearse(spec(**wrong), images(), site)
    rehearse(spec(), images(), site)
    assert cluster.fake.asked == []


def test_a_strangers_jsonnet_stays_as_it_is(site: Site, cluster: Cluster) -> None:
    theirs = spec("kubecfg", values={"image": "gcr.io/somebody/web:v5"}, images=(Replaced("gcr.io/somebody/web"),))
    made = make(theirs, images(), site)
    found = cluster.fake.objects[WEB]
    assert [image for _, image in template_images(found)] == [images().images[0].reference]
    assert find(theirs, images(), site).artifact == made
    with pytest.raises(ConfigError, match="no container has an image elsewhere/web"):
        rehearse(spec("kubecfg", images=(Replaced("elsewhere/web"),)), images(), site)


def test_a_release_of_other_peoples_images_alone(driver: str, site: Site, cluster: Cluster) -> None:
    nothing = dataclasses.replace(images(), images=())
    theirs = spec(driver, values={"image": "docker.io/library/nginx:1.27"})
    made = make(theirs, nothing, site)
    assert (made.images, find(theirs, nothing, site).artifact) == ((), made)
    newer = spec(driver, values={"image": "docker.io/library/nginx:1.28"})
    assert "values changed" in find(newer, nothing, site).why
    assert make(newer, nothing, site).revision == 2
    assert [image for _, image in template_images(cluster.fake.objects[WEB])] == ["docker.io/library/nginx:1.28"]
    running = live(newer, site)
    assert running is not None
    assert running.source.commit == "a" * 40
