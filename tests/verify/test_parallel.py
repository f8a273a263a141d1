from __future__ import annotations

import threading
import time

from pipeline.errors import Transient
from pipeline.verify.parallel import a_few_at_once, at_once


def test_answers_and_errors_come_back_in_their_order() -> None:
    error = ValueError("no")

    def fail() -> int:
        raise error

    assert at_once([lambda: 1, fail, lambda: 3], 5) == [1, error, 3]


def test_all_are_asked_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=5)
    assert sorted(at_once([together.wait] * 3, 5)) == [0, 1, 2]  # type: ignore[type-var]


def test_no_more_than_a_few_are_under_way() -> None:
    busy, most, lock = 0, 0, threading.Lock()

    def ask() -> int:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.01)
        with lock:
            busy -= 1
        return busy

    assert len(a_few_at_once([ask] * 12, 5, most=3)) == 12
    assert 1 < most <= 3


def test_v04_one_that_never_answers_does_not_hold_up_the_others() -> None:
    never = threading.Event()
    slow, quick = at_once([never.wait, lambda: True], 0.2)
    never.set()
    assert isinstance(slow, Transient)
    assert "no answer within 0.2 s" in slow.what
    assert quick is True
