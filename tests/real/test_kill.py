"""Killed at every step up to the push, on real parts: the next run gets to the same world, and nothing is left."""

from __future__ import annotations

import pytest

from tests.real.app import App
from tests.real.killed import app, kill

pytestmark = pytest.mark.real
__all__ = ["app"]

POINTS = [
    "sync.intended", "sync.wait", "sync.made", "sync.recorded",
    "build.intended", "build.wait", "build.made", "build.recorded",
    "push.intended", "push.log", "push.log:4", "push.made", "push.recorded",
]  # fmt: skip


@pytest.mark.parametrize("point", POINTS)
def test_the_next_run_converges(app: App, point: str) -> None:
    kill(app, point)
