from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from pipeline.errors import Transient
from pipeline.host import Address
from pipeline.verify.tcp import Tcp, question
from pipeline.verify.web import Unreachable
from tests.verify.worlds import Shop


@contextlib.contextmanager
def saying(*pieces: bytes, hold: bool = True) -> Iterator[int]:
    """A port that says something unasked, and then holds the connection or ends it."""
    done = threading.Event()

    def one(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            peer, _ = server.accept()
            with peer:
                for piece in pieces:
                    peer.sendall(piece)
                if hold:
                    done.wait(5)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=one, args=(server,), daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        done.set()
        thread.join(5)


def asked(check: Tcp, at: Shop, seconds: float = 3) -> tuple[bool, str]:
    one = question(check, at.world)
    found = one.judge(one.ask(at.view, seconds))
    return found.passed, found.evidence


def test_a_port_that_takes_connections_passes(at: Shop) -> None:
    with saying() as port:
        passed, evidence = asked(Tcp(f"127.0.0.1:{port}"), at)
    assert passed
    assert evidence.startswith("connected in ")


def test_a_greeting_is_read_piece_by_piece(at: Shop) -> None:
    with saying(b"SSH-", b"2.0-OpenSSH\r\n") as port:
        passed, evidence = asked(Tcp(f"127.0.0.1:{port}", banner="2.0-Open"), at)
    assert passed
    assert "SSH-2.0-OpenSSH" in evidence


def test_another_greeting_or_none_fails(at: Shop) -> None:
    with saying(b"220 mail\r\n") as port:
        passed, evidence = asked(Tcp(f"127.0.0.1:{port}", banner="SSH-"), at, 0.4)
    assert (passed, evidence) == (False, r'it says "220 mail\r\n", expected "SSH-"')
    with saying() as port:
        assert asked(Tcp(f"127.0.0.1:{port}", banner="SSH-"), at, 0.4) == (False, 'it says nothing, expected "SSH-"')


def test_a_closed_port_says_nothing_about_the_release(at: Shop) -> None:
    with pytest.raises(Unreachable, match="Connection refused"):
        asked(Tcp("127.0.0.1:1"), at)


def test_a_port_forward_takes_every_connection_and_still_knows(at: Shop) -> None:
    at.pod()
    at.service()
    check = Tcp("port-forward:service/probe:git")
    with pytest.raises(Transient, match="nothing listens on that port in the pod"):
        asked(check, at)
    with saying() as port:
        at.fake.ports["probe-1:9418"] = Address("127.0.0.1", port)
        assert asked(check, at)[0]


def test_i01_an_ingress_is_no_port() -> None:
    with pytest.raises(ValueError, match="asked with a path"):
        Tcp("ingress")
