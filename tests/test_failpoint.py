"""Killed anywhere, the next run gets to the same world as a run that nobody killed, and nothing stays open."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import failpoint
from pipeline.runner import run
from tests.world import VERBS, World, site, source

ROOT = Path(__file__).parents[1]
POINTS = [f"{verb}.{point}" for verb in VERBS for point in ("intended", "made", "recorded")]


def one_run(folder: Path, point: str) -> int:
    """A run of its own process; the exit code, negative for a signal it died of."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "FAILPOINT": point}
    argv = [sys.executable, "-m", "tests.world", str(folder), "one"]
    done = subprocess.run(argv, env=env, cwd=folder, capture_output=True, check=False)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.returncode


def finish(folder: Path) -> tuple[dict[str, str], list[str], list[str]]:
    """The next run: the world after it, what it made, what it made although it was there."""
    world = World(folder / "world")
    with site(folder) as here:
        run(world.plan(), here, source=source("one"))
        assert here.records.unfinished() == []
        made = here.records.last("deploy") or here.records.last("deploy", "found")
        assert made is not None
        assert made.artifact == world.has("deploy", world.has("push", world.has("build", world.has("sync", source("one")))))
    return world.picture(), world.makes, world.wasted


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return finish(tmp_path_factory.mktemp("unkilled"))[0]


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_the_next_run_converges(point: str, tmp_path: Path, unkilled: dict[str, str]) -> None:
    assert one_run(tmp_path, f"{point}:kill") == -9
    verb, where = point.split(".")
    with site(tmp_path) as here:
        assert [record.stage for record in here.records.unfinished()] == ([] if where == "recorded" else [verb])
    there = VERBS.index(verb) + (where != "intended")
    picture, makes, wasted = finish(tmp_path)
    assert picture == unkilled
    assert wasted == []
    assert makes == [*VERBS[there:-1], "verify"]


@pytest.mark.parametrize(("action", "code"), [("term", 143), ("int", 130)])
@pytest.mark.parametrize("point", ["build.intended", "deploy.made"])
def test_a_signal_is_recorded_and_the_next_run_converges(
    point: str, action: str, code: int, tmp_path: Path, unkilled: dict[str, str]
) -> None:
    assert one_run(tmp_path, f"{point}:{action}") == code
    with site(tmp_path) as here:
        assert here.records.unfinished() == []
        record = here.records.last(point.split(".", maxsplit=1)[0], "failed")
        assert record is not None
        assert record.detail["exit_code"] == code
    picture, _, wasted = finish(tmp_path)
    assert (picture, wasted) == (unkilled, [])


def test_killed_twice_over_a_changed_source(tmp_path: Path) -> None:
    """An intent for a source that was edited away since is closed by the next success of its stage."""
    assert one_run(tmp_path, "deploy.intended:kill") == -9
    world = World(tmp_path / "world")
    with site(tmp_path) as here:
        assert here.records.interrupted("deploy")
        run(world.plan(), here, source=source("two"))
        assert here.records.unfinished() == []
        assert not here.records.interrupted("deploy")


def test_killed_while_it_made_again_what_the_records_knew_already(tmp_path: Path, unkilled: dict[str, str]) -> None:
    finish(tmp_path)
    for path in (tmp_path / "world" / "registry").iterdir():
        path.unlink()
    assert one_run(tmp_path, "push.made:kill") == -9
    with site(tmp_path) as here:
        assert here.records.interrupted("push")
    picture, makes, _ = finish(tmp_path)
    assert (picture, makes) == (unkilled, ["verify"])


def test_unset_it_does_nothing_and_a_wrong_action_is_not_overlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAILPOINT", raising=False)
    failpoint.failpoint("push.made")
    monkeypatch.setenv("FAILPOINT", "push.made:explode")
    failpoint.failpoint("push.intended")
    with pytest.raises(KeyError, match="explode"):
        failpoint.failpoint("push.made")
