"""`inv build push deploy` is one plan: the line is seen whole, and each group of stages runs once."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from invoke.collection import Collection
from invoke.exceptions import Exit
from invoke.program import Program
from invoke.tasks import task

from pipeline import dry
from pipeline.chain import RELEASE, Chain, is_stage, merged, shown
from tests import warm

ROOT = Path(__file__).parents[1]
VERBS = ("sync", "build", "push", "deploy", "verify", "release")


@pytest.fixture
def ran() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture
def tasks(ran: list[tuple[str, dict[str, Any]]]) -> Collection:
    """Stage tasks and two others that only say that they ran."""

    def stage(verb: str, order: int | None) -> Any:
        def body(_c: Any, env: str = "", json: bool = False, wait: int = 0) -> None:
            ran.append((verb, {key: value for key, value in (("env", env), ("json", json), ("wait", wait)) if value}))

        if order is not None:
            body.stage_order = order  # type: ignore[attr-defined]
        return task(body, name=verb)

    found = Collection(*[stage(verb, order) for order, verb in enumerate(VERBS)], stage("plan", None))
    found.add_collection(Collection("lab", stage("up", None)))
    return found


def inv(tasks: Collection, line: str) -> None:
    Program(namespace=tasks, executor_class=Chain, name="inv").run(["inv", *line.split()], exit=False)


@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("build", ["build"]),
        ("sync build push", ["push"]),
        ("build push deploy", ["deploy"]),
        ("deploy push build", ["deploy"]),
        ("push push", ["push"]),
        ("verify", ["verify"]),
        ("verify verify", ["verify"]),
        ("deploy verify", ["release"]),
        ("build push deploy verify", ["release"]),
        ("release", ["release"]),
        ("build release", ["release"]),
        ("plan", ["plan"]),
        ("build plan push", ["build", "plan", "push"]),
        ("lab.up build push", ["up", "push"]),
        ("build push lab.up", ["push", "up"]),
        ("lab.up deploy verify plan", ["up", "release", "plan"]),
    ],
)
def test_neighbouring_stages_are_one_run(tasks: Collection, ran: list[Any], line: str, runs: list[str]) -> None:
    inv(tasks, line)
    assert [name for name, _ in ran] == runs


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("build --env lab push", {"env": "lab"}),
        ("build push --env lab", {"env": "lab"}),
        ("build --env lab push --env lab", {"env": "lab"}),
        ("build --json push --env lab", {"env": "lab", "json": True}),
        ("build --wait 60 push", {"wait": 60}),
    ],
)
def test_an_option_of_one_stage_is_of_the_whole_group(tasks: Collection, ran: list[Any], line: str, options: dict[str, Any]) -> None:
    inv(tasks, line)
    assert ran == [("push", options)]


def test_options_do_not_leak_into_another_group(tasks: Collection, ran: list[Any]) -> None:
    inv(tasks, "build --env lab plan push --env production")
    assert ran == [("build", {"env": "lab"}), ("plan", {}), ("push", {"env": "production"})]


def test_two_values_for_one_option_are_refused_before_anything_runs(
    tasks: Collection, ran: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    line = "inv plan build --env lab push --env production"
    with pytest.raises(SystemExit) as caught:
        Program(namespace=tasks, executor_class=Chain, name="inv").run(line.split())
    assert caught.value.code == 2
    assert ran == []
    assert "--env is given as 'lab' and as 'production' in one line: choose one" in capsys.readouterr().err


def test_stages_of_two_blueprints_are_two_runs(tasks: Collection, ran: list[Any]) -> None:
    """The same tasks in two collections are two plans."""
    both = Collection()
    both.add_collection(tasks, "one")
    both.add_collection(tasks, "two")
    inv(both, "one.build one.push two.build two.deploy two.verify")
    assert [name for name, _ in ran] == ["push", "release"]


def test_merging_nothing_is_nothing(tasks: Collection) -> None:
    assert merged([], tasks) == []
    assert merged([("sync", {}), ("build", {"env": ""})], tasks) == [("build", {})]
    assert merged([("deploy", {}), ("verify", {})], tasks) == [(RELEASE, {})]
    with pytest.raises(Exit) as caught:
        merged([("sync", {"env": "a"}), ("build", {"env": "b"})], tasks)
    assert caught.value.code == 2
    assert is_stage(tasks["build"])
    assert not is_stage(tasks["plan"])


# the real thing: two lines of tasks.py in another repository


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text('from pipeline import collection\nns = collection("config")\n')
    (tmp_path / "config").mkdir()
    return tmp_path


def inv_in(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    return warm.inv(words, folder, env, 60)


def test_two_lines_give_every_task(repository: Path) -> None:
    done = inv_in(repository, "--list")
    assert done.returncode == 0, done.stderr
    for name in ("sync", "build", "push", "deploy", "verify", "release", "plan", "status", "lab.up", "lab.down"):
        assert name in done.stdout


def test_a_chain_is_one_plan_in_another_repository(repository: Path) -> None:
    """The blueprint is read once, for the furthest verb: its one error is told once, with the exit code of an error in configuration."""
    done = inv_in(repository, "build", "push", "deploy")
    assert done.returncode == 2
    assert done.stderr.count("there is no blueprint") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["deploy", "release", "rollback"])
def test_l01_whoever_takes_the_lock_can_wait_for_it(repository: Path, verb: str) -> None:
    done = inv_in(repository, verb, "--wait", "-5")
    assert done.returncode == 2
    assert "--wait -5 is no time to wait" in done.stderr


def test_contradicting_options_are_refused_by_the_real_tasks(repository: Path) -> None:
    done = inv_in(repository, "build", "--env", "lab", "deploy", "--env", "production")
    assert done.returncode == 2
    assert "choose one" in done.stderr


# --dry: Invoke's "echo commands instead of running"


@pytest.fixture
def ours(ran: list[tuple[str, dict[str, Any]]]) -> Collection:
    """A stage, what shows it, one that looks, one that acts, a person's own, and a person's own that has ours run before it."""

    def body_of(name: str) -> Any:
        def body(_c: Any, env: str = "", json: bool = False) -> None:
            ran.append((name, {key: value for key, value in (("env", env), ("json", json)) if value}))

        return body

    def plan(_c: Any, env: str = "", until: str = "") -> None:
        ran.append(("plan", {"env": env, "until": until}))

    deploy = dry.shown_by("plan", until="deploy")(body_of("deploy"))
    deploy.stage_order = 3
    rollback = task(dry.acts(body_of("rollback")), name="rollback")
    status, mine = task(dry.only_looks(body_of("status")), name="status"), task(body_of("mine"), name="mine")
    after = task(body_of("after"), name="after", pre=[rollback])
    return Collection(task(deploy, name="deploy"), task(dry.only_looks(plan), name="plan"), rollback, status, mine, after)


@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("--dry deploy", [("plan", {"env": "", "until": "deploy"})]),
        ("-R deploy --env lab --json", [("plan", {"env": "lab", "until": "deploy"})]),
        ("deploy --env lab --dry", [("plan", {"env": "lab", "until": "deploy"})]),
        ("status --dry", [("status", {})]),
        ("mine --dry", [("mine", {})]),
    ],
)
def test_dry_shows_what_would_be_done(ours: Collection, ran: list[Any], line: str, runs: list[Any]) -> None:
    inv(ours, line)
    assert ran == runs


@pytest.mark.parametrize("line", ["--dry rollback", "status rollback -R", "--dry deploy rollback", "--dry after"])
def test_what_nothing_shows_is_refused_under_dry_and_so_is_its_line(
    ours: Collection, ran: list[Any], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        Program(namespace=ours, executor_class=Chain, name="inv").run(["inv", *line.split()])
    assert (caught.value.code, ran) == (2, [])
    assert "inv rollback acts, and nothing shows what it would do" in capsys.readouterr().err


def test_dry_counts_from_the_environment_too(ours: Collection, ran: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOKE_RUN_DRY", "1")
    inv(ours, "deploy")
    assert ran == [("plan", {"env": "", "until": "deploy"})]


def test_every_task_says_what_it_does_under_dry() -> None:
    """What only looks and what another task shows is listed here by hand: a new task that acts is refused until somebody thought of it."""
    from pipeline import collection
    from pipeline.menu import every

    looks: set[str] = set()
    shows: set[str] = set()
    acts: set[str] = set()
    for name in collection("config").task_names:
        found = collection("config")[name].body
        mark = found.dry
        (acts if mark is None else shows if mark[0] else looks).add(name)
    assert looks == {
        "blueprints", "history", "plan", "schema", "status", "flux.status", "infra.output", "infra.plan", "lab.logs",
        "lab.status", "tags.show", "tunnel.plan",
    }  # fmt: skip
    assert shows == {
        "build", "deploy", "doctor", "init", "prune", "push", "release", "remove", "sync", "verify", "ci.generate", "flux.init",
        "flux.migrate", "tunnel.apply",
    }  # fmt: skip
    assert {"rollback", "freeze", "unfreeze", "reconcile", "infra.apply", "infra.destroy", "lab.up", "lab.down", "tags.put"} <= acts
    assert len(list(every(collection("config")))) == len(looks | shows | acts)


def test_prune_under_dry_is_its_own_dry_run() -> None:
    from pipeline import collection

    found = shown("prune", {"env": "production", "gc": True}, collection("config"))
    assert found == ("prune", {"env": "production", "gc": True, "dry_run": True})


@pytest.mark.parametrize("words", [("--dry", "release"), ("-R", "rollback"), ("build", "push", "--dry")])
def test_dry_runs_nothing_of_the_real_tasks(repository: Path, words: tuple[str, ...]) -> None:
    (repository / "config/web.yml").write_text("app: web\nstages:\n  sync: {driver: git, host: nowhere}\n")
    done = inv_in(repository, *words)
    assert done.returncode == 2, done.stderr
    assert ("nothing shows what it would do" if "rollback" in words else "config/site.yml") in done.stderr
    assert not (repository / ".pipeline").exists()
