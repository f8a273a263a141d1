"""The other systems of this repository on the lab, each test with a working copy, images and a namespace of its own."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.plan import Blueprint, load
from pipeline.tools.registry import Client, client_of
from pipeline.yamlfile import Document
from tests.real.workingcopy import ROOT, WorkingCopy

IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".terraform*", "*.tfstate*")


@dataclass(frozen=True)
class System(WorkingCopy):
    """The working copy in `root` with its one blueprint; `name` is this run's own, for the namespace and in the images' repository."""

    name: str
    blueprint_name: str
    root: Path
    site: dict[str, Any]

    def blueprint(self, env: str = "lab") -> Blueprint:
        return load(self.root / "config", self.blueprint_name, env)

    def change(self, file: str, old: str, new: str) -> str:
        """Replace `old`, which has to stand in the file, and commit."""
        path = self.root / file
        text = path.read_text()
        assert old in text, f"{old!r} does not stand in {file}"
        path.write_text(text.replace(old, new))
        return self.commit(f"{old} becomes {new}")

    def overlay(self, env: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the overlay of an environment, where there is one."""
        path = self.root / "config" / f"{self.blueprint_name}.{env}.yml"
        data = yaml.safe_load(path.read_text()) if path.exists() else {}
        change(data)
        path.write_text(yaml.safe_dump(data, sort_keys=False))

    def move(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the site file, of which this working copy gets one of its own."""
        path = self.root / ".pipeline/lab/site.yml"
        data = yaml.safe_load(path.read_text())
        change(data)
        path.unlink()
        path.write_text(yaml.safe_dump(data, sort_keys=False))

    def json(self, *words: str, code: int = 0, **more: Any) -> dict[str, Any]:
        """What `inv … --json` prints, once it ended as it should."""
        done = self.inv(*words, "--json", **more)
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def kubectl(self, *words: str, check: bool = True) -> str:
        cluster = self.site["clusters"]["railiance01"]
        argv = [self.site["tools"]["kubectl"], "--kubeconfig", cluster["kubeconfig"], "--namespace", self.name, *words]
        return subprocess.run(argv, check=check, capture_output=True, text=True).stdout

    @contextlib.contextmanager
    def registry(self, name: str = "ghcr") -> Iterator[Client]:
        """A client of the lab's registry, whatever is wrong with the blueprint."""
        bare = Blueprint(self.blueprint_name, "lab", self.name, self.root, (), self.root / ".pipeline/lab/site.yml", Document({}, {}))
        with bare.site() as site:
            yield client_of(site, name)


@contextlib.contextmanager
def system(blueprint: str, root: Path, needs: tuple[str, ...], own: Callable[[dict[str, Any], str], None]) -> Iterator[System]:
    """A copy of the system's blueprint and of what it `needs`, with a namespace of this run's own; `own` is given the lab's overlay and
    this run's name, to name the repositories by it."""
    name = f"{blueprint}-{secrets.token_hex(3)}"
    for each in (*needs, ".gitignore"):
        source, target = ROOT / each, root / each
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target, ignore=IGNORED) if source.is_dir() else shutil.copy(source, target)
    (root / "config").mkdir()
    for file in (ROOT / "config").glob(f"{blueprint}*.yml"):
        shutil.copy(file, root / "config" / file.name)
    (root / "tasks.py").write_text('from pipeline import collection\n\nns = collection("config")\n')
    site_file = (ROOT / ".pipeline/lab/site.yml").resolve()
    (root / ".pipeline/lab").mkdir(parents=True)
    (root / ".pipeline/lab/site.yml").symlink_to(site_file)
    made = System(name, blueprint, root, yaml.safe_load(site_file.read_text()))
    if "ghcr" not in made.site["registries"] or not {"buildx", "kubecfg"} <= made.site["tools"].keys():
        pytest.fail("these tests need more parts of the lab: inv lab.up --with docker,hub,kubecfg", pytrace=False)

    made.overlay("lab", lambda data: own(data, name))
    made.git("init", "--quiet", "--initial-branch=main")
    try:
        yield made
    finally:
        made.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")
