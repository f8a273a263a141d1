"""The generated workflows: read by actionlint, and their jobs run by act on the lab's BuildKit and registry.

act evaluates the workflow's own expressions and runs its own scripts. The actions that GitHub would fetch are replaced by those in
tests/real/actions, which do the same with the lab's tools.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.generate.github import path, render
from pipeline.generate.pins import PINS
from pipeline.generate.spec import Ci, CiImage, Workflow, workflow
from pipeline.lab import programs
from pipeline.stage import Site
from pipeline.tools.registry import client_of
from tests.generate import flows

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
ACTIONS = Path(__file__).parent / "actions"


def run(argv: list[str], cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=200)


@pytest.mark.parametrize("flow", [flows.single(), flows.double(), flows.double(emulate=True)], ids=["one", "set", "emulated"])
def test_actionlint_finds_nothing(flow: Workflow, tmp_path: Path) -> None:
    file = tmp_path / "made.yml"
    file.write_text(render(flow))
    program = programs.ensure("actionlint") / "actionlint"
    done = run([str(program), str(file)], tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    file.write_text(render(flow).replace("steps.relay.outputs", "steps.nobody.outputs", 1))
    assert '"nobody" is not defined' in run([str(program), str(file)], tmp_path).stdout


@dataclasses.dataclass(frozen=True)
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

    def run(self, flow: Workflow, ref: str = "refs/heads/main", password: str = "") -> subprocess.CompletedProcess[str]:
        file = self.root / path(flow)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(render(flow))
        config = self.home / "buildkitd.toml"
        config.write_text(f'[registry."{self.address}"]\n  http = true\n')
        event = self.home / "event.json"
        event.write_text(json.dumps({"ref": ref}))
        secrets = self.home / "secrets"
        token = password or self.site.secrets.get(self.site.registry("ghcr").password).reveal()
        secrets.write_text(f"GHCR_PAT={token}\nGITHUB_TOKEN=not-the-one\nSEAL=a-seal-for-the-build\n")
        argv = [
            str(programs.ensure("act") / "act"),
            "push",
            "--workflows",
            str(file),
            "--eventpath",
            str(event),
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
        }
        for key, value in given.items():
            argv += ["--env", f"{key}={value}"]
        return run(argv, self.root, {"PATH": os.environ["PATH"], "HOME": str(self.home), **given})


@pytest.fixture
def runner(lab_site_file: Path, tmp_path: Path, lab: Site) -> Runner:
    if "ghcr" not in lab.registries or "lab" not in lab.builders:
        pytest.fail("these tests need two parts more: inv lab.up --with docker,hub", pytrace=False)
    root, home = tmp_path / "app", tmp_path / "home"
    (root / "app").mkdir(parents=True)
    (home / "docker/cli-plugins").mkdir(parents=True)
    (home / "docker/cli-plugins/docker-buildx").symlink_to(lab.tool("buildx"))
    name = f"ci-{os.urandom(4).hex()}"
    (root / "app/Dockerfile").write_text("FROM scratch\nARG NAME\nLABEL name=$NAME\nCOPY Dockerfile /\n")
    made = Runner(root, home, lab, name)
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "one"]):
        made.git(*words)
    return made


def tags(runner: Runner, image: str) -> dict[str, str]:
    """Every tag of the image in the registry, and its digest."""
    client = client_of(runner.site, "ghcr")
    repository = f"{runner.name}/{image}"
    return {name: client.head(repository, name) or "" for name in client.tags(repository)}


def test_a_push_to_main_is_built_pushed_and_tagged(runner: Runner) -> None:
    done = runner.run(runner.flow())
    assert done.returncode == 0, done.stdout + done.stderr
    found = tags(runner, "one")
    assert set(found) == {"main", f"sha-{runner.git('rev-parse', 'HEAD')[:7]}"}
    assert len(set(found.values())) == 1
    assert next(iter(found.values())) in done.stdout
    assert "a-seal-for-the-build" not in done.stdout + done.stderr


@pytest.mark.parametrize(("tag", "others"), [("v1.2.3", {"latest"}), ("v1.3.0-rc.1", set()), ("nightly", set())])
def test_a_git_tag_names_the_image_and_only_a_release_is_latest(runner: Runner, tag: str, others: set[str]) -> None:
    runner.git("tag", tag)
    done = runner.run(runner.flow(), ref=f"refs/tags/{tag}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(tags(runner, "one")) == {tag, f"sha-{runner.git('rev-parse', 'HEAD')[:7]}", *others}


def test_m01_a_set_for_two_platforms_is_tagged_when_all_of_it_is_there(runner: Runner) -> None:
    flow = runner.flow(platforms=("linux/amd64", "linux/arm64"), images=("one", "two"))
    done = runner.run(flow)
    assert done.returncode == 0, done.stdout + done.stderr
    for image in ("one", "two"):
        found = tags(runner, image)
        assert set(found) == {"main", f"sha-{runner.git('rev-parse', 'HEAD')[:7]}"}
        index = client_of(runner.site, "ghcr").manifest(f"{runner.name}/{image}", "main")
        assert index is not None
        platforms = [entry["platform"]["architecture"] for entry in json.loads(index.body)["manifests"]]
        assert sorted(set(platforms)) == ["amd64", "arm64", "unknown"]  # unknown are the attestations


def test_m01_a_set_of_which_one_fails_gets_no_tag_at_all(runner: Runner) -> None:
    flow = runner.flow(images=("one", "two"))
    images = {**flow.images, "two": dataclasses.replace(flow.images["two"], dockerfile="Missing")}
    done = runner.run(dataclasses.replace(flow, images=images))
    assert done.returncode != 0
    assert "Missing" in done.stdout
    assert tags(runner, "one") == tags(runner, "two") == {}


def test_a_ref_that_is_not_named_publishes_nothing(runner: Runner) -> None:
    runner.git("switch", "-qc", "feature")
    done = runner.run(runner.flow(), ref="refs/heads/feature")
    assert done.returncode == 0
    assert tags(runner, "one") == {}


def test_a_wrong_token_ends_the_job_at_the_login(runner: Runner) -> None:
    done = runner.run(runner.flow(), password="a-wrong-password")
    assert done.returncode != 0
    assert "Failure - Main Log in" in done.stdout
    assert "a-wrong-password" not in done.stdout + done.stderr
    assert tags(runner, "one") == {}
