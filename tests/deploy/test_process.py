"""helm as a child process: bounded, ended gently, its lines told, its environment its own, its number in the lock before it starts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from pipeline.deploy import process
from pipeline.deploy.holder import Begun, Holder
from pipeline.deploy.process import Writing
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


class Lock:
    """A lease as a tool sees it: `check` is called while it runs, `begin` before."""

    def __init__(self, check: Callable[[], None] = lambda: None, before: Callable[[], None] = lambda: None) -> None:
        self.holder = Holder.here()
        self.before = before
        self.check = check
        self.left = 0
        self.begun: list[Begun] = []
        self.ended = 0

    def begin(self, begun: Begun) -> None:
        self.before()
        self.begun.append(begun)

    def end(self) -> None:
        self.ended += 1


def writing(lock: Lock) -> Writing:
    return Writing(cast("Any", lock), "helm upgrade", 3)


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

    lock = Lock(check)
    with pytest.raises(KeyboardInterrupt):
        process.call(site, slow, 10, writing(lock))
    assert lock.ended == 1
    assert Path(slow[1]).read_text() == "interrupted\n"
    assert any(event.what is What.WARN and "again to kill" in event.text for event in events)


def test_l06_a_lost_lock_kills_helm_before_it_ends_the_run(site: Site, slow: tuple[str, str], events: list[Event]) -> None:
    """Somebody else may be at work already: it gets no time to write anything more."""

    def check() -> None:
        if any(event.text == "started" for event in events):
            raise Locked("the lock was lost")

    lock = Lock(check)
    with pytest.raises(Locked):
        process.call(site, slow, 10, writing(lock))
    assert not Path(slow[1]).exists()
    assert lock.begun[0].tool is not None
    assert lock.begun[0].tool.surely_dead


def test_l06_a_lock_that_is_lost_while_helm_ends_leaves_it_no_time(site: Site, tmp_path: Path, events: list[Event]) -> None:
    tool = tmp_path / "helm"
    tool.write_text("#!/bin/sh\ntrap '' INT\necho started\nwhile :; do sleep 0.05; done\n")
    tool.chmod(0o755)
    stopping: list[bool] = []

    def check() -> None:
        if stopping:
            raise Locked("the lock was lost")
        if any(event.text == "started" for event in events):
            stopping.append(True)
            raise KeyboardInterrupt

    lock = Lock(check)
    with pytest.raises(KeyboardInterrupt):
        process.call(site, (str(tool),), 60, writing(lock))
    assert lock.begun[0].tool is not None
    assert lock.begun[0].tool.surely_dead


def test_d01_the_lock_says_which_process_it_is_before_it_does_anything(site: Site, tmp_path: Path) -> None:
    known: list[bool] = []
    lock = Lock(before=lambda: known.append((tmp_path / "ran").exists()))
    pid = process.call(site, ("sh", "-c", 'touch "$0"; echo $$', str(tmp_path / "ran")), 5, writing(lock))
    assert known == [False]
    (begun,) = lock.begun
    assert (begun.doing, begun.revision, begun.ended) == ("helm upgrade", 3, False)
    assert begun.tool is not None
    assert begun.tool.pid == int(pid)
    assert lock.ended == 1


def test_d01_without_the_lock_it_does_not_start(site: Site, tmp_path: Path) -> None:
    def before() -> None:
        raise Locked("another run took it over")

    lock = Lock(before=before)
    with pytest.raises(Locked, match="another run took it over"):
        process.call(site, ("touch", str(tmp_path / "ran")), 5, writing(lock))
    assert not (tmp_path / "ran").exists()


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
    monkeypatch.setitem(os.environ, "DATABASE_PASSWORD", "canary")
    seen = process.call(site, ("env",), 5)
    assert "elsewhere" not in seen
    assert "canary" not in seen
    assert f"HELM_CACHE_HOME={site.root}/.pipeline/helm/cache" in seen
