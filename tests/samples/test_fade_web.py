"""The HTTP of Fade's programs and of what they ask each other: bounds, times, and peers that do not keep to anything."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from pipeline.lab.samples.fade import dial, web
from pipeline.lab.samples.fade.dial import Target, Unreachable
from pipeline.lab.samples.fade.web import Answer, Listener, Refused, Request, page
from tests.samples.fade import ask, soon


@contextmanager
def listening(answer: Callable[[Request], Answer]) -> Iterator[int]:
    listener = Listener("127.0.0.1", 0, answer)
    listener.start()
    try:
        yield listener.server_address[1]
    finally:
        listener.end()


def said(asked: Request) -> Answer:
    """What was understood of the request."""
    if asked.path == "/boom":
        raise RuntimeError("secret text")
    if asked.path == "/busy":
        raise Refused(503, "later", nodes=3)
    return page(200, {"method": asked.method, "path": asked.path, "query": asked.query, "body": asked.read(100).decode()})


def test_a_request_is_a_value() -> None:
    with listening(said) as port:
        code, body = ask(port, "PUT", "/a%20b?c=d&e=", b"text")
    assert code == 200
    assert json.loads(body) == {"method": "PUT", "path": "/a b", "query": {"c": "d", "e": ""}, "body": "text"}


def test_what_was_not_foreseen_ends_one_request_and_tells_nobody_why(capsys: pytest.CaptureFixture[str]) -> None:
    with listening(said) as port:
        code, body = ask(port, "GET", "/boom")
        assert (code, json.loads(body)) == (500, {"error": "this was not foreseen; the log says more"})
        assert ask(port, "POST", "/", b"")[0] == 200
    assert "GET '/boom': RuntimeError: secret text" in capsys.readouterr().err


def test_a_refusal_says_why_and_when_to_come_back() -> None:
    with listening(said) as port, socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
        peer.sendall(b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n")
        text = b"".join(iter(lambda: peer.recv(4096), b"")).decode()
    assert text.startswith("HTTP/1.1 503 ")
    assert "Retry-After: 1\r\n" in text
    assert json.loads(text.partition("\r\n\r\n")[2]) == {"error": "later", "nodes": 3}


def test_there_is_an_end_to_the_requests_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "AT_ONCE", 2)
    go, begun = threading.Event(), threading.Semaphore(0)

    def wait(_: Request) -> Answer:
        begun.release()
        go.wait(60)
        return page(200, {})

    codes: list[int] = []
    with listening(wait) as port, ExitStack() as stack:
        threads = [threading.Thread(target=lambda: codes.append(ask(port, "GET", "/")[0])) for _ in range(2)]
        for each in threads:
            each.start()
            stack.callback(each.join)
        stack.callback(go.set)
        assert all(begun.acquire(timeout=30) for _ in range(2))
        assert ask(port, "GET", "/")[0] == 503
        go.set()
        for each in threads:
            each.join()
        assert codes == [200, 200]
        soon(lambda: ask(port, "GET", "/")[0] == 200)  # and there is room again


def test_a_peer_that_does_not_finish_its_request_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.Handler, "timeout", 0.2)
    monkeypatch.setattr(web, "PEER", 600.0)
    with listening(said) as port:
        for started in (b"", b"POST / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as peer:
                peer.sendall(started)
                while peer.recv(4096):
                    pass


def test_what_is_under_way_is_answered_before_the_end() -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(_: Request) -> Answer:
        begun.set()
        go.wait(10)
        return page(200, {})

    codes: list[int] = []
    with listening(slow) as port:
        client = threading.Thread(target=lambda: codes.append(ask(port, "GET", "/")[0]))
        client.start()
        assert begun.wait(5)
        threading.Timer(0.3, go.set).start()
    client.join()
    assert codes == [200]


def test_who_was_connected_before_the_end_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener("127.0.0.1", 0, said)
    monkeypatch.setattr(listener, "shutdown", lambda: None)  # it does not run: so whoever comes is not heard before the end
    with ExitStack() as stack:
        stack.callback(listener.server_close)
        peers = [stack.enter_context(socket.create_connection(("127.0.0.1", listener.server_address[1]), timeout=5)) for _ in range(3)]
        for each in peers:
            each.sendall(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        listener.end()
        assert [each.recv(12) for each in peers] == [b"HTTP/1.1 200"] * 3


@contextmanager
def stranger(*sent: bytes, pause: float = 0.0) -> Iterator[Target]:
    """A peer that takes one connection and sends this."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(4096)
                for each in sent:
                    time.sleep(pause)
                    try:
                        peer.sendall(each)
                    except OSError:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        target = Target("127.0.0.1", server.getsockname()[1])
        target.look_up()
        yield target
        thread.join()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "pause", "says"),
    [
        ([b"SSH-2.0-x\r\n"], 0.0, "SSH-2.0"),
        ([], 0.0, "closed connection|reset"),
        ([HEAD, b"only this"], 0.0, "broke off|IncompleteRead"),
        ([HEAD, *[b"."] * 20], 0.1, "takes longer than 0.5 s"),
        ([b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 5000], 0.0, "larger than 1000 bytes"),
        ([HEAD], 1.0, "timed out"),
    ],
)
def test_a_peer_that_is_none_is_unreachable(sent: list[bytes], pause: float, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dial, "LARGEST", 1000)
    with stranger(*sent, pause=pause) as target, pytest.raises(Unreachable, match=says):
        target.ask("GET", "/", within=0.5)


def test_an_address_is_written_as_it_is_asked() -> None:
    assert (str(Target("fd00::1", 80)), str(Target("n0.nodes", 8080))) == ("[fd00::1]:80", "n0.nodes:8080")
