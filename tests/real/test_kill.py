"""Killed at every step, and stopped where that tidies up, on real parts: the next run gets to the same world, and nothing is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.deploy.holder import Holder
from tests.real.app import App, application

pytestmark = pytest.mark.real

POINTS = [
    "sync.intended", "sync.wait", "sync.made", "sync.recorded",
    "build.intended", "build.wait", "build.made", "build.recorded",
    "push.intended", "push.log", "push.log:4", "push.made", "push.recorded",
    "deploy.intended", "deploy.proven", "deploy.secret", "deploy.upgraded", "deploy.wait:3", "deploy.made", "deploy.recorded",
    "verify.intended", "verify.recorded",
]  # fmt: skip
TIDIED = ["sync.wait", "build.wait", "push.log:4", "deploy.secret", "deploy.upgraded", "deploy.wait:3"]  # locks, uploads, leases, tools
SIGNALS = {"kill": -9, "term": 143, "int": 130}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, lab_site_file: Path) -> Iterator[App]:
    with application("killed", tmp_path_factory.mktemp("killed")) as made:
        first = made.inv("release")
        assert first.returncode == 0, first.stderr
        yield made


def live(app: App) -> dict[str, Any]:
    """What the cluster runs, in the words of `inv status`."""
    status = app.inv("status", "--json")
    assert status.returncode == 0, status.stderr
    facts: dict[str, Any] = json.loads(status.stdout)
    return facts


@pytest.mark.parametrize(
    ("point", "signal"), [*((point, "kill") for point in POINTS), *((point, signal) for point in TIDIED for signal in ("term", "int"))]
)
def test_the_next_run_converges(app: App, point: str, signal: str) -> None:
    commit = app.change(f"{point} {signal}".replace(":", "-"))
    killed = app.inv("release", env={"FAILPOINT": f"{point}:{signal}"})
    assert killed.returncode == SIGNALS[signal], killed.stderr
    assert "Traceback" not in killed.stderr

    again = app.inv("release")
    assert again.returncode == 0, again.stderr
    facts = live(app)
    assert [release["source"]["commit"] for release in facts["live"]] == [commit]
    assert facts["unfinished"] == []
    history = json.loads(app.helm("history", app.name, "--output", "json"))
    assert [revision["status"] for revision in history if revision["status"].startswith("pending")] == []
    assert history[-1]["status"] == "deployed"

    once_more = app.inv("release", "--json")
    changed = [json.loads(line) for line in once_more.stderr.splitlines()][-1]["data"]["changed"]
    assert changed == []
    left_behind(app)


def left_behind(app: App) -> None:
    """Nothing of a dead run: no temporary folder on the host, no lease held by anybody who may be alive."""
    state = Path(app.site["hosts"]["haskelseed"]["state"]) / app.name
    assert [path for path in state.rglob("*") if path.name.endswith((".part", ".tmp")) or ".tmp." in path.name] == []
    lease = json.loads(app.kubectl("get", "leases", "--output", "json"))
    mine = [item for item in lease["items"] if item["metadata"]["name"] == f"pipeline-{app.name}"]
    holders = [Holder.read(item["spec"]["holderIdentity"]) for item in mine if item["spec"].get("holderIdentity")]
    assert [holder for holder in holders if holder is None or not holder.surely_dead] == []
