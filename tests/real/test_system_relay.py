"""System A on the lab, by `inv` alone: a git tag becomes an image with the right tags, on a cluster that Terraform gave, by kubecfg."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.lab import programs
from pipeline.tools import named
from tests.real import terraform_parts
from tests.real.systems import System, system
from tests.real.terraform_parts import Cloud

pytestmark = pytest.mark.real
SAMPLE = "pipeline/lab/samples/relay"
TERRAFORM = "terraform/rackspace-spot"


def own(data: dict[str, Any], name: str) -> None:
    """The lab's overlay under this run's own names, with the cluster that Terraform gives in place of the lab's."""
    data["infra"] = {
        "folder": TERRAFORM,
        "credentials": {"RXTSPOT_TOKEN_FILE": "file:rackspace_token"},
        "variables": {"cloudspace_name": name},
    }
    data["stages"]["build"]["images"] = {"relay": {"repository": f"{name}/relay"}}
    data["stages"]["deploy"] |= {"namespace": name, "cluster": "spot"}
    data["stages"]["verify"]["cluster"] = "spot"


def short_lived(made: System) -> str:
    """A kubeconfig as Rackspace Spot gives one: of the lab's cluster, with a token that ends within the hour."""
    made.kubectl("create", "serviceaccount", made.name, "--namespace", "default")
    made.kubectl("create", "clusterrolebinding", made.name, "--clusterrole=cluster-admin", f"--serviceaccount=default:{made.name}")
    token = made.kubectl("create", "token", made.name, "--namespace", "default", "--duration", "1h").strip()
    config = yaml.safe_load(Path(made.site["clusters"]["railiance01"]["kubeconfig"]).read_text())
    config["users"] = [{"name": "ngpc-user", "user": {"token": token}}]
    config["contexts"] = [{"name": "spot", "context": {"cluster": config["clusters"][0]["name"], "user": "ngpc-user"}}]
    return yaml.safe_dump({**config, "current-context": "spot"})


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud that is a folder, with the provider and the OpenTofu that reach it in the environment."""
    with pytest.MonkeyPatch.context() as environment:
        yield terraform_parts.make(tmp_path_factory.mktemp("cloud"), environment)


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, lab_site_file: Path, cloud: Cloud) -> Iterator[System]:
    """The system, released once, of a commit that git tag v1.2.3 names, to a cluster that was not there before."""

    def move(site: dict[str, Any]) -> None:
        site["clusters"]["spot"] = {**site["clusters"]["railiance01"], "kubeconfig": "output:kubeconfig", "context": ""}
        site["tools"]["terraform"] = str(programs.ensure("tofu") / "tofu")

    with system("relay", tmp_path_factory.mktemp("relay"), (SAMPLE, TERRAFORM), own) as made:
        try:
            (cloud.folder / "kubeconfig").write_text(short_lived(made))
            made.move(move)
            token = made.root / "rackspace_token"
            token.write_text(terraform_parts.TOKEN + "\n")
            token.chmod(0o600)
            made.commit("Start")
            early = made.inv("release")
            assert early.returncode == 2, early.stderr
            assert "inv infra.plan" in early.stderr, "there is no cluster yet, and what to do about it is told before anything is built"
            for task in ("infra.plan", "infra.apply"):
                done = made.inv(task)
                assert done.returncode == 0, done.stderr
            made.commit("The providers as they were chosen")  # .terraform.lock.hcl
            made.git("tag", "v1.2.3")
            first = made.inv("release")
            assert first.returncode == 0, first.stderr
            yield made
        finally:
            made.kubectl("delete", "clusterrolebinding", made.name, "--ignore-not-found")
            made.kubectl("delete", "serviceaccount", made.name, "--namespace", "default", "--ignore-not-found")


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


def test_the_clusters_token_is_nowhere_in_the_working_copy(relay: System, cloud: Cloud) -> None:
    token = yaml.safe_load((cloud.folder / "kubeconfig").read_text())["users"][0]["user"]["token"].encode()
    files = [path for path in relay.root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 20
    assert [str(path) for path in files if token in path.read_bytes()] == []
    assert relay.git("ls-files", "rackspace_token") == ""
    shown = relay.inv("infra.output")
    assert "kubeconfig          [sensitive]" in shown.stdout
    assert token.decode() not in shown.stdout + shown.stderr


def test_what_terraform_gave_is_not_made_again(relay: System, cloud: Cloud) -> None:
    out = relay.inv("infra.plan")
    assert out.returncode == 0, out.stderr
    assert "nothing to do" in out.stdout
    assert cloud.calls.count("create spot_cloudspace") == 1


def test_a_commit_that_becomes_a_release_later_keeps_its_image_and_gets_the_version(relay: System) -> None:
    with relay.registry() as registry:
        repository = f"{relay.name}/relay"
        before = named.image_of(registry, repository, registry.head(repository, "main") or "")
        relay.git("tag", "v1.3.0")
        out = relay.inv("release")
        assert out.returncode == 0, out.stderr
        released = registry.head(repository, "v1.3.0")
        assert released
        assert registry.head(repository, "latest") == released
        assert named.image_of(registry, repository, released) == before
    health = next(check for name, check in checks(relay).items() if "/health" in name)
    assert '"v1.3.0"' in health["evidence"]
