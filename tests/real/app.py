"""An application of a test's own on the lab: a working copy like this repository, released under another name."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.plan import Blueprint, load
from pipeline.report.status import gather
from tests.real.workingcopy import ROOT, WorkingCopy

COPIED = ("chart", "flake.nix", "pipeline/lab/probe", ".gitignore")


@dataclass(frozen=True)
class App(WorkingCopy):
    """The application `name`, its working copy in `root`, and the lab's site file as plain values."""

    name: str
    root: Path
    site: dict[str, Any]

    @property
    def blueprint(self) -> Blueprint:
        return load(self.root / "config", self.name, "lab")

    def change(self, text: str) -> str:
        """A change that gives another image: the version in its topmost layer, committed."""
        (self.root / "pipeline/lab/probe/version").write_text(text + "\n")
        return self.commit(f"Version {text}")

    def status(self) -> dict[str, Any]:
        """What `inv status --json` tells, by the same code in this process: many tests ask, and a process costs more than the answer."""
        with self.blueprint.site() as site:
            facts: dict[str, Any] = json.loads(json.dumps(gather(self.blueprint, site, whole=True)))
        assert facts["unasked"] is None, facts["unasked"]
        return facts

    def kubectl(self, *words: str, stdin: str = "") -> str:
        cluster = self.site["clusters"]["railiance01"]
        argv = [self.site["tools"]["kubectl"], "--kubeconfig", cluster["kubeconfig"], "--namespace", "coulomb", *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True, input=stdin).stdout

    def helm(self, *words: str) -> str:
        cluster = self.site["clusters"]["railiance01"]
        argv = [self.site["tools"]["helm"], "--kubeconfig", cluster["kubeconfig"], "--namespace", "coulomb", *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def application(name: str, root: Path) -> Iterator[App]:
    """The application, under a name of this run's own since git and the registry keep what they were given; its release is removed."""
    name = f"{name}-{secrets.token_hex(3)}"
    for each in COPIED:
        source, target = ROOT / each, root / each
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    (root / "config").mkdir()
    for file in ("ihp-railiance-probe.yml", "ihp-railiance-probe.lab.yml"):
        text = (ROOT / "config" / file).read_text().replace("probe.lab.test", f"{name}.lab.test")
        (root / "config" / file.replace("ihp-railiance-probe", name)).write_text(text.replace("ihp-railiance-probe", name))
    (root / "tasks.py").write_text('from pipeline import collection\n\nns = collection("config")\n')
    site_file = (ROOT / ".pipeline/lab/site.yml").resolve()
    (root / ".pipeline/lab").mkdir(parents=True)
    (root / ".pipeline/lab/site.yml").symlink_to(site_file)
    app = App(name, root, yaml.safe_load(site_file.read_text()))
    app.git("init", "--quiet", "--initial-branch=main")
    app.commit("Start")
    try:
        yield app
    finally:
        app.helm("uninstall", name, "--ignore-not-found", "--wait")
        app.kubectl("delete", "secret,lease", name, f"pipeline-{name}", "--ignore-not-found")
