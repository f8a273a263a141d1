"""act in place of GitHub's runners: the workflow's own expressions and scripts, over the lab's BuildKit and registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.generate.github import path, render
from pipeline.generate.pins import PINS
from pipeline.generate.spec import Ci, CiImage, Workflow, workflow
from pipeline.lab import programs
from pipeline.stage import Site
from pipeline.tools.registry import client_of

ROOT = Path(__file__).parents[3]
ACTIONS = Path(__file__).parent


def run(argv: list[str], cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=200)


@dataclass(frozen=True)
class Runner:
    """act in place of GitHub: a git repository with a Dockerfile, and the lab in place of GHCR."""

    root: Path
    home: Path
    site: Site
    name: str

    @property
    def address(self) -> str:
        return self.site.registry("ghcr").address

    def flow(self, *, platforms: tuple[str, ...] = ("linux/amd64",), images: tuple[str, ...] = ("one",)) -> Workflow:
        made = {
            name: CiImage(f"{self.name}/{name}", "app", args={"NAME": name}, secrets={"seal": "env:SEAL"}, platforms=platforms)
            for name in images
        }
        ci = Ci("publish.yml", registry=self.address, git_tags=("**",), images=made, tags=("branch", "sha", "tag"))
        return workflow("app", "config/app.yml", ci, None)

    def git(self, *words: str) -> str:
        return run(["git", "-C", str(self.root), *words], self.root).stdout.strip()

    def run(
        self, flow: Workflow, ref: str = "refs/heads/main", password: str = "", event: str = "push", **env: str
    ) -> subprocess.CompletedProcess[str]:
        file = self.root / path(flow)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(render(flow))
        config = self.home / "buildkitd.toml"
        config.write_text(f'[registry."{self.address}"]\n  http = true\n')
        facts = self.home / "event.json"
        facts.write_text(json.dumps({"ref": ref}))
        secrets = self.home / "secrets"
        token = password or self.site.secrets.get(self.site.registry("ghcr").password).reveal()
        secrets.write_text(f"GHCR_PAT={token}\nGITHUB_TOKEN=not-the-one\nSEAL=a-seal-for-the-build\n")
        argv = [
            str(programs.ensure("act") / "act"),
            event,
            "--workflows",
            str(file),
            "--eventpath",
            str(facts),
            "--secret-file",
            str(secrets),
        ]
        argv += ["--platform", "ubuntu-24.04=-self-hosted", "--platform", "ubuntu-24.04-arm=-self-hosted", "--actor", "lab"]
        argv += [
            "--no-cache-server",
            "--concurrent-jobs",
            "1",
            "--pull=false",
            "--action-offline-mode",
            "--action-cache-path",
            str(self.home / "cache"),
        ]
        for action, (commit, _) in PINS.items():
            argv += ["--local-repository", f"{action}@{commit}={ACTIONS / action.partition('/')[2]}"]
        given = {
            "LAB_ROOT": str(ROOT),
            "LAB_PYTHON": sys.executable,
            "LAB_RULES": json.dumps(flow.rules),
            "LAB_BUILDKIT": self.site.builders["lab"].address,
            "LAB_BUILDKITD": str(config),
            "DOCKER_CONFIG": str(self.home / "docker"),
            "DOCKER_HOST": self.site.dockers["railiance01"].address,
            "BUILDX_BUILDER": "tools",
            **env,
        }
        for key, value in given.items():
            argv += ["--env", f"{key}={value}"]
        return run(argv, self.root, {"PATH": os.environ["PATH"], "HOME": str(self.home), **given})

    def tags(self, image: str) -> dict[str, str]:
        """Every tag of the image in the registry, and its digest."""
        client = client_of(self.site, "ghcr")
        repository = f"{self.name}/{image}"
        return {name: client.head(repository, name) or "" for name in client.tags(repository)}


def runner(folder: Path, site: Site) -> Runner:
    """A runner with a repository of one commit."""
    root, home = folder / "app", folder / "home"
    (root / "app").mkdir(parents=True)
    (home / "docker/cli-plugins").mkdir(parents=True)
    (home / "docker/cli-plugins/docker-buildx").symlink_to(site.tool("buildx"))
    name = f"ci-{os.urandom(4).hex()}"
    (root / "app/Dockerfile").write_text("FROM scratch\nARG NAME\nLABEL name=$NAME\nCOPY Dockerfile /\n")
    made = Runner(root, home, site, name)
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "one"]):
        made.git(*words)
    return made
