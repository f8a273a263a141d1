"""A GitOps repository from nothing, on the lab's Gitea and Flux: bootstrapped, filled, kept, migrated, and a chart from a registry."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import ConfigError
from pipeline.gitops import init, migrate, schemas
from pipeline.gitops.bootstrap import Done, bootstrap
from pipeline.gitops.forge import Gitea, open_forge
from pipeline.gitops.layout import chart_files, layout
from pipeline.gitops.place import Place as Gitops
from pipeline.gitops.place import of
from pipeline.gitops.spec import Forge
from pipeline.gitops.status import Row, gather
from pipeline.gitops.validate import check, findings
from pipeline.plan import load
from pipeline.stage import Site
from pipeline.tools import flux, unreleased, yamledit
from pipeline.tools.flux import Ref
from pipeline.tools.gitops import Repository
from pipeline.tools.gitops_message import Message
from pipeline.tools.kube import Kube, connect, path
from tests.real.workingcopy import ROOT, WorkingCopy

pytestmark = pytest.mark.real

CLUSTER = "railiance01"
CHART = {
    "chart/Chart.yaml": "apiVersion: v2\nname: web\nversion: 0.1.0\n",
    "chart/values.yaml": "text: none\nimage: {}\n",
    "chart/templates/text.yaml": (
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n"
        "data:\n  text: {{ .Values.text | quote }}\n  digest: {{ .Values.image.digest | quote }}\n"
    ),
}
VALUES = {"image": {"repository": "{repository}", "digest": "{digest}"}, "commit": "{commit}"}


@dataclass(frozen=True)
class Place(WorkingCopy):
    """A working copy whose blueprint has a repository, a namespace for Flux's objects and one for the release, all its own."""

    name: str
    root: Path
    site: Site
    kube: Kube
    flux: dict[str, Any] = field(default_factory=dict)

    @property
    def system(self) -> str:
        return f"{self.name}-flux"

    @property
    def helm(self) -> Ref:
        return Ref("HelmRelease", self.name, "web")

    @property
    def repository(self) -> Repository:
        return Repository(self.site, "gitops")

    def write(self, **gitops: Any) -> None:
        deploy = {"driver": "flux", "cluster": CLUSTER, "remote": "gitops", "namespace": self.name, "release": "web", "system": self.system,
                  "path": "clusters/test", "values": VALUES, "deadline": 60}  # fmt: skip
        build = {"driver": "tagged", "registry": "coulombcore", "repository": "coulomb/web"}
        section = {"chart": "helm/web", "chart_from": "chart", "forge": {"kind": "gitea", "registry": "coulombcore"}, **gitops}
        section = {key: value for key, value in section.items() if value is not None}
        blueprint = {"app": self.name, "site": ".pipeline/lab/site.yml", "stages": {"build": build, "deploy": deploy}, "gitops": section}
        (self.root / "config").mkdir(exist_ok=True)
        (self.root / "config/app.yml").write_text(yaml.safe_dump(blueprint, sort_keys=False))

    def ran(self, *words: str, code: int = 0) -> dict[str, Any]:
        """What `inv … --json` prints."""
        done = self.inv(*words, "--json")
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout) if done.stdout else {"error": done.stderr}

    def place(self) -> Gitops:
        blueprint = load(self.root / "config", "app")
        return of(blueprint.name, blueprint.app, blueprint.plan, blueprint.gitops)

    def bootstrapped(self) -> Done:
        return bootstrap(self.place(), self.site, None)

    def laid(self) -> dict[str, str]:
        """What was done to each file."""
        place, known = self.place(), schemas.of_cluster(self.kube)
        return {each.path: each.state for each in init.publish(place, self.site, lambda files: check(files, place, known)).verdicts}

    def edit(self, change: Callable[[str], str], file: str) -> str:
        """Commit a change of a file as a person would."""
        return self.repository.publish(lambda head: {file: change(head.need(file).decode()).encode()}, Message("By hand")).commit

    def forge(self) -> Gitea:
        found = open_forge(Forge("gitea", registry="coulombcore"), self.repository.url, self.site)
        assert isinstance(found, Gitea)
        return found

    def rows(self) -> dict[str, Row]:
        blueprint = load(self.root / "config", "app")
        return {
            f"{row.kind} {row.name}": row for row in gather(of(blueprint.name, blueprint.app, blueprint.plan, blueprint.gitops), self.kube)
        }

    def until(self, held: Callable[[], Any], seconds: float = 30.0) -> Any:
        end = time.monotonic() + seconds
        while not (found := held()):
            assert time.monotonic() < end, self.rows()
            time.sleep(0.25)
        return found

    def poke(self) -> None:
        """Have Flux look now, first at the repository and then at what lies there."""
        head = self.repository.look()
        source = Ref("GitRepository", self.system, "flux-system")
        flux.poke(self.kube, source, f"{time.time():.6f}")
        self.until(lambda: (found := flux.read(self.kube, source)) and found.commit == head.commit)
        for name in ("flux-system", "infrastructure"):
            ref = Ref("Kustomization", self.system, name)
            flux.poke(self.kube, ref, f"{time.time():.6f}")
            self.until(partial(self._applied, ref, head.commit))

    def _applied(self, ref: Ref, commit: str) -> bool:
        found = flux.read(self.kube, ref)
        return found is not None and found.settled and found.commit == commit


@pytest.fixture
def place(lab: Site, tmp_path: Path) -> Iterator[Place]:
    if "gitops" not in lab.remotes:
        pytest.fail("these tests need Flux on the lab: inv lab.up --with docker,hub,flux", pytrace=False)
    name = f"init-{secrets.token_hex(3)}"
    for file, text in CHART.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    (tmp_path / ".pipeline/lab").mkdir(parents=True)
    (tmp_path / ".pipeline/lab/site.yml").symlink_to((ROOT / ".pipeline/lab/site.yml").resolve())
    (tmp_path / ".gitignore").write_text(".pipeline/\n")
    (tmp_path / "tasks.py").write_text('from pipeline import collection\n\nns = collection("config")\n')
    bare = Place(name, tmp_path, lab, connect(lab, CLUSTER))
    bare.write()
    bare.git("init", "--quiet", "--initial-branch=main")
    bare.commit("The application")
    with load(tmp_path / "config", "app").site() as site:
        made = Place(name, tmp_path, site, connect(site, CLUSTER))
        try:
            yield made
        finally:
            _gone(made)


def _gone(made: Place) -> None:
    """In the order that leaves no finalizer behind, and the repository last."""
    appliers = [Ref("Kustomization", made.system, name) for name in ("flux-system", "infrastructure")]
    for ref in (*appliers, made.helm):
        with contextlib.suppress(Exception):  # whatever state the test left it in
            made.kube.merge(ref.path, {"spec": {"suspend": True}, "metadata": {"finalizers": None}}, "tests")
        made.kube.delete(ref.path)
    for namespace in (made.name, made.system):
        made.kube.delete(path("v1", "namespaces", name=namespace))
    forge = made.forge()
    forge._ask("DELETE", forge._path())


def test_from_nothing_to_a_repository_that_flux_follows_and_a_first_release(place: Place) -> None:
    done = place.ran("flux.bootstrap")["bootstrap"]
    assert len(done["commits"]) == 1  # the lab's Flux is there already: its components are not this repository's
    assert done["revision"] == f"main@sha1:{done['commits'][0]}"
    [key] = place.forge().known()
    assert (key.read_only, key.title) == (True, f"flux {place.system} clusters/test")
    assert done["public"].startswith(key.key)
    held = place.kube.get(path("v1", "secrets", place.system, "flux-system"))
    assert held is not None
    assert set(held["data"]) == {"identity", "identity.pub", "known_hosts"}
    assert base64.b64decode(held["data"]["known_hosts"]).decode().splitlines()[0].startswith("[")

    again = place.bootstrapped()
    assert (again.commits, again.public, again.revision) == ((), done["public"], done["revision"])

    made = place.ran("flux.init")
    assert {each["state"] for each in made["files"]} == {"new"}
    place.poke()
    rows = place.until(lambda: (rows := place.rows()) and rows["Kustomization infrastructure"].state == "ready" and rows)
    assert {name: row.state for name, row in rows.items()} == {
        "GitRepository flux-system": "ready", "Kustomization flux-system": "ready", "Kustomization infrastructure": "ready",
        "HelmRelease web": "waiting",
    }  # fmt: skip
    assert [row["mend"] for row in place.ran("flux.status")["flux"]] == ["", "", "", "inv release"]
    assert place.kube.get(path("v1", "configmaps", place.name, "web")) is None
    policies = place.kube.list(path("networking.k8s.io/v1", "networkpolicies", place.name))["items"]
    assert {each["metadata"]["name"] for each in policies} == {"closed", "inside-and-ingress"}

    assert set(place.laid().values()) == {"same"}

    lines: dict[tuple[str, ...], yamledit.Scalar] = {("spec", "values", "image", "digest"): "sha256:" + "1" * 64, **unreleased.START}
    release = "clusters/test/web/release.yaml"
    place.edit(lambda text: yamledit.edit(text, yamledit.Selector("HelmRelease", "web", place.name), lines, release), release)
    place.poke()
    config = place.until(lambda: place.kube.get(path("v1", "configmaps", place.name, "web")))
    assert config["data"] == {"text": "none", "digest": "sha256:" + "1" * 64}

    place.edit(lambda text: text.replace("    {}", "    text: by a person"), "clusters/test/web/values.yaml")
    place.poke()
    place.until(lambda: (place.kube.get(path("v1", "configmaps", place.name, "web")) or {})["data"]["text"] == "by a person")
    assert set(place.laid().values()) == {"same"}


def test_killed_anywhere_the_same_command_goes_on(place: Place) -> None:
    """The repository, the commit, the Secret, the deploy key, the two objects: each is there once in the end."""
    for _ in range(9):
        done = place.inv("flux.bootstrap", env={"FAILPOINT": "gitops.made:1:kill"})
        if done.returncode != -9:
            break
    assert done.returncode == 0, done.stderr
    place.repository.look()
    assert [entry.subject for entry in place.repository.history("", 10)] == ["Add Flux sync manifests"]
    [key] = place.forge().known()
    assert key.key in done.stdout
    assert place.rows()["Kustomization flux-system"].state == "ready"


def test_a_forge_that_refuses_first_and_the_components_of_a_file(place: Place, tmp_path: Path) -> None:
    place.write(forge={"kind": "gitea", "api": f"http://{place.site.registries['coulombcore'].address}", "token": "env:NOBODY"})
    refused = place.inv("flux.bootstrap", env={"NOBODY": "not-a-token-of-anybody"})
    assert refused.returncode == 11, refused.stderr
    assert "not-a-token" not in refused.stderr
    place.write()
    group = f"{place.name}.example.org"
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    }  # fmt: skip
    labels = {"app.kubernetes.io/version": "v2.7.3"}
    own = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place.system, "labels": labels}}
    install = tmp_path / "install.yaml"
    install.write_text(yaml.safe_dump_all([own, definition]))
    try:
        done = place.ran("flux.bootstrap", "--components", str(install))["bootstrap"]
        place.repository.look()
        subjects = [entry.subject for entry in place.repository.history("", 10)]
        assert subjects == ["Add Flux sync manifests", "Add Flux v2.7.3 component manifests"]
        assert done["commits"][::-1] == [entry.commit for entry in place.repository.history("", 10)]
        kept = place.kube.get(path("apiextensions.k8s.io/v1", "customresourcedefinitions", name=f"things.{group}"))
        assert kept is not None
        assert kept["metadata"]["labels"]["kustomize.toolkit.fluxcd.io/name"] == "flux-system"  # Flux keeps itself from here on
        assert place.bootstrapped().commits == ()
        applier = Ref("Kustomization", place.system, "flux-system")
        place.kube.delete(applier.path)  # with all that it made: but a definition would take everybody's objects along
        place.until(lambda: place.kube.get(applier.path) is None)
        assert place.kube.get(Ref("GitRepository", place.system, "flux-system").path) is None
        for where in (
            path("apiextensions.k8s.io/v1", "customresourcedefinitions", name=f"things.{group}"),
            path("v1", "namespaces", name=place.system),
        ):
            there = place.kube.get(where)
            assert there is not None
            assert "deletionTimestamp" not in there["metadata"]
    finally:
        place.kube.delete(path("apiextensions.k8s.io/v1", "customresourcedefinitions", name=f"things.{group}"))


def test_what_people_changed_is_kept_and_the_chart_follows_the_working_copy(place: Place) -> None:
    place.forge().create()
    place.laid()
    policies, infrastructure = "infrastructure/configs/network-policies.yaml", "clusters/test/infrastructure.yaml"
    mine = place.edit(lambda text: text.replace("name: closed", "name: mine"), policies)
    (place.root / "chart/values.yaml").write_text("text: newer\nimage: {}\n")
    checked = place.inv("flux.init", "--check")
    assert checked.returncode == 2, checked.stderr
    assert "helm/web/values.yaml: not as it would be written" in checked.stderr
    assert place.repository.look().commit == mine
    found = {each["path"]: each for each in place.ran("flux.init")["files"]}
    assert {name for name, each in found.items() if each["state"] == "changed"} == {"helm/web/values.yaml"}
    assert found[policies]["state"] == "kept"
    assert "-  name: mine" in found[policies]["diff"]
    head = place.repository.look()
    assert b"name: mine" in head.need(policies)
    assert head.need("helm/web/values.yaml") == b"text: newer\nimage: {}\n"
    place.edit(lambda _text: "kind: Kustomization\nspec: [", infrastructure)
    (place.root / "chart/values.yaml").write_text("text: newest\n")
    with pytest.raises(ConfigError, match=f"^{infrastructure}:2: this is not YAML"):
        place.laid()


def test_old_kinds_are_refused_and_migrated(place: Place) -> None:
    place.forge().create()
    place.laid()
    release = "clusters/test/web/release.yaml"
    old = "      chart: ./helm/web\n      valuesFile: values.yaml # the plan's\n"
    place.edit(
        lambda text: text.replace("fluxcd.io/v2\n", "fluxcd.io/v2beta2 # the plan's\n").replace("      chart: ./helm/web\n", old), release
    )
    before = place.repository.look().need(release).decode()
    (place.root / "chart/values.yaml").write_text("text: newer\n")
    refused = place.inv("flux.init")
    assert refused.returncode == 2
    assert f"{release}:4: helm.toolkit.fluxcd.io/v2beta2 goes away with a later Flux" in refused.stderr
    assert "inv flux.migrate" in refused.stderr
    done = place.ran("flux.migrate")
    after = place.repository.look().need(release).decode()
    assert [each["path"] for each in done["files"]] == [release]
    changed = {new for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new}
    assert changed == {"apiVersion: helm.toolkit.fluxcd.io/v2 # the plan's", "      valuesFiles: [values.yaml] # the plan's"}
    assert migrate.publish(place.place(), place.site, schemas.of_cluster(place.kube), write=True) == migrate.Outcome(())
    assert place.laid()["helm/web/values.yaml"] == "changed"


def test_a_chart_from_a_registry(place: Place, tmp_path: Path) -> None:
    helm = place.site.tool("helm")
    subprocess.run([helm, "package", str(place.root / "chart"), "--destination", str(tmp_path)], check=True, capture_output=True)
    registry = place.site.registries["ghcr"]
    where = f"oci://{registry.address}/lab/charts-{place.name}"
    password = place.site.secrets.get(registry.password).reveal()
    home = {"HELM_CONFIG_HOME": str(tmp_path / "helm"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    login = [helm, "registry", "login", registry.address, "--username", registry.username, "--password-stdin", "--plain-http"]
    subprocess.run(login, input=password.encode(), check=True, capture_output=True, env=home)
    pushed = subprocess.run(
        [helm, "push", str(tmp_path / "web-0.1.0.tgz"), where, "--plain-http"], check=True, capture_output=True, text=True, env=home
    )
    digest = next(word for word in (pushed.stdout + pushed.stderr).split() if word.startswith("sha256:"))
    place.write(chart=f"oci://ghcr/lab/charts-{place.name}/web", version=f"0.1.0@{digest}", chart_from=None, chart_secret="chart-login")
    place.bootstrapped()
    place.laid()
    place.poke()
    source = Ref("OCIRepository", place.system, "web")
    state = place.until(lambda: (found := flux.read(place.kube, source)) and found.ready.status == "True" and found.revision and found)
    assert state.revision.endswith(digest)
    release = "clusters/test/web/release.yaml"
    lines: dict[tuple[str, ...], yamledit.Scalar] = {("spec", "values", "image", "digest"): "sha256:" + "2" * 64, **unreleased.START}
    place.edit(lambda text: yamledit.edit(text, yamledit.Selector("HelmRelease", "web", place.name), lines, release), release)
    place.poke()
    config = place.until(lambda: place.kube.get(path("v1", "configmaps", place.name, "web")))
    assert config["data"]["digest"] == "sha256:" + "2" * 64


def test_what_is_generated_is_what_the_cluster_takes(place: Place) -> None:
    """The schemas are the cluster's own, and the server itself says the same."""
    known = schemas.of_cluster(place.kube)
    assert known.versions("helm.toolkit.fluxcd.io", "HelmRelease")[0] == "v2"
    files = layout(place.place(), place.site.registries, chart_files(place.root, place.place())).files
    assert list(findings(files, place.place(), known)) == []
    place.kube.create(path("v1", "namespaces"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place.name}})
    release = yaml.safe_load(files["clusters/test/web/release.yaml"])
    taken = place.kube.apply(place.helm.path, release, trial=True)
    assert taken["spec"]["upgrade"]["remediation"] == {"retries": 0, "remediateLastFailure": False}
