"""The blueprints are named wherever one is chosen, through the program that people type."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.menu import Choice, choices, rows
from tests import warm

ROOT = Path(__file__).parents[1]
WEB = "# The shop: here -> there.\napp: web\nenvironment: lab\nstages:\n  sync: {driver: git, host: builder}\n"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text('from pipeline import collection\nns = collection("config", blueprint="web")\n')
    (tmp_path / "config").mkdir()
    (tmp_path / "config/web.yml").write_text(WEB)
    for name in ("web.lab.yml", "web.production.yml", "site.yml"):
        (tmp_path / "config" / name).write_text("{}\n")
    (tmp_path / "config/relay.yml").write_text("app: relay\nstages:\n  sync: {driver: git, host: builder}\n")
    return tmp_path


def inv(folder: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    done = warm.inv(words, folder, environment, 60)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


def test_the_help_of_every_verb_names_them(copy: Path) -> None:
    for verb in ("release", "plan", "rollback", "demo"):
        assert "one of relay, web (usual)" in inv(copy, "--help", verb)


def test_the_list_of_tasks_names_them(copy: Path) -> None:
    assert "blueprints What can be released: relay, web (usual)." in inv(copy, "--list")


def test_they_are_named_from_any_folder_below(copy: Path) -> None:
    (copy / "deep/er").mkdir(parents=True)
    assert "one of relay, web (usual)" in inv(copy / "deep/er", "--help", "release")


def test_one_line_each_with_the_environments(copy: Path) -> None:
    said = inv(copy, "blueprints")
    assert said == "relay no environments web (usual) The shop: here -> there. --env lab (usual), production"
    found = json.loads(inv(copy, "blueprints", "--json"))["blueprints"]
    assert found[1] == {
        "name": "web", "environments": ["lab", "production"], "environment": "lab", "about": "The shop: here -> there.", "default": True,
    }  # fmt: skip


def test_a_broken_blueprint_and_none_at_all_are_no_reason_to_fail(copy: Path) -> None:
    (copy / "config/relay.yml").write_text("# Broken\n  : [\n")
    assert Choice("relay", (), "", "Broken") in choices(copy / "config")
    for file in (copy / "config").iterdir():
        file.unlink()
    assert inv(copy, "blueprints").startswith("none yet: write ")
    assert "config/<blueprint>.yml" in inv(copy, "--help", "release")


def test_nothing_stands_for_itself_where_no_blueprint_is_usual() -> None:
    found = [Choice("relay", ("lab",), "", "Here"), Choice("x", (), "", "")]
    assert rows(found, "") == ["relay  Here", "       --env lab", "x", "       no environments"]
