"""The generated workflows: read by actionlint, and their jobs run by act on the lab's BuildKit and registry.

act evaluates the workflow's own expressions and runs its own scripts. The actions that GitHub would fetch are replaced by those in
tests/real/actions, which do the same with the lab's tools.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.ci.package import look
from pipeline.ci.workflows import opened
from pipeline.errors import AuthError, BuildError, VerifyError
from pipeline.generate.github import render
from pipeline.generate.spec import CiDeploy, Workflow
from pipeline.lab import packages, programs
from pipeline.stage import Site
from pipeline.tools import gh
from pipeline.tools.registry import client_of
from tests import warm
from tests.ci.github import Github, Run, serving
from tests.generate import flows
from tests.real.actions.runner import ROOT, Runner, run
from tests.real.actions.runner import runner as made_runner

pytestmark = pytest.mark.real


@pytest.mark.parametrize("flow", [flows.single(), flows.double(), flows.double(emulate=True)], ids=["one", "set", "emulated"])
def test_actionlint_finds_nothing(flow: Workflow, tmp_path: Path) -> None:
    file = tmp_path / "made.yml"
    file.write_text(render(flow))
    program = programs.ensure("actionlint") / "actionlint"
    done = run([str(program), str(file)], tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    file.write_text(render(flow).replace("steps.relay.outputs", "steps.nobody.outputs", 1))
    assert '"nobody" is not defined' in run([str(program), str(file)], tmp_path).stdout


def test_actionlint_finds_nothing_in_this_repository() -> None:
    files = sorted(map(str, (ROOT / ".github/workflows").glob("*.yml")))
    assert len(files) == 3
    done = run([str(programs.ensure("actionlint") / "actionlint"), *files], ROOT)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture
def runner(lab: Site, tmp_path: Path) -> Runner:
    if "ghcr" not in lab.registries or "lab" not in lab.builders:
        pytest.fail("these tests need two parts more: inv lab.up --with docker,hub", pytrace=False)
    return made_runner(tmp_path, lab)


def test_a_push_to_main_is_built_pushed_and_tagged(runner: Runner) -> None:
    done = runner.run(runner.flow())
    assert done.returncode == 0, done.stdout + done.stderr
    found = runner.tags("one")
    assert set(found) == {"main", f"sha-{runner.git('rev-parse', 'HEAD')[:7]}"}
    assert len(set(found.values())) == 1
    assert next(iter(found.values())) in done.stdout
    assert "a-seal-for-the-build" not in done.stdout + done.stderr


@pytest.mark.parametrize(("tag", "others"), [("v1.2.3", {"latest"}), ("v1.3.0-rc.1", set()), ("nightly", set())])
def test_a_git_tag_names_the_image_and_only_a_release_is_latest(runner: Runner, tag: str, others: set[str]) -> None:
    runner.git("tag", tag)
    done = runner.run(runner.flow(), ref=f"refs/tags/{tag}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(runner.tags("one")) == {tag, f"sha-{runner.git('rev-parse', 'HEAD')[:7]}", *others}


def test_m01_a_set_for_two_platforms_is_tagged_when_all_of_it_is_there(runner: Runner) -> None:
    flow = runner.flow(platforms=("linux/amd64", "linux/arm64"), images=("one", "two"))
    done = runner.run(flow)
    assert done.returncode == 0, done.stdout + done.stderr
    for image in ("one", "two"):
        found = runner.tags(image)
        assert set(found) == {"main", f"sha-{runner.git('rev-parse', 'HEAD')[:7]}"}
        index = client_of(runner.site, "ghcr").manifest(f"{runner.name}/{image}", "main")
        assert index is not None
        platforms = [entry["platform"]["architecture"] for entry in json.loads(index.body)["manifests"]]
        assert sorted(set(platforms)) == ["amd64", "arm64", "unknown"]  # unknown are the attestations
    ended = gh.Run(1, runner.git("rev-parse", "HEAD"), "main", "push", "completed", "success", "", "", "publish", "")
    packages = look(flow, ended, runner.site)
    assert [package.name for package in packages] == ["one", "two"]
    assert all(package.platforms == ("linux/amd64", "linux/arm64") and package.moved == () for package in packages)


def test_m01_a_set_of_which_one_fails_gets_no_tag_at_all(runner: Runner) -> None:
    flow = runner.flow(images=("one", "two"))
    images = {**flow.images, "two": dataclasses.replace(flow.images["two"], dockerfile="Missing")}
    done = runner.run(dataclasses.replace(flow, images=images))
    assert done.returncode != 0
    assert "Missing" in done.stdout
    assert runner.tags("one") == runner.tags("two") == {}


def test_a_ref_that_is_not_named_is_published_by_hand_alone(runner: Runner) -> None:
    runner.git("switch", "-qc", "feature")
    done = runner.run(runner.flow(), ref="refs/heads/feature")
    assert done.returncode == 0
    assert runner.tags("one") == {}
    done = runner.run(runner.flow(), ref="refs/heads/feature", event="workflow_dispatch")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(runner.tags("one")) == {"feature", f"sha-{runner.git('rev-parse', 'HEAD')[:7]}"}


def test_a_deploy_comes_after_the_publish_with_its_secrets(runner: Runner) -> None:
    program = runner.root / ".ci/inv"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@" > "$LAB_SEEN"\ntest "$SEAL" = a-seal-for-the-build && test -n "$GITHUB_TOKEN"\n')
    program.chmod(0o755)
    for words in (["add", "."], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "two"]):
        runner.git(*words)
    flow = runner.flow()
    spec = CiDeploy("staging", secrets=("SEAL",))
    done = runner.run(dataclasses.replace(flow, ci=dataclasses.replace(flow.ci, deploy=spec)), LAB_SEEN=str(runner.home / "seen"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (runner.home / "seen").read_text() == "deploy verify --blueprint app --env staging\n"


def test_a_wrong_token_ends_the_job_at_the_login(runner: Runner) -> None:
    done = runner.run(runner.flow(), password="a-wrong-password")
    assert done.returncode != 0
    assert "Failure - Main Log in" in done.stdout
    assert "a-wrong-password" not in done.stdout + done.stderr
    assert runner.tags("one") == {}


@pytest.fixture
def service() -> Iterator[Github]:
    """GitHub's API for the real gh."""
    packages.ensure(frozenset({"ci"}), say=print, env=dict(os.environ))
    with serving(Github()) as made:
        yield made


def environment(runner: Runner, service: Github) -> dict[str, str]:
    """What `inv ci.watch` is called with: gh asks the service, everything else of the lab is asked directly."""
    lab = ",".join((runner.address.partition(":")[0], runner.site.dockers["railiance01"].host))
    return {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **service.env(str(runner.home)), "NO_PROXY": lab, "no_proxy": lab,
    }  # fmt: skip


def watch(runner: Runner, service: Github, *words: str) -> subprocess.CompletedProcess[str]:
    """`inv ci.watch` in the runner's repository, with a blueprint that publishes to the lab."""
    spec = runner.site.registry("ghcr")
    site = {"registries": {"ghcr": {"address": spec.address, "scheme": "http", "username": spec.username, "password": spec.password}}}
    ci = {
        "workflow": "docker-publish.yml", "repository": "github.localhost/owner/relay", "registry": spec.address,
        "tags": ["branch", "sha", "tag"], "git_tags": ["**"], "images": {"one": {"repository": f"{runner.name}/one"}},
    }  # fmt: skip
    folder = runner.root / "config"
    folder.mkdir(exist_ok=True)
    (folder / "site.yml").write_text(json.dumps(site))
    (folder / "app.yml").write_text(json.dumps({"app": "app", "stages": {}, "ci": ci}))
    (runner.root / "tasks.py").write_text('from pipeline import collection\nns = collection("config")\n')
    return warm.inv(("ci.watch", *words), runner.root, environment(runner, service), 200)


def test_a_run_is_followed_to_its_package(runner: Runner, service: Github) -> None:
    assert runner.run(runner.flow()).returncode == 0
    commit = runner.git("rev-parse", "HEAD")
    service.runs = [
        Run(40, "b" * 40, [("completed", "success", 5, "")]),
        Run(41, commit, [("queued", None, 0, ""), ("in_progress", None, 3, ""), ("completed", "success", 5, "")]),
    ]
    service.faults = [(502, {}, {"message": "Server Error"})]
    done = watch(runner, service)
    assert done.returncode == 0, done.stdout + done.stderr
    digest = runner.tags("one")["main"]
    assert done.stdout == f"{runner.address}/{runner.name}/one@{digest} main sha-{commit[:7]}\n"
    for told in (
        "GitHub could not be asked (HTTP 502",
        "it runs",
        "publish: Set up Buildx: success",
        "it ended: success",
        "linux/amd64",
    ):
        assert told in done.stderr
    again = watch(runner, service, "--run", "41", "--json")
    assert json.loads(again.stdout)["packages"][0]["reference"].endswith(digest)


def test_the_relay_is_published_by_its_own_workflow_watched_pulled_and_run(runner: Runner, service: Github) -> None:
    """System A up to the image: a git tag, the generated workflow, the package, `/health` and `git ls-remote` of what was published."""
    sample = "pipeline/lab/samples/relay"
    shutil.copytree(ROOT / sample, runner.root / sample, ignore=shutil.ignore_patterns("__pycache__"))
    (runner.root / "config").mkdir()
    data = yaml.safe_load((ROOT / "config/relay.yml").read_text())
    data["site"] = str(ROOT / ".pipeline/lab/site.yml")
    data["stages"]["build"]["images"]["relay"]["repository"] = f"{runner.name}/relay"
    data["ci"] |= {"registry": runner.address, "repository": "github.localhost/owner/relay"}
    data["ci"]["run"][0]["docker"] = "railiance01"
    (runner.root / "config/relay.yml").write_text(json.dumps(data))
    (runner.root / "tasks.py").write_text('from pipeline import collection\nns = collection("config")\n')
    for words in (["add", "."], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "two"], ["tag", "v1.2.3"]):
        runner.git(*words)
    flow, _ = opened(runner.root / "config", "relay")
    done = runner.run(flow, ref="refs/tags/v1.2.3")
    assert done.returncode == 0, done.stdout + done.stderr
    commit = runner.git("rev-parse", "HEAD")
    service.runs = [Run(44, commit, [("completed", "success", 5, "")], branch="v1.2.3")]
    seen = warm.inv(("ci.watch", "--json"), runner.root, environment(runner, service), 200)
    assert seen.returncode == 0, seen.stdout + seen.stderr
    found = json.loads(seen.stdout)
    assert set(found["packages"][0]["tags"]) == {"v1.2.3", "latest", f"sha-{commit[:7]}"}
    assert {check["name"]: check["passed"] for check in found["checks"]} == {
        "run relay": True,
        "run relay: GET /health through port:8088": True,
        "run relay: git /repo.git through port:9418": True,
    }


def test_a_run_that_fails_is_told_with_its_log(runner: Runner, service: Github) -> None:
    service.runs = [Run(42, runner.git("rev-parse", "HEAD"), [("completed", "failure", 5, "Build and push relay")])]
    done = watch(runner, service)
    assert done.returncode == BuildError.exit_code
    assert "failed in job publish, step 5: Build and push relay" in done.stderr
    assert "cause  error: denied: permission_denied" in done.stderr
    assert done.stdout == ""


def test_a_run_that_ended_well_and_published_nothing_is_told(runner: Runner, service: Github) -> None:
    service.runs = [Run(43, runner.git("rev-parse", "HEAD"), [("completed", "success", 5, "")])]
    done = watch(runner, service)
    assert done.returncode == VerifyError.exit_code
    assert "has no tag main" in done.stderr


def test_a_login_that_github_refuses_is_told(runner: Runner, service: Github, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.ci.github.TOKEN", "another")
    env = service.env
    monkeypatch.setattr(service, "env", lambda home: {**env(home), "GH_TOKEN": "wrong", "GH_ENTERPRISE_TOKEN": "wrong"})
    done = watch(runner, service)
    assert done.returncode == AuthError.exit_code
    assert "gh auth login" in done.stderr
