"""What a workflow may do, and that it stays the same."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from pipeline.generate.github import path, render
from pipeline.generate.spec import Ci, CiImage, Workflow, workflow
from tests.generate.flows import double, single

ALL = [single(), double(), double(emulate=True)]


def read(flow: Workflow) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(render(flow), yaml.BaseLoader)  # noqa: S506  # plain strings: `on` stays a word
    return found


def steps(flow: Workflow) -> list[dict[str, Any]]:
    return [step for job in read(flow)["jobs"].values() for step in job["steps"]]


def step(flow: Workflow, job: str, action: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each["with"] for each in read(flow)["jobs"][job]["steps"] if each.get("uses", "").startswith(action))
    return found


@pytest.mark.parametrize("flow", ALL)
def test_it_is_the_same_each_time(flow: Workflow) -> None:
    assert render(flow) == render(flow)
    assert flow.source in render(flow).splitlines()[0]


@pytest.mark.parametrize("flow", ALL)
def test_every_action_is_pinned_to_a_commit_with_its_version(flow: Workflow) -> None:
    used = re.findall(r"uses: (.*)", render(flow))
    assert used
    assert [line for line in used if not re.fullmatch(r"[a-z-]+/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []


@pytest.mark.parametrize("flow", ALL)
def test_a_job_may_do_only_what_it_is_given(flow: Workflow) -> None:
    found = read(flow)
    assert found["permissions"] == {}
    for name, job in found["jobs"].items():
        wanted = {"contents": "read", "packages": "read" if name == "deploy" else "write"}
        assert job["permissions"] == wanted
        assert job["timeout-minutes"].isdigit()
    checkouts = [each for each in steps(flow) if each.get("uses", "").startswith("actions/checkout")]
    assert checkouts
    assert all(each["with"] == {"persist-credentials": "false"} for each in checkouts)


@pytest.mark.parametrize("flow", ALL)
def test_no_expression_stands_in_a_script(flow: Workflow) -> None:
    scripts = [each["run"] for each in steps(flow) if "run" in each]
    assert scripts
    assert [text for text in scripts if "${{" in text] == []


@pytest.mark.parametrize("flow", ALL)
def test_nothing_that_has_begun_is_cut_off_by_a_newer_run(flow: Workflow) -> None:
    found = read(flow)
    groups = [found["concurrency"], *(job["concurrency"] for job in found["jobs"].values() if "concurrency" in job)]
    assert all(group["cancel-in-progress"] == "false" for group in groups)
    assert found["concurrency"]["group"] == f"{flow.name}-${{{{ github.ref }}}}"


def test_one_image_for_one_platform_is_built_and_pushed_in_one_job() -> None:
    found = read(single())
    assert path(single()) == ".github/workflows/docker-publish.yml"
    assert found["on"] == {"push": {"branches": ["main"], "tags": ["**"]}, "workflow_dispatch": ""}
    assert list(found["jobs"]) == ["publish"]
    named = "github.ref == 'refs/heads/main' || github.ref_type == 'tag'"
    assert found["jobs"]["publish"]["if"] == f"{named} || github.event_name == 'workflow_dispatch' && github.ref_type == 'branch'"
    built = step(single(), "publish", "docker/build-push-action")
    assert built["push"] == "true"
    assert built["platforms"] == "linux/amd64"
    assert built["tags"] == "${{ steps.relay-meta.outputs.tags }}"
    assert built["build-args"] == "VERSION=1: 2 # 3\n"
    assert built["secrets"] == "npm=${{ secrets.NPM_TOKEN }}\n"
    assert (built["cache-from"], built["cache-to"]) == ("type=gha,scope=relay-amd64", "type=gha,mode=max,scope=relay-amd64")
    assert "file" not in built
    assert step(double(), "build-amd64", "docker/build-push-action")["file"] == "samples/Dockerfile.relay"
    assert (built["provenance"], built["sbom"]) == ("mode=max", "true")
    assert step(single(), "publish", "docker/login-action")["password"] == "${{ secrets.GHCR_PAT || secrets.GITHUB_TOKEN }}"


@pytest.mark.parametrize(
    ("tags", "every"),
    [
        (("branch", "sha"), True), (("commit",), True), (("raw:latest@main", "branch"), True), (("raw:x-{{sha}}", "sortable"), True),
        (("raw:latest", "branch"), False), (("branch@main", "sha:main-@main"), False), (("semver:{{version}}",), False), (("tag",), False),
    ],
)  # fmt: skip
def test_a_run_by_hand_publishes_every_branch_that_has_tags_of_its_own(tags: tuple[str, ...], every: bool) -> None:
    flow = workflow("web", "config/web.yml", Ci("web.yml", images={"web": CiImage("owner/web")}, tags=tags), None)
    assert ("workflow_dispatch" in read(flow)["jobs"]["publish"]["if"]) is every


def test_a_registry_with_accounts_of_its_own_gets_no_token_of_githubs() -> None:
    ci = Ci(
        "fade.yml", registry="docker.io", username="HUB_USER", token="HUB_TOKEN", images={"web": CiImage("owner/web")}, tags=("branch",)
    )
    flow = workflow("fade", "config/fade.yml", ci, None)
    ((name, job),) = read(flow)["jobs"].items()
    assert step(flow, name, "docker/login-action") == {
        "registry": "docker.io",
        "username": "${{ secrets.HUB_USER }}",
        "password": "${{ secrets.HUB_TOKEN }}",
    }
    assert job["permissions"] == {"contents": "read"}


def test_latest_is_for_releases_only() -> None:
    given = step(single(), "publish", "docker/metadata-action")
    assert given["flavor"] == "latest=auto"
    lines = given["tags"].splitlines()
    assert lines[0] == "type=ref,event=branch"
    assert "type=sha" in lines
    # its rule for git tags calls every one of them latest, a pre-release too
    assert not any(line.startswith("type=ref,event=tag") for line in lines)


def test_a_set_is_tagged_when_all_of_it_is_there() -> None:
    jobs = read(double())["jobs"]
    assert list(jobs) == ["build-amd64", "build-arm64", "publish", "deploy"]
    assert jobs["build-arm64"]["runs-on"] == "ubuntu-24.04-arm"
    for name in ("build-amd64", "build-arm64"):
        builds = [each["with"] for each in jobs[name]["steps"] if each.get("uses", "").startswith("docker/build-push-action")]
        assert len(builds) == 2
        assert all("push-by-digest=true" in each["outputs"] and "tags" not in each and "push" not in each for each in builds)
    assert jobs["publish"]["needs"] == ["build-amd64", "build-arm64"]
    merge = next(each for each in jobs["publish"]["steps"] if each.get("id") == "node")
    assert merge["env"]["DIGESTS"].split("\n") == [
        "${{ needs.build-amd64.outputs.node }}", "${{ needs.build-arm64.outputs.node }}", "",
    ]  # fmt: skip
    assert not any("qemu" in line for line in render(double()).splitlines())


def test_emulation_is_asked_for() -> None:
    jobs = read(double(emulate=True))["jobs"]
    assert list(jobs) == ["build", "publish", "deploy"]
    assert "setup-qemu-action" in jobs["build"]["steps"][1]["uses"]
    assert step(double(emulate=True), "build", "docker/build-push-action")["platforms"] == "linux/amd64,linux/arm64"


def test_a_deploy_comes_after_the_publish_and_is_never_cut_off() -> None:
    job = read(double())["jobs"]["deploy"]
    assert job["needs"] == ["publish"]
    assert job["environment"] == "staging"
    assert job["concurrency"]["cancel-in-progress"] == "false"
    last = job["steps"][-1]
    assert last["run"] == ".ci/inv deploy verify --blueprint tokenplace --env staging\n"
    assert last["env"] == {name: f"${{{{ secrets.{name} }}}}" for name in ("GITHUB_TOKEN", "KUBECONFIG_STAGING")}


def test_without_a_token_of_its_own_the_runs_token_is_used() -> None:
    assert step(double(), "publish", "docker/login-action")["password"] == "${{ secrets.GITHUB_TOKEN }}"
