from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.errors import AuthError, ConfigError, Transient
from pipeline.host import Address
from pipeline.testing.kube import FakeKube
from pipeline.tools.kube import Kube, path
from pipeline.tools.kubeconfig import load
from pipeline.tools.portforward import PortForward
from pipeline.verify.web import Ask, get
from tests.verify.servers import answer, saying, serving

POD = path("v1", "pods", "shop", "web-1")


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeKube]:
    found = FakeKube(tmp_path)
    found.put(POD, {"metadata": {"name": "web-1"}})
    yield found
    found.close()


@pytest.fixture
def forward(fake: FakeKube) -> Iterator[PortForward]:
    kube = Kube(load(str(fake.kubeconfig())))
    found = PortForward(kube, "shop")
    yield found
    found.close()
    kube.close()


def connect(forward: PortForward) -> socket.socket:
    return socket.create_connection((forward.address.host, forward.address.port), 5)


def until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 5
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def test_a_page_behind_a_port_of_a_pod_is_asked_on_loopback(fake: FakeKube, forward: PortForward) -> None:
    body = b"x" * 300_000
    with serving(saying(answer(body))) as server:
        fake.ports["web-1:8088"] = Address(server.address, server.port)
        forward.lead("web-1", 8088)
        assert forward.address.host == "127.0.0.1"
        assert get(Ask(f"http://{forward.address}", "web.example", "/healthz")).body == body
    assert "Host: web.example" in server.requests[0]
    assert ("GET", f"{POD}/portforward?ports=8088") in fake.asked
    assert forward.failure is None


def test_many_connections_at_once_each_get_their_own_answer(fake: FakeKube, forward: PortForward) -> None:
    def handler(peer: socket.socket, head: str) -> None:
        peer.sendall(answer(head.split(" ")[1].encode()))

    with serving(handler) as server:
        fake.ports["web-1:8088"] = Address(server.address, server.port)
        forward.lead("web-1", 8088)
        found: dict[int, bytes] = {}

        def ask(number: int) -> None:
            found[number] = get(Ask(f"http://{forward.address}", "web.example", f"/{number}")).body

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert found == {number: f"/{number}".encode() for number in range(8)}


def test_a_port_that_nothing_listens_on_is_known_before_the_client_sees_the_end(forward: PortForward) -> None:
    forward.lead("web-1", 9999)
    with connect(forward) as end:
        assert end.recv(1) == b""
        assert isinstance(forward.failure, Transient)
        assert "nothing listens on that port in the pod" in forward.failure.what


def test_a_pod_that_is_gone_is_what_the_api_says(forward: PortForward) -> None:
    forward.lead("web-0", 8088)
    with connect(forward) as end:
        assert end.recv(1) == b""
    assert isinstance(forward.failure, ConfigError)
    assert "pods/portforward/web-0 in namespace shop" in forward.failure.what


def test_a_permission_that_is_missing_is_an_auth_error(fake: FakeKube, forward: PortForward) -> None:
    fake.fault = lambda _method, target: (403, {"message": "no"}, {}) if "portforward" in target else None
    forward.lead("web-1", 8088)
    with connect(forward) as end:
        assert end.recv(1) == b""
    assert isinstance(forward.failure, AuthError)
    assert "allow this user to get pods/portforward in shop" in forward.failure.mend


def test_an_api_that_does_not_answer_is_transient(fake: FakeKube, forward: PortForward) -> None:
    fake.stop()
    forward.lead("web-1", 8088)
    with connect(forward) as end:
        assert end.recv(1) == b""
    assert isinstance(forward.failure, Transient)
    fake.start()


@pytest.mark.timeout(60)
def test_closing_ends_the_port_and_every_connection_at_once(fake: FakeKube, forward: PortForward) -> None:
    hold = threading.Event()
    with serving(lambda _peer, _head: void(hold.wait())) as server:
        fake.ports["web-1:8088"] = Address(server.address, server.port)
        forward.lead("web-1", 8088)
        with connect(forward) as end:
            end.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert until(lambda: bool(server.requests))
            assert forward.connections == 1
            forward.close()  # the server has not answered yet
            assert end.recv(1) == b""
        hold.set()
    assert forward.connections == 0
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("port-forward")]
    with pytest.raises(ConnectionRefusedError):
        connect(forward)


def test_what_the_pod_says_after_the_client_ended_its_side_still_comes(fake: FakeKube, forward: PortForward) -> None:
    def handler(peer: socket.socket, _head: str) -> None:
        time.sleep(0.3)
        peer.sendall(b"last words")

    with serving(handler) as server:
        fake.ports["web-1:8088"] = Address(server.address, server.port)
        forward.lead("web-1", 8088)
        with connect(forward) as end:
            end.sendall(b"GET / HTTP/1.1\r\n\r\n")
            end.shutdown(socket.SHUT_WR)
            assert end.recv(100) == b"last words"


def void(_value: object) -> None:
    """Discard what a lambda has to return."""
