from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from pipeline.verify import front
from pipeline.verify.load import Load, Sent
from tests.verify.servers import answer, saying, serving
from tests.verify.worlds import Shop, shop


def test_users_ask_as_long_as_it_takes_and_all_their_answers_are_there(tmp_path: Path) -> None:
    with serving(saying(answer(b"hello"))) as server, shop(tmp_path, server.url) as at:
        with front.users("/", 50, "ingress", at.world, at.view) as load:
            time.sleep(0.5)
        assert load is not None
        assert len(load.sent) == len(server.requests) >= 10
        assert load.lost == []
        assert "Host: probe.example" in server.requests[0]
    assert not [thread.name for thread in threading.enumerate() if thread.name in ("users", "load")]


def test_without_a_page_nobody_asks(at: Shop) -> None:
    with front.users("", 50, "ingress", at.world, at.view) as load:
        assert load is None


@pytest.mark.parametrize(
    ("status", "lost"), [("200 OK", ""), ("404 Not Found", ""), ("500 Internal Server Error", "status 500"), ("503 No", "status 503")]
)
def test_a_request_is_lost_where_the_server_failed(at: Shop, status: str, lost: str) -> None:
    with serving(saying(answer(b"", status))) as server:
        assert front.asking("/", server.url, at.world, at.view)(5).lost == lost


def test_a_request_is_lost_where_nobody_answers(at: Shop) -> None:
    assert front.asking("/", "127.0.0.1:1", at.world, at.view)(5).lost == "connection refused"


def test_what_was_lost_is_counted_with_the_first_and_why() -> None:
    load = Load(lambda _timeout: Sent(0.0, 0.0), 10)
    load.started = 100.0
    load.sent = [Sent(100.5, 0.02), Sent(103.0, 0.5, "status 502"), Sent(101.5, 0.001, "connection refused")]
    assert front.lost(load) == "2 of 3 requests were lost, the first after 1.5 s: connection refused"
    assert front.figures(load) == "3 requests, 2 lost, the slowest 500 ms"


def test_i01_a_load_that_is_none_is_refused() -> None:
    for rate in (0.0, -1.0, 101.0):
        with pytest.raises(ValueError, match="requests a second"):
            front.rated(rate)
    front.rated(100)
    with pytest.raises(ValueError, match="by the way that users go"):
        front.trodden("port-forward:pod/a:80")
    front.trodden("load-balancer:a:80")
