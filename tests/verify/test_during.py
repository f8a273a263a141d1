"""How users fare while a release is made: asked on a real front door, told, and part of the report."""

from __future__ import annotations

import itertools
import socket
import threading
from pathlib import Path

from pipeline.events import Event, What
from pipeline.stage import Site
from pipeline.verify import during
from pipeline.verify.checks import watch
from pipeline.verify.expect import Page
from tests.verify.servers import Server, answer, serving
from tests.verify.test_checks import FakeKube, site, spec


class FrontDoor:
    """Answers 200, and `status` to those requests whose number (counted from 0) is in `wrong`."""

    def __init__(self, wrong: range, status: str = "502 Bad Gateway") -> None:
        self.wrong, self.status = wrong, status
        self.count, self.lock = itertools.count(), threading.Lock()
        self.seen = threading.Condition()
        self.asked = 0

    def __call__(self, peer: socket.socket, _head: str) -> None:
        with self.lock:
            number = next(self.count)
        peer.sendall(answer(b"no", self.status) if number in self.wrong else answer(b"yes"))
        with self.seen:
            self.asked += 1
            self.seen.notify_all()

    def wait_for(self, requests: int) -> None:
        """Return once so many requests were answered. Raises AssertionError if they do not come."""
        with self.seen:
            assert self.seen.wait_for(lambda: self.asked >= requests, 60)


def released(server: Server, door: FrontDoor, root: Path, requests: int) -> tuple[Site, list[Event]]:
    found, events = site(root, server.url, FakeKube([]))
    with watch(spec(checks=(Page("/"),), pods=False, watch=100.0), found):
        door.wait_for(requests)
    return found, events


def test_requests_that_a_release_lost_are_counted_and_told_with_what_mends_it(tmp_path: Path) -> None:
    door = FrontDoor(range(3, 6))
    with serving(door) as server:
        _, events = released(server, door, tmp_path, 12)
    (told,) = events
    assert told.what is What.WARN
    assert "3 lost" in told.text
    assert "status 502" in told.text
    assert "maxUnavailable: 0" in told.text


def test_a_release_that_lost_nothing_says_how_many_it_was_asked(tmp_path: Path) -> None:
    door = FrontDoor(range(0))
    with serving(door) as server:
        _, events = released(server, door, tmp_path, 5)
    assert [event.what for event in events] == [What.LOG]
    assert "0 lost" in events[0].text


def test_a_page_that_nobody_got_before_is_not_asked_while_it_is_released(tmp_path: Path) -> None:
    door = FrontDoor(range(1000), "404 Not Found")
    with serving(door) as server:
        found, events = site(tmp_path, server.url, FakeKube([]))
        with watch(spec(checks=(Page("/"),), pods=False), found):
            assert found.shared.get(during.WATCHED) is None
    assert events == []
    assert len(server.paths) == 1


def test_what_was_counted_stands_in_the_report_of_the_release_and_is_told_once(tmp_path: Path) -> None:
    from pipeline.verify.checks import make
    from tests.verify.releases import RELEASE

    door = FrontDoor(range(2, 4))
    wanted = spec(checks=(Page("/"),), pods=False, watch=100.0)
    with serving(door) as server:
        found, events = site(tmp_path, server.url, FakeKube([]))
        with watch(wanted, found):
            door.wait_for(8)
            report = make(wanted, RELEASE, found)
    assert report.passed
    assert report.checks[-1].name == "while it was released"
    assert "2 lost" in report.checks[-1].evidence
    assert [event.what for event in events if "while it was released" in event.text] == [What.WARN]


def test_nobody_asks_if_the_blueprint_says_so(tmp_path: Path) -> None:
    door = FrontDoor(range(0))
    with serving(door) as server:
        found, events = site(tmp_path, server.url, FakeKube([]))
        with watch(spec(checks=(Page("/"),), pods=False, watch=0.0), found):
            pass
    assert (server.paths, events) == ([], [])
