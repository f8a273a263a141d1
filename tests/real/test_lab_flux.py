"""The lab's Flux and its name server: what is pushed to Gitea runs, a pod is found by name before it is ready."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.lab import dns, flux, gitea, layout, node
from pipeline.lab.layout import Lab
from pipeline.lab.machine import machines

pytestmark = pytest.mark.real

# the node's own busybox in a pod of the pause image: it asks for names, and says when the pod is ready
CHART = """apiVersion: v1
kind: Service
metadata: {name: nodes}
spec: {clusterIP: None, publishNotReadyAddresses: true, selector: {app: node}, ports: [{port: 9090}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: node}
spec:
  serviceName: nodes
  selector: {matchLabels: {app: node}}
  template:
    metadata: {labels: {app: node}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: node
        image: {{ .Values.image }}
        imagePullPolicy: Never
        readinessProbe: {periodSeconds: 1, exec: {command: [/busybox, test, -e, /ready]}}
        volumeMounts: [{name: busybox, mountPath: /busybox}]
      volumes: [{name: busybox, hostPath: {path: /bin/busybox, type: File}}]
"""
NAME = "node-0.nodes.{}.svc.cluster.local"


@pytest.fixture
def known(lab_site_file: Path) -> Lab:
    """The lab, with Flux. A test that needs it fails where it is not there."""
    found = layout.read(lab_site_file.resolve().parent)
    if found is None or not {"flux", "dns"} <= set((found.state / "parts").read_text().split()):
        pytest.fail("these tests need the lab's Flux: inv lab.up --with flux", pytrace=False)
    return found


@dataclass(frozen=True)
class Corner:
    """A namespace and a repository of the test's own."""

    lab: Lab
    name: str
    work: Path

    @property
    def pod(self) -> str:
        return NAME.format(self.name)

    def kubectl(self, *words: str, stdin: str = "", check: bool = True) -> str:
        argv = [self.lab.bin("kubectl"), "--kubeconfig", f"{self.lab.state}/kubeconfig", "--namespace", self.name, *words]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=120)
        assert not (check and done.returncode), done.stderr
        return done.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply", "--filename", "-", stdin=yaml.safe_dump_all(objects))

    def ready(self, kind: str) -> str:
        """What the object of that kind says of itself: True, False, Unknown or nothing, and why."""
        found = json.loads(self.kubectl("get", kind, "app", "--output", "json", check=False) or "{}")
        conditions = found.get("status", {}).get("conditions", [])
        return " ".join(f"{one['status']} {one['message']}" for one in conditions if one["type"] == "Ready")

    def lookup(self, name: str) -> str:
        """What a pod is answered that asks for `name`."""
        return self.kubectl("exec", "node-0", "--", "/busybox", "nslookup", "-type=a", name, check=False)

    def push(self, files: dict[str, str], url: str) -> str:
        """Push these files as a repository; its commit."""
        for name, text in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        ssh = f"ssh -F none -i {self.lab.state}/client_key -o IdentitiesOnly=yes -o UserKnownHostsFile={self.lab.state}/known_hosts"
        for words in (["init", "--quiet", "--initial-branch", "main"], ["add", "--all"], ["commit", "--quiet", "--message", "Begin"],
                      ["push", "--quiet", url, "main"], ["rev-parse", "HEAD"]):  # fmt: skip
            done = subprocess.run(
                ["git", "-C", str(self.work), "-c", "user.name=lab", "-c", "user.email=lab@lab.invalid", *words],
                env={**os.environ, "GIT_SSH_COMMAND": ssh}, capture_output=True, text=True, check=True,
            )  # fmt: skip
        return done.stdout.strip()


@pytest.fixture
def corner(known: Lab, tmp_path: Path) -> Iterator[Corner]:
    found = Corner(known, f"labflux-{secrets.token_hex(3)}", tmp_path / "work")
    found.kubectl("create", "namespace", found.name)
    yield found
    for kind in ("kustomization", "helmrelease", "gitrepository"):  # before the namespace, which would wait for them ever longer
        found.kubectl("delete", kind, "app", "--ignore-not-found", "--timeout=100s")
    found.kubectl("delete", "namespace", found.name, "--wait=false")
    gitea.ask(known, "DELETE", f"/repos/{layout.APP_OWNER}/{found.name}-gitops")


def until(found: Callable[[], bool], what: Callable[[], str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


def of(kind: str, version: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "app"}, "spec": spec}


@pytest.mark.alone
def test_a_repository_in_gitea_becomes_running_pods_that_are_found_by_name(corner: Corner, lab_site_file: Path) -> None:
    remote = yaml.safe_load(lab_site_file.read_text())["remotes"]["gitops"]
    url = remote["url"].format(app=corner.name)
    source = {"kind": "GitRepository", "name": "app"}
    release = of(
        "HelmRelease", "helm.toolkit.fluxcd.io/v2", interval="5m", timeout="2m", values={"image": node.PAUSE},
        chart={"spec": {"chart": "./chart", "sourceRef": source, "reconcileStrategy": "Revision"}},
    )  # fmt: skip
    release["metadata"]["namespace"] = corner.name
    commit = corner.push(
        {
            "chart/Chart.yaml": "apiVersion: v2\nname: app\nversion: 0.1.0\n", "chart/templates/all.yaml": CHART,
            "apps/release.yaml": yaml.safe_dump(release),
        },
        url,
    )  # fmt: skip
    files = {"identity": remote["identity_file"], "identity.pub": remote["identity_file"] + ".pub", "known_hosts": remote["known_hosts"]}
    login = {name: base64.b64encode(Path(file).read_bytes()).decode() for name, file in files.items()}
    corner.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "data": login},
        of("GitRepository", "source.toolkit.fluxcd.io/v1", interval="5m", url=url, ref={"branch": "main"}, secretRef={"name": "login"}),
        of("Kustomization", "kustomize.toolkit.fluxcd.io/v1", interval="5m", path="./apps", prune=True, sourceRef=source),
    )
    applied = f"True Applied revision: main@sha1:{commit}"
    until(lambda: corner.ready("kustomization") == applied, lambda: corner.ready("gitrepository") + corner.ready("kustomization"))
    until(lambda: "Address" in corner.lookup(corner.pod).partition("Name:")[2], lambda: corner.ready("helmrelease"))
    assert "True" not in corner.ready("helmrelease"), "it was found by name before it was ready"
    corner.kubectl("exec", "node-0", "--", "/busybox", "touch", "/ready")
    until(lambda: corner.ready("helmrelease").startswith("True"), lambda: corner.ready("helmrelease"))
    assert corner.kubectl("get", "pod", "node-0", "--output", "jsonpath={.status.podIP}") in corner.lookup(corner.pod)
    assert "NXDOMAIN" in corner.lookup(NAME.format("nowhere"))
    assert "NXDOMAIN" in corner.lookup("example.org")

    server = dns.service(corner.lab, machines(corner.lab)[2])
    server.stop()
    try:
        many = f"for one in {'1 ' * 10}; do /busybox timeout 1 /busybox nslookup -type=a {corner.pod} 2>&1 & done; wait"
        refused = corner.kubectl("exec", "node-0", "--", "/busybox", "sh", "-c", many)
    finally:
        dns.start(corner.lab, machines(corner.lab)[2])
    assert refused.count("Connection refused") == 10, "without a name server a lookup fails at once, each of many"


def test_every_controller_answers_and_their_definitions_lie_at_hand(known: Lab) -> None:
    assert {name: flux.healthy(known, name) for name in flux.HEALTH} == dict.fromkeys(flux.HEALTH, "")
    assert flux.defined(known) == ""
    kinds = {yaml.safe_load(file.read_text())["spec"]["names"]["kind"] for file in flux.crds(known).glob("*.yaml")}
    assert {"GitRepository", "OCIRepository", "HelmChart", "Kustomization", "HelmRelease", "ImageRepository", "ImagePolicy"} <= kinds


@pytest.mark.parametrize("read_only", [True, False])
def test_a_deploy_key_of_gitea_may_push_only_if_it_is_said_so(known: Lab, tmp_path: Path, read_only: bool) -> None:
    name = f"labflux-{secrets.token_hex(3)}"
    gitea.create_repository(known, name)
    try:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "deploy", "-f", str(tmp_path / "key")], check=True)
        body = {"title": "flux", "key": (tmp_path / "key.pub").read_text(), "read_only": read_only}
        assert gitea.ask(known, "POST", f"/repos/{layout.APP_OWNER}/{name}/keys", body)["read_only"] is read_only
        ssh = f"ssh -F none -i {tmp_path}/key -o IdentitiesOnly=yes -o UserKnownHostsFile={known.state}/known_hosts"
        git = ["git", "-C", str(tmp_path), "-c", "user.name=lab", "-c", "user.email=lab@lab.invalid"]
        subprocess.run([*git, "init", "--quiet", "--initial-branch", "main"], check=True)
        subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "Begin"], check=True)
        url = f"ssh://git@{known.host}:{known.git}/{layout.APP_OWNER}/{name}.git"
        pushed = subprocess.run(
            [*git, "push", "--quiet", url, "main"], env={**os.environ, "GIT_SSH_COMMAND": ssh}, capture_output=True, text=True, check=False
        )
        assert ("is not authorized to write" in pushed.stderr, pushed.returncode != 0) == (read_only, read_only)
    finally:
        gitea.ask(known, "DELETE", f"/repos/{layout.APP_OWNER}/{name}")
