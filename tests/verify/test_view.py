from __future__ import annotations

import threading

import pytest

from pipeline.verify.web import Unreachable
from tests.verify.worlds import Shop


def test_a_list_is_asked_for_once_however_many_read_it_at_once(at: Shop) -> None:
    at.pod()
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(at.view.pods()))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert found == [1] * 6
    assert len([target for _, target in at.fake.asked if "/pods" in target]) == 1


def test_what_is_not_there_is_none_and_asked_for_once(at: Shop) -> None:
    assert at.view.get("v1", "services", "nobody") is None
    assert at.view.get("v1", "services", "nobody") is None
    assert len(at.fake.asked) == 1


def test_patience_that_the_api_asks_for_is_kept(at: Shop) -> None:
    at.fake.fault = lambda _method, _path: (429, {"message": "slow down"}, {"Retry-After": "7"})
    with pytest.raises(Unreachable) as caught:
        at.view.pods()
    assert caught.value.retry_after == 7
