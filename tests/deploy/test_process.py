"""helm as a child process: bounded, ended gently, its lines told, its environment its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.deploy import process
from pipeline.errors import Ambiguous, ConfigError, Locked
from pipeline.events import Event, What
from pipeline.records import Records
from pipeline.stage import Site

SLOW = """#!/bin/sh
trap 'echo interrupted > "$1"; exit 130' INT
trap 'echo terminated > "$1"; exit 143' TERM
echo started
while :; do sleep 0.05; done
"""


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def site(tmp_path: Path, events: list[Event]) -> Site:
    return Site("web", tmp_path, {}, {}, {}, {}, {}, {}, Records(tmp_path / "r.db"), sink=events.append)


@pytest.fixture
def slow(tmp_path: Path) -> tuple[str, str]:
    tool = tmp_path / "helm"
    tool.write_text(SLOW)
    tool.chmod(0o755)
    return str(tool), str(tmp_path / "ended")


def test_its_lines_are_told_as_they_come(site: Site, events: list[Event]) -> None:
    assert process.call(site, ("sh", "-c", "echo one; echo two >&2"), 5) == "one\ntwo"
    assert [event.text for event in events if event.what is What.LOG] == ["one", "two"]


def test_d19_the_first_interrupt_asks_helm_to_end_and_waits(site: Site, slow: tuple[str, str], events: list[Event]) -> None:
    def check() -> None:
        if any(event.text == "started" for event in events):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process.call(site, slow, 10, check)
    assert Path(slow[1]).read_text() == "interrupted\n"
    assert any(event.what is What.WARN and "again to kill" in event.text for event in events)


def test_l06_a_lost_lock_ends_helm_before_it_ends_the_run(site: Site, slow: tuple[str, str], events: list[Event]) -> None:
    def check() -> None:
        if any(event.text == "started" for event in events):
            raise Locked("the lock was lost")

    with pytest.raises(Locked):
        process.call(site, slow, 10, check)
    assert Path(slow[1]).read_text() == "terminated\n"


def test_a_helm_that_hangs_is_ended_and_its_outcome_unknown(site: Site, slow: tuple[str, str]) -> None:
    with pytest.raises(Ambiguous, match="was not done after 1 s"):
        process.call(site, slow, 1)
    assert Path(slow[1]).read_text() == "terminated\n"


def test_a_helm_that_is_not_there_is_said(site: Site) -> None:
    with pytest.raises(ConfigError, match="no-such-helm cannot be run") as caught:
        process.call(site, ("no-such-helm",), 5)
    assert "site's tools" in caught.value.mend


def test_the_users_settings_do_not_reach_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELM_NAMESPACE", "elsewhere")
    monkeypatch.setenv("KUBECONFIG", "/elsewhere")
    monkeypatch.setitem(os.environ, "AWS_SECRET_ACCESS_KEY", "canary")
    seen = process.call(site, ("env",), 5)
    assert "elsewhere" not in seen
    assert "canary" not in seen
    assert f"HELM_CACHE_HOME={site.root}/.pipeline/helm/cache" in seen
