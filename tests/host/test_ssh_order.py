"""What is said to a session while it ends must not cost the connection: every delay here is one that a busy machine makes."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from pipeline.host import Address, Cmd
from pipeline.host.ssh import SshHost
from tests.sshd import Sshd, settled

DATA, EOF, CLOSE = 94, 96, 97


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")).running() as made:
        yield made


@pytest.fixture
def host(sshd: Sshd) -> Iterator[SshHost]:
    made = sshd.host()
    yield made
    made.close()


@contextlib.contextmanager
def crossing(which: Callable[[bytes], bool], monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Have the end of a session come just while such a message is on its way. Gives, for each message, whether it did."""
    send = paramiko.Transport._send_user_message  # type: ignore[attr-defined]
    handlers = paramiko.Transport._channel_handler_table  # type: ignore[attr-defined]
    begun, crossed = threading.Event(), list[bool]()

    def wait(transport: paramiko.Transport, message: paramiko.Message) -> None:
        data = message.asbytes()
        if which(data):
            channels = transport._channels.values()  # type: ignore[attr-defined]
            (channel,) = [each for each in channels if each.remote_chanid == int.from_bytes(data[1:5], "big")]
            begun.set()
            crossed.append(settled(lambda: channel.closed, 10))
        send(transport, message)

    def end(channel: paramiko.Channel, message: paramiko.Message) -> None:
        begun.wait(10)
        handlers[CLOSE](channel, message)

    with monkeypatch.context() as patched:
        patched.setattr(paramiko.Transport, "_send_user_message", wait)
        patched.setattr(paramiko.Transport, "_channel_handler_table", {**handlers, CLOSE: end})
        yield crossed


def test_the_word_after_the_last_one_does_not_cost_the_line(host: SshHost, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[bytes] = []

    def is_last(data: bytes) -> bool:
        if data[0] == DATA:
            said.append(data)
        return data[0] == DATA and len(said) == 2

    link = host._open()
    with crossing(is_last, monkeypatch) as crossed:
        assert host.run(Cmd(("true",))).ok
    assert crossed == [True]
    assert host.run(Cmd(("echo", "again"))).text == "again"
    assert host._open() is link


def test_input_that_a_command_does_not_want_does_not_cost_the_line(host: SshHost, tmp_path: Path) -> None:
    link = host._open()
    for _ in range(20):
        assert host.run(Cmd(("true",), stdin=bytes(300_000))).ok
    assert host.run(Cmd(("echo", "again"))).text == "again"
    assert host._open() is link


def test_the_end_of_a_connection_through_a_tunnel_does_not_cost_the_line(host: SshHost, monkeypatch: pytest.MonkeyPatch) -> None:
    link = host._open()
    with socket.create_server(("127.0.0.1", 0)) as server, host.forward(Address("127.0.0.1", server.getsockname()[1])) as address:
        server.settimeout(10)
        with crossing(lambda data: data[0] == EOF, monkeypatch) as crossed:
            with socket.create_connection((address.host, address.port), timeout=10) as client:
                end, _ = server.accept()
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.close()
                assert client.recv(1) == b""
                client.sendall(b"nobody reads it")
            assert settled(lambda: crossed)
    assert crossed == [True]
    assert host.run(Cmd(("echo", "again"))).text == "again"
    assert host._open() is link
