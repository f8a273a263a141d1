"""System A on the lab, by `inv` alone: a git tag becomes an image with the right tags, on a cluster that Terraform gave, by kubecfg."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.systems import System, system

pytestmark = pytest.mark.real
SAMPLE = "pipeline/lab/samples/relay"
TERRAFORM = "terraform/rackspace-spot"


def own(data: dict[str, Any], name: str) -> None:
    """The lab's overlay under this run's own names."""
    data["stages"]["build"]["images"] = {"relay": {"repository": f"{name}/relay"}}
    data["stages"]["deploy"]["namespace"] = name


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, lab_site_file: Path) -> Iterator[System]:
    """The system, released once, of a commit that git tag v1.2.3 names."""
    with system("relay", tmp_path_factory.mktemp("relay"), (SAMPLE, TERRAFORM), own) as made:
        made.commit("Start")
        made.git("tag", "v1.2.3")
        first = made.inv("release")
        assert first.returncode == 0, first.stderr
        yield made


def checks(relay: System) -> dict[str, dict[str, Any]]:
    """The checks of `inv verify` by their names."""
    report = relay.json("verify")["records"][0]["artifact"]
    return {check["name"]: check for check in report["checks"]}


def test_a_release_has_its_version_and_latest_beside_the_branch_and_the_commit(relay: System) -> None:
    with relay.registry() as registry:
        repository, short = f"{relay.name}/relay", relay.git("rev-parse", "HEAD")[:7]
        names = {"v1.2.3", "latest", "main", f"sha-{short}"}
        assert names <= set(registry.tags(repository))
        assert len({registry.head(repository, name) for name in names}) == 1


def test_health_and_git_are_verified(relay: System) -> None:
    found = checks(relay)
    assert all(check["passed"] for check in found.values())
    health = next(check for name, check in found.items() if "/health" in name)
    assert relay.git("rev-parse", "HEAD") in health["evidence"]
    assert '"v1.2.3"' in health["evidence"]
    git = next(check for name, check in found.items() if "repo.git" in name)
    assert "refs/heads/main" in json.dumps(git)


def test_what_is_released_is_not_released_again(relay: System) -> None:
    before = relay.kubectl("get", "deployment", "relay", "--output", "jsonpath={.metadata.generation} {.metadata.resourceVersion}")
    records = relay.json("build", "deploy")["records"]
    assert {record["state"] for record in records} == {"found"}
    assert relay.kubectl("get", "deployment", "relay", "--output", "jsonpath={.metadata.generation} {.metadata.resourceVersion}") == before


def test_a_commit_that_no_git_tag_names_is_no_release(relay: System) -> None:
    with relay.registry() as registry:
        repository = f"{relay.name}/relay"
        latest = registry.head(repository, "latest")
        commit = relay.change(f"{SAMPLE}/repository.py", "The relay's own repository.", "The relay's own repository, changed.")
        out = relay.inv("release")
        assert out.returncode == 0, out.stderr
        assert registry.head(repository, "latest") == registry.head(repository, "v1.2.3") == latest
        assert registry.head(repository, "main") == registry.head(repository, f"sha-{commit[:7]}") != latest
