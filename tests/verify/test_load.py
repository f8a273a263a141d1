from __future__ import annotations

import threading

import pytest

from pipeline.testing import FakeClock
from pipeline.verify.load import Load, Sent


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    made = FakeClock()
    monkeypatch.setattr("pipeline.verify.load.time", made)
    return made


def test_the_rate_holds_though_the_answers_are_slow(clock: FakeClock) -> None:
    may_answer = threading.Event()

    def slow(_timeout: float) -> Sent:
        may_answer.wait()
        return Sent(0.0, 0.3)

    with Load(slow, 50) as load:
        load.run(0.5)
        assert load.sent == []
        may_answer.set()
    assert len(load.sent) == 25
    assert load.lost == []


def test_two_runs_are_one_steady_load(clock: FakeClock) -> None:
    with Load(lambda _timeout: Sent(0.0, 0.0), 100) as load:
        for _ in range(5):
            load.run(0.1)
    assert clock.slept == pytest.approx([0.01] * (len(load.sent) - 1)), "no gap and no crowd where one run follows another"
    assert len(load.sent) > 45


def test_what_is_lost_is_counted_in_order() -> None:
    numbers = iter(range(100))
    lock = threading.Lock()

    def every_third(_timeout: float) -> Sent:
        with lock:
            number = next(numbers)
        return Sent(float(number), 0.0, "status 503" if number % 3 == 2 else "")

    with Load(every_third, 100) as load:
        load.run(0.1)
    assert [each.started for each in load.lost][:2] == [2.0, 5.0]


def test_a_defect_is_no_request_that_nobody_counts() -> None:
    def broken(_timeout: float) -> Sent:
        raise RuntimeError("no")

    with Load(broken, 20) as load:
        load.run(0.1)
    assert {each.lost for each in load.sent} == {"RuntimeError('no')"}
