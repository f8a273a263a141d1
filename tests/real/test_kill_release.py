"""Killed at every step from the deploy on, and stopped at each place that tidies up, on real parts: the next run gets to the same world."""

from __future__ import annotations

import pytest

from tests.real.app import App
from tests.real.killed import app, converge, end, kill

pytestmark = pytest.mark.real
__all__ = ["app"]

POINTS = [
    "deploy.intended", "deploy.proven", "deploy.secret", "deploy.upgraded", "deploy.wait:3", "deploy.made", "deploy.recorded",
    "verify.intended", "verify.recorded",
]  # fmt: skip
TIDIED = [  # locks, uploads, leases, tools; what helm was told already is found by the next run, so that each signal needs a release there
    *((point, "term int") for point in ("sync.wait", "build.wait", "push.log:4", "deploy.secret")),
    *((point, signal) for point in ("deploy.upgraded", "deploy.wait:3") for signal in ("term", "int")),
]


@pytest.mark.parametrize("point", POINTS)
def test_the_next_run_converges(app: App, point: str) -> None:
    kill(app, point)


@pytest.mark.parametrize(("point", "signals"), TIDIED)
def test_runs_that_were_stopped_let_the_next_one_get_as_far_and_further(app: App, point: str, signals: str) -> None:
    commit = app.change(f"{point} {signals}".replace(":", "-"))
    for signal in signals.split():
        end(app, point, signal)
    converge(app, commit)
