from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import Transient
from pipeline.host import Address, Cmd, Host, Output
from pipeline.testing import FakeClock, FakeHost


def test_clock_sleeps_without_waiting_and_acts_in_order() -> None:
    clock = FakeClock()
    seen: list[tuple[str, float]] = []
    clock.after(30, lambda: seen.append(("late", clock.monotonic())))
    clock.after(10, lambda: seen.append(("early", clock.monotonic())))
    clock.sleep(3600)
    assert seen == [("early", 10), ("late", 30)]
    assert (clock.monotonic(), clock.slept) == (3600, [3600])
    assert clock.now() == clock.start + 3600


def test_host_answers_in_turn_and_records() -> None:
    host = FakeHost().on(("nix", "build"), Transient("gone"), Output(0, b"a\nb\n"))
    assert isinstance(host, Host)
    with pytest.raises(Transient):
        host.run(Cmd(("nix", "build", "x")))
    lines: list[str] = []
    for _ in range(2):
        assert host.run(Cmd(("nix", "build", "x")), lines.append).ok
    assert lines == ["a", "b", "a", "b"]
    assert host.argvs == [("nix", "build", "x")] * 3


def test_newest_entry_wins_and_the_unscripted_fails() -> None:
    host = FakeHost().on(lambda cmd: cmd.argv[0] == "git", Output(1)).on(("git", "status"), lambda cmd: Output(0, cmd.stdin))
    assert host.run(Cmd(("git", "log"))).code == 1
    assert host.run(Cmd(("git", "status"), stdin=b"in")).stdout == b"in"
    with pytest.raises(AssertionError, match="did not script"):
        host.run(Cmd(("rm",)))


def test_put_and_tunnels_are_recorded(tmp_path: Path) -> None:
    host = FakeHost()
    (tmp_path / "a").write_bytes(b"content")
    host.put(tmp_path / "a", "/there/a")
    assert host.files == {"/there/a": b"content"}
    with host.forward(Address("10.0.0.1", 6443)) as address, host.expose(Address("127.0.0.1", 80)):
        assert address == Address("10.0.0.1", 6443)
    assert host.tunnels == [("forward", Address("10.0.0.1", 6443)), ("expose", Address("127.0.0.1", 80))]
