"""The operator's tasks as a face: what they print, what they refuse, what they hand on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Images, Release
from pipeline.errors import ConfigError
from pipeline.operate import LONGEST, tasks
from pipeline.stage import Driver, Finding, Freeze, Stage, Standing
from tests.test_runner_back import Bench


class Face:
    """The tasks by name, over one plan and site."""

    def __init__(self, plan: Any, site: Any) -> None:
        self.plan = plan
        self.opened_with: tuple[Any, ...] = ()
        self.printed: list[dict[str, Any]] = []

        @contextlib.contextmanager
        def opened(*options: Any) -> Iterator[tuple[Any, Any]]:
            self.opened_with = options
            yield self, site

        self.tasks = {task.name: task.body for task in tasks(lambda body: body, opened, self.printed.append, {})}


class Ice:
    """A deploy driver that remembers its freeze."""

    def __init__(self) -> None:
        self.message = ""
        self.driver = Driver(
            "deploy", "fake", Images, Release, str, lambda *_: Finding(None), lambda *_: Release,  # type: ignore[arg-type]
            standing=lambda *_: Standing(frozen=Freeze(self.message, "anna") if self.message else None), freeze=self.freeze,
        )  # fmt: skip

    def freeze(self, _spec: Any, message: str, _site: Any) -> None:
        self.message = message


@pytest.fixture
def ice() -> Ice:
    return Ice()


@pytest.fixture
def face(ice: Ice) -> Face:
    return Face((Stage("deploy", ice.driver, ""),), None)


def test_l07_frozen_and_lifted(face: Face, ice: Ice, capsys: pytest.CaptureFixture[str]) -> None:
    face.tasks["freeze"](None, "no deploys\n until  Monday", env="lab")
    assert ice.message == "no deploys until Monday"
    assert face.opened_with == ("lab", "", False)
    assert capsys.readouterr().out == "frozen: no deploys until Monday; inv unfreeze lifts it\n"
    face.tasks["unfreeze"](None)
    assert ice.message == ""
    assert capsys.readouterr().out == "no longer frozen, it was: no deploys until Monday (anna)\n"
    face.tasks["unfreeze"](None, json=True)
    face.tasks["freeze"](None, "stop", json=True)
    assert face.printed == [{"frozen": "", "was": []}, {"frozen": "stop"}]


@pytest.mark.parametrize("message", ["", "  \n", "-f", "--message", "x" * (LONGEST + 1)])
def test_a_freeze_has_to_say_why(face: Face, ice: Ice, message: str) -> None:
    with pytest.raises(ConfigError, match="says why"):
        face.tasks["freeze"](None, message)
    assert ice.message == ""
    assert face.opened_with == ()


def test_what_cannot_be_frozen_says_so() -> None:
    with pytest.raises(ConfigError, match="no stage of this blueprint can be frozen"):
        Face((), None).tasks["freeze"](None, "stop")


def test_rollback_prints_where_it_went(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench(tmp_path)
    face = Face(bench.plan, bench.site)
    face.tasks["rollback"](None)
    assert capsys.readouterr().out == "ns/app revision 3: from two back to one\n"
    face.tasks["rollback"](None, json=True, to=bench.world.live["digest"])
    (printed,) = face.printed
    assert [(row["stage"], row["state"]) for row in printed["records"]] == [("deploy", "found"), ("verify", "made")]
    json.dumps(printed, default=str)
