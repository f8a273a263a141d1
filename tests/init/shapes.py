"""Small repositories as people have them, one for each shape that `inv init` knows, and what it makes of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.init.decide import Given
from pipeline.init.run import Done, first

ROOT = Path(__file__).parents[2]
DOCKERFILE = "FROM scratch\nCOPY main.py /\n"
CHART = "apiVersion: v2\nname: {name}\nversion: 0.1.0\nappVersion: 1.16.0\n"
VALUES = 'replicaCount: 1\nimage:\n  repository: nginx\n  pullPolicy: IfNotPresent\n  tag: ""\ningress: {enabled: false}\n'
DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
        - name: {name}
          image: {image}
          readinessProbe: {{httpGet: {{path: /healthz, port: 80}}}}
"""
SITE = """registries:
  ghcr: {address: ghcr.io}
  inner: {address: "10.0.0.9:5000", scheme: http}
  hub: {address: docker.io}
clusters:
  prod: {kubeconfig: kubeconfig}
hosts:
  big: {address: 10.0.0.8}
builders:
  kit: {address: docker}
"""


@dataclass(frozen=True)
class Repository:
    """A working copy in `root`."""

    root: Path

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=anna", "-c", "user.email=anna@example.org")
        return subprocess.run(["git", "-C", str(self.root), *identity, *words], check=True, capture_output=True, text=True).stdout

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "x")

    def init(self, **given: Any) -> Done:
        return first(self.root, Given(**given), None, dry=False)

    @property
    def blueprint(self) -> dict[str, Any]:
        (path,) = [each for each in (self.root / "config").glob("*.yml") if each.name != "site.yml" and not each.name.startswith(".")]
        found: dict[str, Any] = yaml.safe_load(path.read_text())
        return found

    @property
    def stages(self) -> dict[str, Any]:
        found: dict[str, Any] = self.blueprint["stages"]
        return found

    def text(self, name: str) -> str:
        return (self.root / name).read_text()


def repository(root: Path, files: Mapping[str, str], remote: str = "git@github.com:Acme/Shop.git") -> Repository:
    """A working copy with these files, committed."""
    root.mkdir(parents=True, exist_ok=True)
    made = Repository(root)
    made.git("init", "--quiet", "--initial-branch=main")
    if remote:
        made.git("remote", "add", "origin", remote)
    made.write(files)
    made.commit()
    return made


def call(made: Repository, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """`python -m pipeline` with these words in the repository, in a pipe; it ends with `code`, and never in a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *words],
        cwd=made.root, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done
