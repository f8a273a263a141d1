"""`python -m pipeline init` as people call it: without a tasks.py, with somebody's own, in a pipe, on a terminal, without writing."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.init.shapes import CHART, DEPLOYMENT, DOCKERFILE, ROOT, VALUES, Repository, call, repository

FILES = {"Dockerfile": DOCKERFILE, "main.py": "", "chart/Chart.yaml": CHART.format(name="chart"), "chart/values.yaml": VALUES}
TWO = {**FILES, "k8s/a.yaml": DEPLOYMENT.format(name="a", image="acme/shop:1")}


def test_without_a_tasks_file_it_is_told_what_to_do(tmp_path: Path) -> None:
    assert "python -m pipeline init" in call(repository(tmp_path / "r", FILES), "plan", code=2).stderr


def test_the_first_hour(tmp_path: Path) -> None:
    made = repository(tmp_path / "r", FILES)
    said = call(made, "init").stdout
    assert "config/shop.yml" in said
    assert "fill in what stands in <> in config/site.yml" in said
    assert "inv doctor" in said
    refused = call(made, "plan", code=2).stderr
    assert "config/site.yml:8: clusters.main.kubeconfig is not filled in yet" in refused
    assert call(made, "doctor", code=2).stderr == refused
    assert "nothing to do" in call(made, "init").stdout


def test_a_look_writes_nothing(tmp_path: Path) -> None:
    made = repository(tmp_path / "r", FILES)
    shown = call(made, "init", "--dry-run").stdout
    assert "chart: chart" in shown
    assert "to be written" in shown
    assert call(made, "--dry", "init").stdout == shown
    assert made.git("status", "--short", "--untracked-files=all") == ""


def test_json_is_json(tmp_path: Path) -> None:
    found = json.loads(call(repository(tmp_path / "r", FILES), "init", "--json").stdout)
    assert found["files"]["config/shop.yml"] == "written"


@pytest.mark.parametrize("words", [("--deploy", "nowhere"), ("--build", "None"), ("--app", "No Name"), ("--site", "none.yml")])
def test_what_is_not_there_is_refused_and_nothing_written(words: tuple[str, str], tmp_path: Path) -> None:
    made = repository(tmp_path / "r", FILES)
    assert words[1] in call(made, "init", *words, code=2).stderr
    assert made.git("status", "--short", "--untracked-files=all") == ""


def test_somebody_elses_tasks_file_is_not_even_run(tmp_path: Path) -> None:
    made = repository(tmp_path / "r", {**FILES, "tasks.py": "raise SystemExit('it ran')\n"})
    assert "tasks.py is yours and stays" in call(made, "init").stdout


def test_outside_of_git_it_is_told(tmp_path: Path) -> None:
    call(Repository(tmp_path), "init", code=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("typed", "manifests"), [("2\n", "k8s"), ("\n", ""), ("9\nx\n2\n", "k8s")])
def test_a_terminal_is_asked_and_the_answer_is_kept(typed: str, manifests: str, tmp_path: Path) -> None:
    made = repository(tmp_path / "r", TWO)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "init"],
        cwd=made.root, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.write(ours, typed.encode())
    _, asked = process.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, asked
    assert "2  manifests k8s" in asked
    assert made.stages["deploy"].get("manifests", "") == manifests
    made.commit()
    assert "nothing to do" in call(made, "init").stdout


def test_in_a_pipe_nobody_is_asked_and_the_other_stands_as_a_comment(tmp_path: Path) -> None:
    made = repository(tmp_path / "r", TWO)
    call(made, "init")
    assert "# not deployed: manifests k8s" in made.text("config/shop.yml")
