"""`inv flux.init` and `inv flux.migrate` into a folder, as a person calls them; the cluster is not there, and that is told."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests import warm

ROOT = Path(__file__).parents[2]
DEPLOY = {
    "driver": "flux", "cluster": "lab", "remote": "gitops", "namespace": "web", "release": "web",
    "values": {"image": {"digest": "{digest}"}},
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text('from pipeline import collection\nns = collection("config")\n')
    (tmp_path / "chart").mkdir()
    (tmp_path / "chart/Chart.yaml").write_text("apiVersion: v2\nname: web\nversion: 0.1.0\n")
    config = tmp_path / "config"
    config.mkdir()
    build = {"driver": "tagged", "registry": "hub", "repository": "owner/web"}
    (config / "web.yml").write_text(
        json.dumps({"app": "web", "stages": {"build": build, "deploy": DEPLOY}, "gitops": {"chart_from": "chart"}})
    )
    (config / "bare.yml").write_text(json.dumps({"app": "bare", "stages": {"build": build}}))
    site = {"registries": {"hub": {"address": "docker.io"}}, "remotes": {"gitops": {"url": "git@git.invalid:owner/{app}.git"}},
            "clusters": {"lab": {"kubeconfig": "none"}}}  # fmt: skip
    (config / "site.yml").write_text(json.dumps(site))
    return tmp_path


def inv(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(root)}
    return warm.inv(words, root, env, 60)


def test_the_files_of_a_blueprint_into_a_folder(root: Path) -> None:
    checked = inv(root, "flux.init", "--blueprint", "web", "--folder", "clone", "--check")
    assert checked.returncode == 2, checked.stderr
    assert "clusters/production/web/release.yaml" in checked.stderr
    assert not (root / "clone").exists()
    made = inv(root, "flux.init", "--blueprint", "web", "--folder", "clone")
    assert made.returncode == 0, made.stderr
    assert "new      clusters/production/web/release.yaml" in made.stdout
    assert "the fields of the files are not checked" in made.stderr
    assert (root / "clone/helm/web/Chart.yaml").read_text().startswith("apiVersion: v2")
    policies = root / "clone/infrastructure/configs/network-policies.yaml"
    policies.write_text("# by hand\n")
    again = inv(root, "flux.init", "--blueprint", "web", "--folder", "clone")
    assert again.stdout.splitlines()[0] == "kept     infrastructure/configs/network-policies.yaml"
    assert "  -# by hand" in again.stdout
    assert again.stdout.splitlines()[-1] == "nothing to do"
    assert inv(root, "flux.init", "--blueprint", "web", "--folder", "clone", "--check").returncode == 0


def test_old_kinds_of_a_folder_are_migrated(root: Path) -> None:
    file = root / "clone/release.yaml"
    file.parent.mkdir()
    file.write_text("apiVersion: helm.toolkit.fluxcd.io/v2beta2\nkind: HelmRelease\n")
    checked = inv(root, "flux.migrate", "--blueprint", "web", "--folder", "clone", "--check")
    assert (checked.returncode, "release.yaml: not as it would be written" in checked.stderr) == (2, True)
    done = inv(root, "flux.migrate", "--blueprint", "web", "--folder", "clone", "--json")
    assert json.loads(done.stdout)["files"][0]["what"] == ["line 1: helm.toolkit.fluxcd.io/v2beta2 is v2 now"]
    assert file.read_text() == "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\n"
    assert inv(root, "flux.migrate", "--blueprint", "web", "--folder", "clone").stdout.strip() == "nothing to do"


def test_a_blueprint_that_flux_does_not_keep_is_refused(root: Path) -> None:
    for words in (["flux.init"], ["flux.bootstrap"], ["flux.migrate"], ["flux.status"]):
        done = inv(root, *words, "--blueprint", "bare")
        assert done.returncode == 2
        assert "blueprint bare has no release that Flux keeps" in done.stderr
