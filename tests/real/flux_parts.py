"""What the tests on the lab's Flux are made of: a repository in its Gitea and Flux's three objects, in a namespace of each test's own."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.deploy.flux_follow import Failure, Settled, Target, follow
from pipeline.stage import Site
from pipeline.tools.kube import Kube, connect, path

CLUSTER = "railiance01"
CHART = """apiVersion: v2
name: web
version: 0.1.0
"""
TEMPLATE = """apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
  labels: {app.kubernetes.io/instance: {{ .Release.Name }}}
data:
  text: {{ required "text has to be given" .Values.text | quote }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  labels: &labels {app.kubernetes.io/instance: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: *labels}
  template:
    metadata: {labels: *labels}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: app, image: {{ .Values.image | quote }}}]
"""
SCHEMA = '{"type": "object", "properties": {"replicas": {"type": "integer"}, "text": {"type": "string"}}}\n'
DEFAULTS = "image: none.invalid/web\nreplicas: 0\n"


@dataclass
class Flow:
    """A repository with a chart and a HelmRelease, and Flux's objects that follow it, all in `namespace`. `work` is its working copy."""

    site: Site
    kube: Kube
    namespace: str
    work: Path
    url: str
    lines: list[str] = field(default_factory=list)

    @property
    def target(self) -> Target:
        return Target(self.namespace, "fade", "fade", self.namespace, "web")

    def git(self, *words: str, check: bool = True) -> str:
        remote = self.site.remotes["gitops"]
        ssh = f"ssh -F none -i {remote.identity_file} -o IdentitiesOnly=yes -o UserKnownHostsFile={remote.known_hosts} -o BatchMode=yes"
        env = {**os.environ, "GIT_SSH_COMMAND": ssh, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        argv = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-C", str(self.work), *words]
        return subprocess.run(argv, check=check, capture_output=True, text=True, env=env).stdout.strip()

    def commit(self, files: Mapping[str, str], *, push: bool = True) -> str:
        """The files as they are given, committed; gives the commit."""
        for name, text in files.items():
            file = self.work / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "a change")
        if push:
            self.push()
        return self.git("rev-parse", "HEAD")

    def restore(self) -> None:
        """Forget what a test before left behind: the next commit begins with the files of the first one, and nothing is suspended."""
        first = self.git("rev-list", "--max-parents=0", "HEAD")
        self.git("read-tree", "--reset", "-u", first)
        for ref in self.target.all:
            if (self.kube.get(ref.path) or {"spec": {}})["spec"].get("suspend"):
                self.patch(ref.kind, {"suspend": False})
        self.lines.clear()

    def push(self) -> None:
        self.git("push", "--quiet", "--force", "origin", "HEAD:refs/heads/main")

    def set(self, values: Mapping[str, Any], *, push: bool = True) -> str:
        """Commit a release with these values."""
        return self.commit({"clusters/release.yaml": self.release(values)}, push=push)

    def release(self, values: Mapping[str, Any], **spec: Any) -> str:
        chart = {"chart": "./helm/web", "reconcileStrategy": "Revision", "interval": "10m",
                 "sourceRef": {"kind": "GitRepository", "name": "fade", "namespace": self.namespace}}  # fmt: skip
        once = {"remediation": {"retries": 0}}
        usual = {"interval": "10m", "timeout": "60s", "chart": {"spec": chart}, "install": once, "upgrade": once, "values": dict(values)}
        meta = {"name": "web", "namespace": self.namespace}
        return yaml.safe_dump(
            {"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": meta, "spec": {**usual, **spec}}
        )

    def make(self, kind: str, name: str, spec: Mapping[str, Any]) -> None:
        version, plural = {"GitRepository": ("source.toolkit.fluxcd.io/v1", "gitrepositories"),
                           "Kustomization": ("kustomize.toolkit.fluxcd.io/v1", "kustomizations")}[kind]  # fmt: skip
        meta = {"name": name, "namespace": self.namespace}
        self.kube.create(path(version, plural, self.namespace), {"apiVersion": version, "kind": kind, "metadata": meta, "spec": dict(spec)})

    def patch(self, kind: str, spec: Mapping[str, Any]) -> None:
        """Change the spec of one of the three, as somebody with kubectl would."""
        ref = next(each for each in self.target.all if each.kind == kind)
        self.kube.merge(ref.path, {"spec": dict(spec)}, "somebody")

    def is_ancestor(self, old: str, new: str) -> bool | None:
        if self.git("cat-file", "-t", new, check=False) != "commit":
            return None
        argv = ["git", "-C", str(self.work), "merge-base", "--is-ancestor", old, new]
        return subprocess.run(argv, check=False, capture_output=True).returncode == 0

    def author(self, commit: str) -> str:
        return self.git("show", "--no-patch", "--format=%an <%ae>", commit, check=False)

    def follow(
        self, commit: str, values: Mapping[str, Any], deadline: float = 120.0, check: Callable[[], None] = lambda: None, **more: Any
    ) -> Failure | Settled:
        return follow(
            self.kube, self.site.clock, self.target, commit, self.is_ancestor, deadline=deadline, tell=self.lines.append, check=check,
            values=values, author=self.author, **more,
        )  # fmt: skip

    def settled(self, commit: str, values: Mapping[str, Any]) -> Settled:
        found = self.follow(commit, values)
        assert isinstance(found, Settled), (found, self.lines)
        return found


@contextlib.contextmanager
def flow(lab: Site, folder: Path, address: str = "") -> Iterator[Flow]:
    """Everything made, a first release of `text: one` committed and not followed yet; all of it goes afterwards.

    `address` is where Flux finds the git server, where that is not the server's own.
    """
    if "gitops" not in lab.remotes:
        pytest.fail("these tests need Flux on the lab: inv lab.up --with docker,hub,flux", pytrace=False)
    kube = connect(lab, CLUSTER)
    name = f"follow-{secrets.token_hex(3)}"
    remote = lab.remotes["gitops"]
    url = remote.url.replace("{app}", name)
    host = url.removeprefix("ssh://git@").partition("/")[0]
    made = Flow(lab, kube, name, folder / name, url.replace(host, address or host))
    made.work.mkdir()
    made.git("init", "--quiet", "--initial-branch=main")
    made.git("remote", "add", "origin", url)
    chart = {"helm/web/Chart.yaml": CHART, "helm/web/templates/web.yaml": TEMPLATE, "helm/web/values.schema.json": SCHEMA,
             "helm/web/values.yaml": DEFAULTS, "clusters/release.yaml": made.release({"text": "one"})}  # fmt: skip
    made.commit(chart)
    kube.create(path("v1", "namespaces"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        known = Path(remote.known_hosts).read_text()
        where, port = host.rsplit(":", 1)
        named = known.replace(f"[{where}]:{port} ", "[{}]:{} ".format(*address.rsplit(":", 1))) if address else known
        login = {"identity": Path(remote.identity_file).read_bytes(), "known_hosts": named.encode()}
        data = {key: base64.b64encode(value).decode() for key, value in login.items()}
        kube.create(path("v1", "secrets", name), {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "data": data})
        every = {"interval": "10m", "timeout": "20s"}
        made.make("GitRepository", "fade", {**every, "url": made.url, "ref": {"branch": "main"}, "secretRef": {"name": "login"}})
        source = {"sourceRef": {"kind": "GitRepository", "name": "fade"}, "path": "./clusters", "prune": True}
        made.make("Kustomization", "fade", {**every, "timeout": "60s", "retryInterval": "10m", **source})
        yield made
    finally:
        _gone(made)


def _gone(made: Flow) -> None:
    """Take it away in the order that leaves no finalizer behind: Flux's objects first, the namespace last."""
    helm, applier = made.target.helm, made.target.applier
    for ref in (applier, helm):
        with contextlib.suppress(Exception):  # whatever state the test left it in
            made.kube.merge(ref.path, {"spec": {"suspend": True}, "metadata": {"finalizers": None}}, "tests")
        made.kube.delete(ref.path)
    made.kube.delete(path("v1", "namespaces", name=made.namespace))
