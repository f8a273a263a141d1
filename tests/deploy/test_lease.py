"""The lock: one holder at a time, dead ones followed within a lease's life, lost ones stopped before they change anything."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.clock import SystemClock
from pipeline.deploy.freeze import freeze, thaw
from pipeline.deploy.holder import Holder
from pipeline.deploy.lease import Lease, held
from pipeline.errors import Locked
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
    despite_freeze: bool = False,
) -> Lease:  # fmt: skip
    return Lease(kube, "shop", "web", clock, holder=holder, duration=duration, renew=renew, poll=0.5, despite_freeze=despite_freeze)


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


def test_an_identity_is_read_back_and_a_foreign_one_is_not() -> None:
    assert Holder.read(str(ELSEWHERE)) == ELSEWHERE
    assert Holder.read("argocd-controller_3f") is None
    assert Holder.here().pid == os.getpid()


def test_l02_a_holder_that_slept_past_its_lease_changes_nothing(kube: Kube) -> None:
    theirs = FakeClock()
    first = lease(kube, theirs, ELSEWHERE).acquire()
    theirs.advance(16)
    with pytest.raises(Locked, match="could not be renewed for 15 s"):
        first.check()


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
