"""`inv ci.generate`: the workflows of a folder of blueprints."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipeline.ci.workflows import wanted
from pipeline.errors import ConfigError
from pipeline.generate.files import differences
from tests import warm

ROOT = Path(__file__).parents[2]
BLUEPRINT = """
app: relay
stages: {}
ci:
  workflow: publish.yml
  tags: [branch, sha]
  images: {relay: {repository: owner/relay}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text('from pipeline import collection\nns = collection("config")\n')
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "relay.yml").write_text(BLUEPRINT)
    (folder / "other.yml").write_text("app: other\nstages: {}\n")
    return folder


def inv(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return warm.inv(words, config.parent, {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, 60)


def test_generate_writes_and_check_compares(config: Path) -> None:
    checked = inv(config, "ci.generate", "--check")
    assert checked.returncode == 2
    assert "publish.yml: not what the blueprint says" in checked.stderr
    assert not (config.parent / ".github").exists()
    made = inv(config, "ci.generate")
    assert (made.returncode, made.stdout) == (0, ".github/workflows/publish.yml\n")
    assert inv(config, "ci.generate", "--check").returncode == 0
    file = config.parent / ".github/workflows/publish.yml"
    file.write_text(file.read_text().replace("contents: read", "contents: write"))
    again = inv(config, "ci.generate", "--check")
    assert again.returncode == 2
    assert "-      contents: write" in again.stderr


def test_the_workflows_of_this_repository_are_as_its_blueprints_say() -> None:
    files = wanted(ROOT / "config")
    assert set(files) == {f".github/workflows/{name}.yml" for name in ("docker-publish", "relay-oci", "fade")}
    assert [each.lines() for each in differences(ROOT, files)] == []


def test_two_blueprints_do_not_write_one_file(config: Path) -> None:
    (config / "second.yml").write_text(BLUEPRINT)
    with pytest.raises(ConfigError, match="two blueprints write"):
        wanted(config)


def test_a_blueprint_without_a_workflow_says_so(config: Path) -> None:
    with pytest.raises(ConfigError, match=r"config/other\.yml says nothing"):
        wanted(config, "other")


def test_the_overlay_that_the_section_names_is_laid_over_and_no_other(config: Path) -> None:
    (config / "relay.lab.yml").write_text("ci: {images: {relay: {repository: lab/relay}}}\n")
    (config / "relay.production.yml").write_text("ci: {images: {relay: {repository: production/relay}}}\n")
    (config / "relay.yml").write_text(BLUEPRINT.replace("app:", "environment: lab\napp:"))
    assert "ghcr.io/owner/relay" in next(iter(wanted(config).values()))
    (config / "relay.yml").write_text(BLUEPRINT + "  overlay: production\n")
    assert "ghcr.io/production/relay" in next(iter(wanted(config).values()))


def test_a_mistake_is_told_with_its_line(config: Path) -> None:
    (config / "relay.yml").write_text(BLUEPRINT.replace("owner/relay", "Owner/Relay"))
    with pytest.raises(ConfigError, match=r"relay\.yml:7: ci\.images\.relay: repository: 'Owner/Relay'"):
        wanted(config)
