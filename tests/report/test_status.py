"""What status says of what is live: verified or not, ours or not, frozen, and whether it is what lies here."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Check, Image, Release, Report, Source
from pipeline.errors import Transient
from pipeline.records import FAILED, FOUND, MADE, Records
from pipeline.report import status
from pipeline.report.planned import standings
from pipeline.report.status import gather, show, verified
from pipeline.stage import Driver, Finding, Freeze, Site, Stage, Standing
from pipeline.testing import FakeClock

CLEAN = Source("1" * 40, "c" * 40, False, "/w")
DIRTY = Source("2" * 40, "c" * 40, True, "/w")


def release(source: Source = CLEAN, revision: int = 3, inputs: str = "i") -> Release:
    return Release(source, (Image("reg/app", "sha256:" + "d" * 64, "t"),), "lab", "ns", "web", revision, inputs)


def wrote(records: Records, stage: str, state: str, artifact: Any = None, **detail: Any) -> None:
    records.outcome("run", stage, "key", "parent", state, artifact, 0.0, detail)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "r.db", FakeClock())


def passed(of: Release) -> Report:
    return Report(of, (Check("pods", True, "1 ready"),))


def test_a_release_that_no_verification_saw_is_unverified(records: Records) -> None:
    assert verified(release(), records)["state"] is None
    wrote(records, "deploy", MADE, release())
    assert verified(release(), records)["text"].startswith("unverified")
    wrote(records, "verify", MADE, passed(release(revision=2)))
    assert verified(release(), records)["state"] is None, "another revision passed"


def test_the_last_verification_counts(records: Records) -> None:
    wrote(records, "deploy", MADE, release())
    wrote(records, "verify", MADE, passed(release()))
    assert verified(release(), records)["state"] is True
    wrote(records, "verify", FAILED, error="GET / is 500")
    found = verified(release(), records)
    assert found["state"] is False
    assert "GET / is 500" in found["text"]
    wrote(records, "verify", MADE, passed(release()))
    assert verified(release(), records)["state"] is True


def test_a_failed_verification_of_an_earlier_release_says_nothing(records: Records) -> None:
    wrote(records, "verify", FAILED, error="old trouble")
    assert verified(release(), records)["state"] is None
    wrote(records, "deploy", MADE, release())
    assert verified(release(), records)["state"] is None
    wrote(records, "verify", FAILED, error="new trouble")
    assert verified(release(), records)["state"] is False


class Blueprint:
    """As much of one as status reads."""

    app, name, environment = "web", "web", "lab"

    def __init__(self, live: Release | None, standing: Standing) -> None:
        driver = Driver(
            "deploy", "fake", Source, Release, Source, lambda *_: Finding(None), lambda *_: release(),
            live=lambda *_: live, standing=lambda *_: dataclasses.replace(standing, live=lambda: live),
        )  # fmt: skip
        self.plan = (Stage("deploy", driver, None),)


@pytest.mark.parametrize(
    ("here", "live", "ours", "current"),
    [
        (CLEAN, CLEAN, True, True),
        (DIRTY, DIRTY, True, True),
        (CLEAN, DIRTY, True, False),
        (DIRTY, CLEAN, True, False),
        (DIRTY, Source("3" * 40, "c" * 40, True, "/other"), True, False),
        (CLEAN, Source("", "", False, ""), True, False),
        (CLEAN, CLEAN, False, False),
    ],
)
def test_what_is_here_is_live_only_where_all_of_it_is_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, records: Records, here: Source, live: Source, ours: bool, current: bool
) -> None:
    monkeypatch.setattr(status, "snapshot", lambda _root, **_: here)
    blueprint: Any = Blueprint(release(live), Standing(ours=ours))
    facts = gather(blueprint, Site("web", tmp_path, {}, {}, {}, {}, {}, {}, records))
    assert facts["current"] is current
    assert ("is what is live" in show(facts)) is current


def test_a_commit_whose_release_changed_nothing_has_the_content_of_what_is_live(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, records: Records
) -> None:
    monkeypatch.setattr(status, "snapshot", lambda _root, **_: CLEAN)
    older = Source("4" * 40, "d" * 40, False, "/other")
    blueprint: Any = Blueprint(release(older), Standing(ours=True))
    site = Site("web", tmp_path, {}, {}, {}, {}, {}, {}, records)
    assert "ccccccc  is not what is live" in show(gather(blueprint, site))
    wrote(records, "deploy", FOUND, release(CLEAN))
    facts = gather(blueprint, site)
    assert (facts["current"], facts["same"]) == (False, True)
    assert "ccccccc  has the content of what is live: its release changed nothing" in show(facts)
    wrote(records, "deploy", FOUND, release(DIRTY))
    assert gather(blueprint, site)["same"] is False


def test_everything_that_is_to_be_known_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, records: Records) -> None:
    monkeypatch.setattr(status, "snapshot", lambda _root, **_: CLEAN)
    stopped = Freeze("no deploys until Monday", "anna@here", "2026-01-02T03:04:05Z")
    standing = Standing("2026-01-01T00:00:00Z", "eve@there", True, ("revision 4 above it is failed",), stopped, "bob since 5")
    blueprint: Any = Blueprint(release(), standing)
    site = Site("web", tmp_path, {}, {}, {}, {}, {}, {}, records)
    text = show(gather(blueprint, site))
    for words in (
        "live     ccccccc  revision 3  lab/ns/web", f"since {status._local('2026-01-01T00:00:00Z')} by eve@there", "unverified",
        "revision 4 above it is failed", "frozen   no deploys until Monday (anna@here, since 2026-01-02T03:04:05Z); inv unfreeze",
        "at work  bob since 5", "here     ccccccc  is what is live",
    ):  # fmt: skip
        assert words in text
    known, unasked = standings(blueprint.plan, site)
    assert (known["deploy"].frozen, unasked) == (stopped, None)
    assert "provenance" not in gather(blueprint, site)["live"][0]
    assert gather(blueprint, site, whole=True)["live"][0]["provenance"] == []


def test_where_nothing_is_live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, records: Records) -> None:
    monkeypatch.setattr(status, "snapshot", lambda _root, **_: CLEAN)
    blueprint: Any = Blueprint(None, Standing())
    facts = gather(blueprint, Site("web", tmp_path, {}, {}, {}, {}, {}, {}, records))
    assert facts["live"] == []
    assert "nothing yet: inv release" in show(facts)
    assert facts["current"] is False


def test_d08_while_the_cluster_is_down_the_rest_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, records: Records) -> None:
    """It was one line about the API: nothing of what was done here, in the very hour in which one asks."""
    monkeypatch.setattr(status, "snapshot", lambda _root, **_: CLEAN)
    blueprint: Any = Blueprint(release(), Standing())

    def down(*_: Any) -> Any:
        raise Transient("the API does not answer", mend="is it up?")

    blueprint.plan = tuple(
        dataclasses.replace(stage, driver=dataclasses.replace(stage.driver, live=down, standing=down)) for stage in blueprint.plan
    )
    wrote(records, "deploy", MADE, release())
    site = Site("web", tmp_path, {}, {}, {}, {}, {}, {}, records)
    facts = gather(blueprint, site)
    text = show(facts)
    assert "live     unknown: the API does not answer" in text
    assert "nothing yet" not in text
    assert "is what is live" not in text
    assert "is not what is live" not in text
    assert "deploy  made" in text
    assert facts["unasked"]["exit_code"] == 10
    assert "  mend   is it up?" in facts["unasked"]["explained"]
    known, unasked = standings(blueprint.plan, site)
    assert (known, str(unasked)) == ({}, "the API does not answer")


def test_records_are_told_in_words_with_their_commit(records: Records) -> None:
    wrote(records, "deploy", MADE, release())
    wrote(records, "verify", FAILED, error="nobody answers")
    failed, deployed = status.rows(records.history())
    assert failed.endswith("nobody answers")
    assert deployed.endswith("ccccccc  revision 3 of web in ns")
