"""The operator's verbs on the lab: going back and forth, freezing, who and since when, provenance, records rebuilt."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.app import App, application

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, lab_site_file: Path) -> Iterator[App]:
    with application("operator", tmp_path_factory.mktemp("operator")) as made:
        first = made.inv("release")
        assert first.returncode == 0, first.stderr
        yield made


def status(app: App) -> dict[str, Any]:
    found = app.inv("status", "--json")
    assert found.returncode == 0, found.stderr
    facts: dict[str, Any] = json.loads(found.stdout)
    return facts


def live(app: App) -> str:
    (release,) = app.status()["live"]
    return str(release["source"]["commit"])


def did(app: App, *words: str, code: int = 0, env: dict[str, str] | None = None) -> str:
    done = app.inv(*words, env=env)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def pods(app: App) -> set[str]:
    listed = json.loads(app.kubectl("get", "pods", "--selector", f"app.kubernetes.io/instance={app.name}", "--output", "json"))
    return {
        container["image"].rpartition("@")[2]
        for pod in listed["items"]
        if "deletionTimestamp" not in pod["metadata"]
        for container in pod["spec"]["containers"]
    }


def test_x02_back_and_back_and_forth_again(app: App) -> None:
    one = app.git("rev-parse", "HEAD")
    two = app.change("two")
    did(app, "release")
    three = app.change("three")
    did(app, "deploy")
    assert f"from revision 3 ({three[:7]}) back to revision 2 ({two[:7]})" in did(app, "rollback")
    facts = status(app)
    (release,) = facts["live"]
    assert release["source"]["commit"] == two
    assert release["verified"]["state"] is True
    assert release["by"]
    assert release["since"]
    assert facts["current"] is False
    assert pods(app) == {release["images"][0]["digest"]}
    did(app, "rollback")
    assert live(app) == one
    assert "no good revision before revision 5" in did(app, "rollback", code=2)
    did(app, "rollback", "--to", three[:8])
    assert live(app) == three
    assert "is live already" in did(app, "rollback", "--to", "3")


def test_l07_a_freeze_is_told_to_all_and_holds_all_but_the_forced(app: App) -> None:
    before = live(app)
    assert "until Monday" in did(app, "freeze", "no deploys until Monday")
    assert "frozen: no deploys until Monday" in did(app, "rollback", code=13)
    assert live(app) == before
    did(app, "rollback", "--force")
    after = live(app)
    assert after != before
    said = did(app, "deploy", code=13)
    assert "frozen: no deploys until Monday" in said
    assert "since 20" in said
    assert live(app) == after
    for verb in ("status", "plan"):
        assert "no deploys until Monday" in did(app, verb)
    assert "it was: no deploys until Monday" in did(app, "unfreeze")
    assert "by a person" in did(app, "plan")
    assert "inv release --again" in did(app, "release", code=2)
    assert live(app) == after, "what was taken back does not come again unasked"
    did(app, "release", "--again")
    facts = status(app)
    assert facts["current"] is True, "the newer commit acts again after a rollback"
    assert facts["live"][0]["verified"]["state"] is True


def test_provenance_leads_from_the_running_digest_to_the_commit(app: App) -> None:
    (release,) = status(app)["live"]
    commits = [each["predicate"]["buildDefinition"]["externalParameters"]["commit"] for each in release["provenance"]]
    assert release["source"]["commit"] in commits
    subjects = {subject["digest"]["sha256"] for each in release["provenance"] for subject in each["subject"]}
    assert subjects == {release["images"][0]["digest"].removeprefix("sha256:")}


def test_a_dirty_tree_is_what_is_live_and_a_cut_way_back_is_finished(app: App) -> None:
    before = live(app)
    (app.root / "pipeline/lab/probe/version").write_text("not committed\n")
    did(app, "deploy")
    facts = status(app)
    assert facts["current"] is True
    assert facts["live"][0]["source"]["dirty"] is True
    assert facts["live"][0]["verified"]["state"] is None, "nothing has verified it yet"
    killed = app.inv("rollback", env={"FAILPOINT": "deploy.wait:kill"})
    assert killed.returncode == -9, killed.stderr
    assert "deploy" in [record["stage"] for record in status(app)["unfinished"]]
    did(app, "rollback")
    assert live(app) == before
    assert status(app)["unfinished"] == []
    app.git("checkout", "--quiet", "--", ".")


def test_reconcile_in_a_fresh_clone(app: App) -> None:
    did(app, "release")
    forget(app)
    learnt = json.loads(app.inv("reconcile", "--json").stdout)["learnt"]
    states = {each["stage"]: each["state"] for each in learnt}
    assert (states["push"], states["deploy"]) == ("found", "found")
    assert states["sync"] == "found", "the remote is asked, whatever is remembered"
    before = [release["revision"] for release in status(app)["live"]]
    done = app.inv("release", "--json")
    assert [json.loads(line) for line in done.stderr.splitlines()][-1]["data"]["changed"] == []
    assert [release["revision"] for release in status(app)["live"]] == before
    assert {each["state"] for each in json.loads(app.inv("reconcile", "--json").stdout)["learnt"]} == {"known"}


def test_a_clone_without_records_and_an_empty_build_host_know_what_is_live(app: App) -> None:
    did(app, "release")
    before = [release["revision"] for release in status(app)["live"]]
    forget(app)
    shutil.rmtree(Path(app.site["hosts"]["haskelseed"]["state"]) / app.name)
    planned = [line.split()[:2] for line in app.inv("plan").stdout.splitlines()]
    assert planned == [["sync", "skip"], ["build", "skip"], ["push", "there"], ["deploy", "there"], ["verify", "to"]]
    done = app.inv("release", "--json")
    assert [json.loads(line) for line in done.stderr.splitlines()][-1]["data"]["changed"] == []
    assert [release["revision"] for release in status(app)["live"]] == before
    forget(app)
    app.helm("uninstall", app.name, "--wait")
    deployed = app.inv("deploy", "--json")
    assert deployed.returncode == 0, deployed.stderr
    assert [json.loads(line) for line in deployed.stderr.splitlines()][-1]["data"]["changed"] == ["deploy"], "pushed from elsewhere"


def forget(app: App) -> None:
    """Remove the records of the clone."""
    for file in (app.root / ".pipeline").glob("*.db*"):
        file.unlink()
