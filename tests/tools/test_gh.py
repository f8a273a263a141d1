"""gh's argv as written, its JSON and its complaints as recorded from gh 2.23."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigError, IntegrityError
from pipeline.tools import gh

CASES = Path(__file__).parents[1] / "cases" / "gh"


def case(name: str) -> tuple[int, str]:
    """The exit code and the output."""
    _, code, output = (CASES / f"{name}.txt").read_text().split("\n", 2)
    return int(code.removeprefix("exit ")), output


def test_gh_that_is_not_there() -> None:
    error = gh.failure(127, "[Errno 2] No such file or directory: 'gh'")
    assert isinstance(error, ConfigError)
    assert "apt-get install gh" in error.mend


def test_the_newest_run_comes_first() -> None:
    found = gh.read_runs(case("list")[1])
    assert [run.id for run in found] == [43, 42, 41]
    assert found[0].branch == "v1.0.0"
    assert found[0].commit == "a" * 40
    assert [run.over for run in found] == [False, True, False]
    assert gh.read_runs(case("empty")[1]) == ()


def test_a_run_with_its_jobs_and_steps() -> None:
    running = gh.read_run(case("view-running")[1])
    assert [(step.name, step.status) for step in running.jobs[0].steps[1:3]] == [
        ("Check the commit out", "completed"),
        ("Set up Buildx", "in_progress"),
    ]
    assert running.jobs[0].failed is None
    failed = gh.read_run(case("view-failed")[1])
    assert failed.conclusion == "failure"
    assert failed.jobs[0].failed == gh.Step(5, "Build and push relay", "completed", "failure")
    assert gh.read_run(case("view-queued")[1]).jobs == ()


@pytest.mark.parametrize("text", ["", "[]", "{}", "[{}]", "null", '{"databaseId": "x"}', "<html>", '[{"databaseId": 1, "headSha": null}]'])
def test_an_answer_that_is_none(text: str) -> None:
    with pytest.raises(IntegrityError):
        gh.read_run(text)
    if text != "[]":
        with pytest.raises(IntegrityError):
            gh.read_runs(text)


def test_the_log_of_what_failed_without_its_times() -> None:
    found = gh.read_log(case("log-failed")[1])
    assert found[-1] == ("publish", "Build and push relay", "##[error]denied: permission_denied")
    assert len(found) == 4
    assert gh.read_log("publish\tUNKNOWN STEP\t\ufeff2026-11-21T12:00:00.1Z text\n") == [("publish", "UNKNOWN STEP", "text")]
    assert gh.read_log("no tabs at all\n") == []


def test_the_words() -> None:
    assert gh.runs("publish.yml", "owner/relay")[:6] == ("run", "list", "-R", "owner/relay", "--workflow", "publish.yml")
    assert gh.view("42")[-2:] == ("--", "42")
    assert gh.log("42", "github.example.org/owner/relay") == (
        "run", "view", "-R", "github.example.org/owner/relay", "--log-failed", "--", "42",
    )  # fmt: skip


@pytest.mark.parametrize("run", ["", "0", "-1", "--log", "42;x", "4 2", "4\u0662"])
def test_i02_what_is_no_number_is_refused(run: str) -> None:
    with pytest.raises(ConfigError, match="not the number of a run"):
        gh.view(run)


@pytest.mark.parametrize("repository", ["-R", "owner", "owner/", "a b/c", "owner/-x", "a/b/c/d", "https://x/y"])
def test_i02_what_is_no_repository_is_refused(repository: str) -> None:
    with pytest.raises(ConfigError, match="not a repository"):
        gh.runs("publish.yml", repository)


def test_when_a_limit_ends() -> None:
    text = '{"resources": {"core": {"limit": 5000, "remaining": 0, "reset": 1000}}}'
    assert gh.read_reset(text, 900.0) == 100.0
    assert gh.read_reset(text, 2000.0) == 1.0
    assert gh.read_reset(text, -1e6) == gh.RESET
    assert gh.read_reset(text.replace(": 0", ": 7"), 900.0) == gh.PATIENCE
    assert gh.read_reset("<html>", 900.0) == gh.PATIENCE
