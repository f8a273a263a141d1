"""The lock: one holder at a time, dead ones followed within a lease's life, lost ones stopped before they change anything."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.clock import SystemClock
from pipeline.deploy import holder as holder_module
from pipeline.deploy.freeze import freeze, thaw
from pipeline.deploy.holder import Begun, Holder
from pipeline.deploy.lease import Lease, held
from pipeline.deploy.waiting import Patience
from pipeline.errors import Locked, Transient
from pipeline.records import actor
from pipeline.testing import FakeClock
from pipeline.testing.kube import FakeKube
from pipeline.tools.kube import Kube, path
from pipeline.tools.kubeconfig import load
from tests.sshd import settled

ELSEWHERE = Holder("eve", "elsewhere", 7, "1", "otherboot", "1", "run1")
WHERE = path("coordination.k8s.io/v1", "leases", "shop", "pipeline-web")


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeKube]:
    server = FakeKube(tmp_path)
    yield server
    server.close()


@pytest.fixture
def kube(fake: FakeKube) -> Iterator[Kube]:
    client = Kube(load(str(fake.kubeconfig())), timeout=2)
    yield client
    client.close()


def lease(
    kube: Kube, clock: FakeClock | SystemClock, holder: Holder | None = None, duration: float = 15.0, renew: float = 60.0,
    despite_freeze: bool = False, patience: Patience | None = None,
) -> Lease:  # fmt: skip
    return Lease(kube, "shop", "web", clock, holder=holder, duration=duration, renew=renew, poll=0.5, despite_freeze=despite_freeze,
                 patience=patience)  # fmt: skip


def gone(run: str = "dead") -> Holder:
    """A run of this machine whose process is no more."""
    here = Holder.here()
    return Holder(here.user, here.host, 2**22 + 1, "1", here.boot, here.space, run, here.machine)


def test_it_is_taken_given_back_and_the_fence_grows(kube: Kube, fake: FakeKube) -> None:
    fences = []
    for _ in range(3):
        with held(kube, "shop", "web", FakeClock()) as one:
            fences.append(one.fence)
            assert fake.objects[WHERE]["spec"]["holderIdentity"] == str(one.holder)
        assert fake.objects[WHERE]["spec"]["holderIdentity"] == ""
    assert fences == [1, 2, 3]


def test_a_live_holder_is_named(kube: Kube) -> None:
    first = lease(kube, SystemClock(), ELSEWHERE, duration=5, renew=0.05).acquire()
    with pytest.raises(Locked, match=r"eve@elsewhere \(pid 7, run run1\) is deploying web since 20") as caught:
        lease(kube, SystemClock()).acquire()
    assert caught.value.exit_code == 13
    first.release()


def test_l01_a_dead_holder_is_followed_after_its_lease_with_fence_plus_one(kube: Kube) -> None:
    first = lease(kube, FakeClock(), ELSEWHERE).acquire()
    clock = FakeClock()
    second = lease(kube, clock).acquire()
    assert 15.0 < clock.passed <= 16.0
    assert second.fence == first.fence + 1
    second.release()


def test_l04_what_the_other_clock_says_does_not_matter(kube: Kube) -> None:
    for shift in (-86_400.0, 86_400.0):
        theirs = FakeClock(time.time() + shift)
        first = lease(kube, theirs, ELSEWHERE).acquire()
        clock = FakeClock()
        second = lease(kube, clock).acquire()
        assert 15.0 < clock.passed <= 16.0
        first.release()
        second.release()


def test_l01_a_process_that_is_gone_from_this_machine_is_followed_at_once(kube: Kube) -> None:
    child = subprocess.Popen(["sleep", "60"])
    here = Holder.here()
    started = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    holder = Holder(here.user, here.host, child.pid, started, here.boot, here.space, "dead")
    lives = holder.surely_dead is False
    lease(kube, FakeClock(), holder).acquire()
    child.kill()
    child.wait()
    assert (lives, holder.surely_dead) == (True, True)
    clock = FakeClock()
    lease(kube, clock).acquire().release()
    assert clock.passed == 0


def test_a_pid_of_another_kernel_or_namespace_proves_nothing() -> None:
    here = Holder.here()
    assert not Holder("a", "b", 2**22 + 1, "1", "otherboot", here.space, "r").surely_dead
    assert not Holder("a", "b", 2**22 + 1, "1", here.boot, "0", "r").surely_dead
    assert Holder("a", "b", 2**22 + 1, "1", here.boot, here.space, "r").surely_dead


def test_a_number_that_another_process_has_by_now_is_no_sign_of_life(kube: Kube) -> None:
    here = Holder.here()
    reused = Holder(here.user, here.host, here.pid, str(int(here.started) - 1), here.boot, here.space, "old")
    assert reused.surely_dead
    assert not here.surely_dead
    lease(kube, FakeClock(), reused).acquire()
    clock = FakeClock()
    lease(kube, clock).acquire().release()
    assert clock.passed == 0


def test_a_corpse_that_nobody_has_buried_is_dead() -> None:
    child = subprocess.Popen(["true"])
    here = Holder.here()
    started = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    assert Holder(here.user, here.host, child.pid, started, here.boot, here.space, "r").surely_dead
    child.wait()


def test_l01_what_ran_before_this_machine_was_started_anew_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Holder.here()
    monkeypatch.setattr(holder_module, "_space", lambda: holder_module.FIRST_SPACE)
    monkeypatch.setattr(holder_module, "_machine", lambda: "m1")
    before = Holder("a", here.host, 1, "1", "otherboot", holder_module.FIRST_SPACE, "r", "m1")
    assert before.surely_dead
    assert not dataclasses.replace(before, machine="m2").surely_dead
    assert not dataclasses.replace(before, machine="").surely_dead
    assert not dataclasses.replace(before, host="another").surely_dead
    assert not dataclasses.replace(before, space="1").surely_dead  # a container may be gone, or be at work elsewhere
    assert not dataclasses.replace(before, boot="").surely_dead


def test_d01_what_was_begun_is_written_down_and_read_by_the_next(kube: Kube) -> None:
    first = lease(kube, FakeClock(), gone()).acquire()
    begun = Begun(first.holder, "helm upgrade", 4).with_tool(2**22 + 2)
    first.begin(begun)
    second = lease(kube, FakeClock()).acquire()
    assert second.begun == begun
    assert second.begun.surely_over
    second.end()
    second.release()
    third = lease(kube, FakeClock()).acquire()
    assert third.begun == dataclasses.replace(begun, ended=True)
    third.release()


@pytest.mark.parametrize("said", ["", "{}", "[]", "x", '{"holder": "argo"}', '{"holder": "a@b/1/1/1/1/r", "doing": "x", "revision": "y"}'])
def test_what_nobody_of_ours_wrote_down_says_nothing(said: str) -> None:
    assert Begun.read(said) is None


def test_d01_a_tool_that_outlived_its_run_keeps_the_lock(kube: Kube) -> None:
    """It cannot, since it dies with its run; were it otherwise, whoever follows must not begin beside it."""
    tool = subprocess.Popen(["sleep", "600"])
    first = lease(kube, FakeClock(), gone()).acquire()
    first.begin(Begun(first.holder, "helm upgrade", 4).with_tool(tool.pid))
    try:
        with pytest.raises(Locked, match="is deploying web since 20") as caught:
            lease(kube, FakeClock()).acquire()
        assert caught.value.cause == f"that run is gone, but its helm upgrade (pid {tool.pid} on this machine) is still at work"
        assert caught.value.mend == f"see what it does: ps -fp {tool.pid}; once it has ended, run again"
    finally:
        tool.kill()
        tool.wait()
    lease(kube, FakeClock()).acquire().release()


def test_l01_who_waits_is_told_whom_for_and_gets_it(kube: Kube) -> None:
    theirs, ours, told = FakeClock(), FakeClock(), list[str]()
    first = lease(kube, theirs, ELSEWHERE).acquire()
    for second in range(4, 40, 4):
        ours.after(second, first.assert_held)
    ours.after(40, first.release)
    patience = Patience(120, told.append, usual=90)
    ours.start = theirs.start
    lease(kube, ours, patience=patience).acquire().release()
    assert 40 <= ours.passed < 42
    assert told[0].startswith("eve@elsewhere (pid 7, run run1) is deploying web since 20")
    assert "whether it is alive is not known yet, usually done in 90 s more; waits for up to 120 s more" in told[0]
    assert "it is alive, usually done in" in told[1]
    assert len(told) <= 6


def test_l01_who_has_waited_long_enough_says_whom_for(kube: Kube) -> None:
    theirs, ours = FakeClock(), FakeClock()
    first = lease(kube, theirs, ELSEWHERE).acquire()
    for second in range(4, 100, 4):
        ours.after(second, first.assert_held)
    with pytest.raises(Locked, match=r"eve@elsewhere \(pid 7, run run1\) is deploying web") as caught:
        lease(kube, ours, patience=Patience(30)).acquire()
    assert 30 <= ours.passed < 32
    assert caught.value.cause == "it is alive"
    assert "--wait SECONDS" in caught.value.mend


def test_an_identity_is_read_back_and_a_foreign_one_is_not() -> None:
    assert Holder.read(str(ELSEWHERE)) == ELSEWHERE
    assert Holder.read("argocd-controller_3f") is None
    assert Holder.here().pid == os.getpid()


def test_l02_a_holder_that_slept_past_its_lease_changes_nothing(kube: Kube) -> None:
    theirs = FakeClock()
    first = lease(kube, theirs, ELSEWHERE).acquire()
    theirs.advance(16)
    with pytest.raises(Locked, match="could not be renewed for 12 s"):
        first.check()


def test_l02_the_time_that_the_machine_slept_counts(kube: Kube) -> None:
    """CLOCK_MONOTONIC stands still while a laptop is closed, the cluster does not."""
    theirs = FakeClock()
    first = lease(kube, theirs, ELSEWHERE).acquire()
    theirs.suspended += 13
    with pytest.raises(Locked, match="could not be renewed"):
        first.check()
    with pytest.raises(Locked, match="could not be renewed"):
        first.assert_held()


@pytest.mark.parametrize("ask", [Lease.acquire, Lease.assert_held, Lease.regain])
def test_l02_its_time_counts_from_before_the_request(kube: Kube, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Lease], object]) -> None:
    """An answer that took long came to a lease that is as old as the question: when it is taken, renewed, and held on."""
    clock = FakeClock()
    one = lease(kube, clock, ELSEWHERE)
    if ask is not Lease.acquire:
        one.acquire()
    if ask is Lease.regain:
        clock.advance(16)

    def slow(call: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        def answer_late(*words: Any) -> dict[str, Any]:
            answer = call(*words)
            clock.advance(13)
            return answer

        return answer_late

    monkeypatch.setattr(kube, "create", slow(kube.create))
    monkeypatch.setattr(kube, "replace", slow(kube.replace))

    def ask_and_check() -> None:
        ask(one)
        one.check()

    with pytest.raises(Locked, match="could not be renewed"):
        ask_and_check()
    one.release()


def test_l02_a_sleeper_takes_nothing_from_a_live_holder(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looked, slept for longer than the lease's life, and believes what it saw: the holder has renewed it since."""
    first = lease(kube, FakeClock(), ELSEWHERE).acquire()
    clock, get = FakeClock(), kube.get

    def sleepy(target: str) -> dict[str, Any] | None:
        found = get(target)
        clock.advance(60)
        first.assert_held()
        return found

    monkeypatch.setattr(kube, "get", sleepy)
    with pytest.raises(Locked, match="eve@elsewhere"):
        lease(kube, clock).acquire()
    first.assert_held()


def test_l02_the_holder_stops_before_anybody_may_follow(kube: Kube) -> None:
    """Both count the same time by clocks of their own: at no moment of it do two have it."""
    theirs, ours = FakeClock(), FakeClock()
    first = lease(kube, theirs, ELSEWHERE).acquire()
    second = lease(kube, ours).acquire()
    theirs.advance(ours.passed - 2.5)
    with pytest.raises(Locked):
        first.check()
    second.release()


def test_l06_one_transient_error_loses_nothing(kube: Kube, fake: FakeKube, monkeypatch: pytest.MonkeyPatch) -> None:
    one = lease(kube, SystemClock(), duration=60.0, renew=0.02).acquire()
    replace, refused = kube.replace, threading.Event()

    def once(target: str, value: dict[str, Any]) -> dict[str, Any]:
        if not refused.is_set():
            refused.set()
            raise Transient("connection refused")
        return replace(target, value)

    monkeypatch.setattr(kube, "replace", once)
    assert refused.wait(60)
    version = fake.objects[WHERE]["metadata"]["resourceVersion"]
    assert settled(lambda: one.lost or fake.objects[WHERE]["metadata"]["resourceVersion"] != version, 60), "it is not renewed any more"
    assert one.lost == ""
    one.assert_held()
    one.release()


def test_l02_a_holder_that_was_followed_is_refused_by_the_fence(kube: Kube) -> None:
    first = lease(kube, FakeClock(), ELSEWHERE).acquire()
    second = lease(kube, FakeClock()).acquire()
    with pytest.raises(Locked, match="another run took it over"):
        first.assert_held()
    with pytest.raises(Locked):
        first.check()
    second.assert_held()
    first.release()
    second.assert_held()
    second.release()


def test_l06_a_holder_cut_off_from_the_cluster_stops_before_its_lease_ends(kube: Kube, fake: FakeKube) -> None:
    one = lease(kube, SystemClock(), duration=0.6, renew=0.1).acquire()
    one.check()
    fake.stop()
    assert settled(lambda: one.lost)
    with pytest.raises(Locked, match="was lost"):
        one.check()
    fake.start()
    one.release()


def test_it_is_renewed_while_it_is_held(kube: Kube, fake: FakeKube) -> None:
    one = lease(kube, SystemClock(), duration=30.0, renew=0.05).acquire()
    first = fake.objects[WHERE]["spec"]["renewTime"]
    assert settled(lambda: fake.objects[WHERE]["spec"]["renewTime"] > first)
    one.release()


def test_l07_a_freeze_is_told_at_once_and_lifted(kube: Kube) -> None:
    freeze(kube, "shop", "web", "holiday until Monday", FakeClock())
    clock = FakeClock()
    with pytest.raises(Locked, match="holiday until Monday") as caught:
        lease(kube, clock).acquire()
    assert clock.passed == 0
    assert "inv unfreeze" in caught.value.mend
    assert caught.value.cause.startswith(f"by {actor()} since 20")
    lease(kube, clock, despite_freeze=True).acquire().release()
    thaw(kube, "shop", "web")
    lease(kube, clock).acquire().release()


def test_l07_a_freeze_during_a_deploy_does_not_break_it(kube: Kube) -> None:
    one = lease(kube, FakeClock()).acquire()
    freeze(kube, "shop", "web", "stop", FakeClock())
    one.assert_held()
    one.release()


def test_of_many_at_once_exactly_one_gets_it(kube: Kube) -> None:
    got: list[Lease] = []
    refused: list[Locked] = []
    barrier = threading.Barrier(6)

    def attempt(number: int) -> None:
        holder = Holder("user", "host", number, "1", f"boot{number}", "1", f"run{number}")
        barrier.wait()
        try:
            got.append(lease(kube, SystemClock(), holder, duration=3, renew=0.05).acquire())
        except Locked as error:
            refused.append(error)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    assert len(refused) == 5
    got[0].release()


def test_l06_what_could_not_be_renewed_is_held_on_if_nobody_took_it_over(kube: Kube, fake: FakeKube) -> None:
    clock = FakeClock()
    mine = lease(kube, clock).acquire()
    clock.sleep(60)
    with pytest.raises(Locked, match="could not be renewed"):
        mine.assert_held()
    mine.regain()
    mine.assert_held()
    assert mine.fence == 1
    clock.sleep(60)
    theirs = lease(kube, clock, ELSEWHERE)
    fake.put(
        WHERE, {**fake.objects[WHERE], "spec": {**fake.objects[WHERE]["spec"], "holderIdentity": str(theirs.holder), "leaseTransitions": 2}}
    )
    for _ in range(2):
        with pytest.raises(Locked, match="another run took it over"):
            mine.regain()
    fake.put(WHERE, {**fake.objects[WHERE], "spec": {**fake.objects[WHERE]["spec"], "holderIdentity": ""}})
    with pytest.raises(Locked, match="another run took it over"):
        mine.regain()
    mine.release()
