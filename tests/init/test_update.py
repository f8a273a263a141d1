"""A second `inv init`, and `inv init --update`: edits stay, what is new comes in, and where both meet nothing is written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import pipeline
from pipeline.errors import ConfigError
from pipeline.init import write
from pipeline.init.decide import Given
from pipeline.init.run import Done, first, update
from tests.init.shapes import CHART, DOCKERFILE, SITE, VALUES, Repository, repository

FILES = {"Dockerfile": DOCKERFILE, "main.py": "", "chart/Chart.yaml": CHART.format(name="chart"), "chart/values.yaml": VALUES}
BLUEPRINT = "config/shop.yml"


def again(made: Repository, **options: Any) -> Done:
    return update(made.root, Given(), **{"dry": False, "marks": False, **options})


def edit(made: Repository, old: str, new: str) -> None:
    text = made.text(BLUEPRINT)
    assert old in text
    made.write({BLUEPRINT: text.replace(old, new)})


@pytest.fixture
def made(tmp_path: Path) -> Repository:
    made = repository(tmp_path / "r", {**FILES, "config/site.yml": SITE})
    made.init()
    made.commit()
    return made


def with_a_worker(made: Repository) -> None:
    values = VALUES + "worker:\n  image: {repository: x/worker, tag: a}\n"
    made.write({"worker/Dockerfile": "FROM scratch\n", "chart/values.yaml": values})


def test_a_second_run_changes_nothing(made: Repository) -> None:
    done = made.init()
    assert made.git("status", "--short") == ""
    assert any("nothing to do" in each for each in done.told)


def test_a_second_run_of_a_site_that_was_filled_in_changes_nothing(tmp_path: Path) -> None:
    made = repository(tmp_path / "r", FILES)
    made.init()
    made.write(
        {"config/site.yml": made.text("config/site.yml").replace('"<path of the cluster\'s kubeconfig, ~/.kube/config for one>"', "here")}
    )
    made.commit()
    assert any("nothing to do" in each for each in made.init().told)
    again(made)
    assert made.git("status", "--short") == ""


def test_what_was_said_then_still_counts(tmp_path: Path) -> None:
    made = repository(tmp_path / "r", {**FILES, "config/site.yml": SITE})
    made.init(app="till", registry="inner", namespace="money")
    made.commit()
    assert any("nothing to do" in each for each in made.init().told)


def test_a_second_run_says_what_is_new_and_writes_nothing(made: Repository) -> None:
    with_a_worker(made)
    made.commit()
    done = made.init()
    assert any("build" in each and "differs" in each for each in done.told)
    assert any("--update" in each for each in done.next)
    assert made.git("status", "--short") == ""


def test_an_update_keeps_edits_and_takes_in_what_is_new(made: Repository) -> None:
    edit(made, "    # host: shop.example.org", "    deadline: 90\n    # host: shop.example.org")
    made.write({"tasks.py": made.text("tasks.py") + "\n# mine\n"})
    with_a_worker(made)
    done = again(made)
    assert pipeline.load(made.root / "config").plan
    assert set(made.stages["build"]["images"]) == {"shop", "worker"}
    assert made.stages["verify"]["deadline"] == 90
    assert made.text("tasks.py").endswith("# mine\n")
    assert dict(done.files)[BLUEPRINT] == "updated"
    assert dict(done.files)["tasks.py"] == "is as it would be written"
    before = made.text(BLUEPRINT)
    again(made)
    assert made.text(BLUEPRINT) == before


def test_where_both_meet_nothing_is_written_and_it_is_told(made: Repository) -> None:
    edit(made, "shop: {repository: acme/shop}", "shop: {repository: acme/shop, args: {A: b}}")
    with_a_worker(made)
    made.write({"chart/values.yaml": "image: {repository: x/shop, tag: a}\nworker: {image: {repository: x/worker, tag: a}}\n"})
    (made.root / "worker/Dockerfile").unlink()
    made.write({"Containerfile.other": "FROM scratch\n"})
    made.git("mv", "Dockerfile", "deploy.Dockerfile")
    before = {path: path.read_bytes() for path in made.root.rglob("*") if path.is_file() and ".git/" not in str(path)}
    with pytest.raises(ConfigError, match=r"meet in the same lines of config/shop\.yml") as caught:
        again(made)
    assert "args: {A: b}" in caught.value.cause
    assert "deploy.Dockerfile" in caught.value.cause
    assert {path: path.read_bytes() for path in made.root.rglob("*") if path.is_file() and ".git/" not in str(path)} == before


def test_with_marks_both_are_in_the_file(made: Repository) -> None:
    edit(made, "shop: {repository: acme/shop}", "shop: {repository: acme/shop, args: {A: b}}")
    made.git("mv", "Dockerfile", "deploy.Dockerfile")
    done = again(made, marks=True)
    text = made.text(BLUEPRINT)
    assert "<<<<<<<" in text
    assert "args: {A: b}" in text
    assert "deploy.Dockerfile" in text
    assert "1 conflicts" in dict(done.files)[BLUEPRINT]
    with pytest.raises(ConfigError):
        pipeline.load(made.root / "config")


def test_a_file_that_was_taken_away_is_not_written_again(made: Repository) -> None:
    (made.root / "tasks.py").unlink()
    with_a_worker(made)
    done = again(made)
    assert not (made.root / "tasks.py").exists()
    assert dict(done.files).get("tasks.py", "is gone, and stays so") == "is gone, and stays so"


def test_a_dry_update_shows_the_difference_and_writes_nothing(made: Repository) -> None:
    with_a_worker(made)
    made.commit()
    done = again(made, dry=True)
    assert '+      worker: {repository: acme/worker, context: "worker"}' in done.texts[BLUEPRINT]
    assert made.git("status", "--short") == ""


def test_nothing_to_update_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has written nothing for shop"):
        again(repository(tmp_path / "r", FILES))


def test_a_newer_template_comes_in_under_the_edits(made: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(made, "namespace: shop", "namespace: mine")
    newer = tmp_path / "templates"
    shutil.copytree(write.TEMPLATES, newer)
    shutil.copytree(newer / write.versions()[-1], newer / "99.0.0")
    file = newer / "99.0.0/files/config/{{ app }}.yml.jinja"
    file.write_text(file.read_text().replace("app: {{ app }}\n", "app: {{ app }}\nkeep: 7\n"))
    monkeypatch.setattr(write, "TEMPLATES", newer)
    assert any("template is newer" in each for each in made.init().told)
    again(made)
    assert made.blueprint["keep"] == 7
    assert made.stages["deploy"]["namespace"] == "mine"
    assert "_commit: 99.0.0" in made.text("config/.copier-answers.shop.yml")


def test_an_answers_file_of_another_version_is_refused(made: Repository) -> None:
    name = "config/.copier-answers.shop.yml"
    made.write({name: made.text(name).replace("_commit: 1.0.0", "_commit: 100.0.0")})
    with pytest.raises(ConfigError, match="another version"):
        again(made)


def test_a_blueprint_of_ones_own_is_not_overwritten(tmp_path: Path) -> None:
    made = repository(tmp_path / "r", {**FILES, "config/shop.yml": "app: shop\n"})
    with pytest.raises(ConfigError, match="none is overwritten"):
        first(made.root, Given(), None, dry=False)
    assert made.git("status", "--short") == ""


def test_a_tasks_file_of_ones_own_stays_and_is_told(tmp_path: Path) -> None:
    made = repository(tmp_path / "r", {**FILES, "tasks.py": "from invoke import task\n"})
    done = made.init()
    assert made.text("tasks.py") == "from invoke import task\n"
    assert any(each.startswith("tasks.py is yours") for each in done.told)
