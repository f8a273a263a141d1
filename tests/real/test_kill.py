"""Killed at every step up to the push, on real parts: the next run gets to the same world, and nothing is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.app import App
from tests.real.killed import converge, end, released

pytestmark = pytest.mark.real

POINTS = [
    "sync.intended", "sync.wait", "sync.made", "sync.recorded",
    "build.intended", "build.wait", "build.made", "build.recorded",
    "push.intended", "push.log", "push.log:4", "push.made", "push.recorded",
]  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, lab_site_file: Path) -> Iterator[App]:
    with released(tmp_path_factory.mktemp("killed")) as made:
        yield made


@pytest.mark.parametrize("point", POINTS)
def test_the_next_run_converges(app: App, point: str) -> None:
    commit = app.change(f"{point} kill".replace(":", "-"))
    end(app, point, "kill")
    converge(app, commit)
