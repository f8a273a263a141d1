"""What is asked of a run that was killed or stopped: how it ended, and that the next one gets to the same world with nothing left over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.deploy.holder import Holder
from tests.real.app import App, application

SIGNALS = {"kill": -9, "term": 143, "int": 130}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, lab_site_file: Path) -> Iterator[App]:
    """An application of the module's own that was released once."""
    with application("killed", tmp_path_factory.mktemp("killed")) as made:
        first = made.inv("release")
        assert first.returncode == 0, first.stderr
        yield made


def kill(app: App, point: str) -> None:
    """Have a release of a change killed at this point; the next run converges."""
    commit = app.change(f"{point} kill".replace(":", "-"))
    end(app, point, "kill")
    converge(app, commit)


def end(app: App, point: str, signal: str) -> None:
    """Have a release get this signal at this point, and end as it should."""
    ended = app.inv("release", env={"FAILPOINT": f"{point}:{signal}"})
    assert ended.returncode == SIGNALS[signal], ended.stderr
    assert "Traceback" not in ended.stderr


def converge(app: App, commit: str) -> None:
    """Release again: the commit is live and all else is in order, one more run changes nothing, and nothing is left behind."""
    again = app.inv("release")
    assert again.returncode == 0, again.stderr
    facts = app.status()
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
