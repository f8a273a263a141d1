"""Another repository: the wheel installed into an environment of its own, a two-line tasks.py, its own config and application."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TASKS = 'from pipeline import collection\nns = collection("config")\n'
BLUEPRINT = """app: {app}
stages:
  sync: {{driver: git, host: builder}}
  build: {{driver: nix, host: builder}}
  push: {{driver: skopeo, registry: registry, repository: coulomb/{app}}}
  deploy:
    driver: helm
    cluster: cluster
    namespace: coulomb
    release: {app}
    chart: pipeline:chart
    secret:
      name: {app}
      data: {{IHP_SESSION_SECRET: "value:session_secret", DATABASE_URL: "value:database_url"}}
    values:
      image: {{repository: "{{repository}}", digest: "{{digest}}", tag: "{{tag}}"}}
      commit: "{{commit}}"
      host: {app}.lab.test
      secretName: {app}
      env: {{baseUrl: "http://{app}.lab.test"}}
  verify:
    driver: checks
    cluster: cluster
    host: {app}.lab.test
    checks:
      - path: /healthz
        json: {{status: ok, commit: "{{commit}}"}}
"""
FLAKE = """{
  outputs = { self }: {
    packages.x86_64-linux.docker = import ./app { system = "x86_64-linux"; };
  };
}
"""


@dataclass(frozen=True)
class Elsewhere:
    """A working copy `root` with application `app`, and the `python` of the environment that has the wheel."""

    app: str
    root: Path
    python: Path

    def run(self, *words: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        """A command of that environment, in the working copy, with nothing of ours in its environment."""
        kept = ("PATH", "HOME", "LANG", "TMPDIR", "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
        env = {name: os.environ[name] for name in kept if name in os.environ}
        return subprocess.run(
            [str(self.python), *words], cwd=self.root, env=env, capture_output=True, text=True, timeout=seconds, check=False
        )

    def inv(self, *words: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "invoke", *words, seconds=seconds)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def commit(self, message: str) -> None:
        identity = ("-c", "user.name=anna", "-c", "user.email=anna@example.org")
        for words in (("add", "--all"), (*identity, "commit", "--quiet", "--message", message)):
            subprocess.run(["git", "-C", str(self.root), *words], check=True)


def build_wheel(folder: Path) -> Path:
    """The wheel of this working copy, built with what is installed: no network."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, check=True, capture_output=True
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """A fresh environment with the wheel, its dependencies borrowed from ours; gives its python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def make(app: str, root: Path, python: Path, site: str) -> Elsewhere:
    """The repository, committed once. `site` is its site file."""
    made = Elsewhere(app, root, python)
    root.mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", str(root)], check=True)
    made.write("tasks.py", TASKS)
    made.write(f"config/{app}.yml", BLUEPRINT.format(app=app))
    made.write("config/site.yml", site)
    made.write("flake.nix", FLAKE)
    made.write(".gitignore", ".pipeline/\n__pycache__/\n")
    made.commit("Start")
    return made
