"""A working copy with the relay's Terraform module, the lab's OpenTofu and the tests' own provider: its cloud is a folder."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.events import Event
from pipeline.lab import programs
from pipeline.plan import Blueprint, load
from pipeline.provision.root import Root
from pipeline.stage import Site
from tests import warm

ROOT = Path(__file__).parents[2]
SPOT = programs.Recipe("spot", 30, folder=str(ROOT / "tests" / "spot"))
TOKEN = "sesame-" + "7f3c9a1b5d"  # what the cloud lets in
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
BLUEPRINT = """\
app: relay
environment: lab
site: config/site.yml
stages:
  sync: {driver: git, host: nowhere}
infra:
  folder: terraform/rackspace-spot
  credentials: {RXTSPOT_TOKEN_FILE: "file:rackspace_token"}
  variables: {cloudspace_name: relay-lab, token_file: ""}
"""


@dataclass
class Cloud:
    """The copy at `root`, and the folder that is the cloud."""

    root: Path
    folder: Path
    events: list[Event]

    @property
    def blueprint(self) -> Blueprint:
        return load(self.root / "config", "relay", "lab")

    @property
    def module(self) -> Path:
        return self.root / "terraform" / "rackspace-spot"

    @property
    def home(self) -> Path:
        return self.root / ".pipeline" / "infra" / "relay.lab"

    def site(self) -> Site:
        return self.blueprint.site(self.events.append)

    def at(self, site: Site) -> Root:
        root = self.blueprint.infra_root(site)
        assert root is not None
        return root

    def fails(self, **faults: str) -> None:
        """What the provider is to do wrong: create_spot_cloudspace="503"; nothing mends it."""
        calls = {name.replace("_", " ", 1): fault for name, fault in faults.items()}
        (self.folder / "faults.json").write_text(json.dumps(calls))

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def world(self) -> dict[str, Any]:
        path = self.folder / "world.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"cloudspaces": {}, "nodepools": {}}
        return found

    def change(self, **changes: dict[str, Any]) -> None:
        """Change the cloud behind Terraform's back."""
        (self.folder / "world.json").write_text(json.dumps({**self.world, **changes}))

    def inv(self, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return warm.inv(words, self.root, {**os.environ, **(env or {})}, 120)

    def start(self, *words: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "invoke", *words]
        return subprocess.Popen(
            argv, cwd=self.root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )  # fmt: skip

    def said(self) -> str:
        return "\n".join(event.text for event in self.events)


def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """The copy, the cloud and the environment in which both are found. Builds OpenTofu and the provider where that was never done.

    PIPELINE_TEST_TERRAFORM names another tool to try the same with.
    """
    tofu = os.environ.get("PIPELINE_TEST_TERRAFORM") or programs.ensure("tofu") / "tofu"
    provider = programs.ensure(SPOT) / "spot"
    for registry in ("registry.opentofu.org", "registry.terraform.io"):
        folder = tmp_path / "mirror" / registry / "rackerlabs" / "spot" / "0.1.4" / f"linux_{MACHINES[platform.machine()]}"
        folder.mkdir(parents=True)
        (folder / "terraform-provider-spot_v0.1.4").symlink_to(provider)
    settings = tmp_path / "tofu.rc"
    settings.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{tmp_path / "mirror"}"\n  }}\n}}\n')
    folder, root = tmp_path / "cloud", tmp_path / "copy"
    folder.mkdir()
    (folder / "token").write_text(TOKEN)
    (folder / "kubeconfig").write_text("apiVersion: v1\nkind: Config\nusers: []\n")
    shutil.copytree(ROOT / "terraform", root / "terraform")
    (root / "config").mkdir()
    (root / "config" / "relay.yml").write_text(BLUEPRINT)
    (root / "config" / "relay.lab.yml").write_text("{}\n")
    (root / "config" / "site.yml").write_text(f"tools: {{terraform: {tofu}}}\nclusters:\n  spot: {{kubeconfig: 'output:kubeconfig'}}\n")
    (root / "tasks.py").write_text("from pipeline import collection\n\nns = collection('config')\n")
    (root / "rackspace_token").write_text(TOKEN + "\n")
    (root / "rackspace_token").chmod(0o600)
    for name in [name for name in os.environ if name.startswith(("TF_", "RXTSPOT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(settings))
    monkeypatch.setenv("PIPELINE_TEST_SPOT", str(folder))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "tmp").mkdir()
    return Cloud(root, folder, [])
