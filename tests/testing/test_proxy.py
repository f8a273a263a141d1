from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.host import Address
from pipeline.testing import FaultProxy


@pytest.fixture
def echo() -> Iterator[Address]:
    """A server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(end: socket.socket) -> None:
        with end:
            try:
                while chunk := end.recv(65536):
                    end.sendall(chunk)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                end, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(end,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield Address("127.0.0.1", listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def connect(proxy: FaultProxy, timeout: float = 5.0) -> socket.socket:
    return socket.create_connection((proxy.address.host, proxy.address.port), timeout=timeout)


def ask(end: socket.socket, text: bytes = b"hello") -> bytes:
    end.sendall(text)
    got = b""
    while len(got) < len(text):
        chunk = end.recv(65536)
        if not chunk:
            break
        got += chunk
    return got


def test_passes_bytes_and_counts_them(echo: Address) -> None:
    with FaultProxy(echo) as proxy, connect(proxy) as end:
        assert ask(end, b"x" * 5000) == b"x" * 5000
        assert (proxy.connections, proxy.bytes_up, proxy.bytes_down) == (1, 5000, 5000)


def test_latency_is_each_way(echo: Address) -> None:
    with FaultProxy(echo, latency=0.05) as proxy, connect(proxy) as end:
        begin = time.monotonic()
        ask(end)
        assert time.monotonic() - begin >= 0.1


def test_freeze_holds_and_thaw_delivers(echo: Address) -> None:
    with FaultProxy(echo) as proxy, connect(proxy, timeout=0.1) as end:
        proxy.freeze()
        with pytest.raises(TimeoutError):
            ask(end)
        end.settimeout(5)
        proxy.thaw()
        assert end.recv(100) == b"hello"


def test_reset_breaks_open_connections_and_new_ones_pass(echo: Address) -> None:
    with FaultProxy(echo) as proxy:
        with connect(proxy) as end:
            ask(end)
            proxy.reset()
            with pytest.raises(ConnectionResetError):
                end.recv(1)
        with connect(proxy) as end:
            assert ask(end) == b"hello"


def test_reset_after_counts_bytes_once(echo: Address) -> None:
    with FaultProxy(echo) as proxy:
        proxy.reset_after(1000)
        with connect(proxy) as end:
            for _ in range(9):
                assert ask(end, b"x" * 100) == b"x" * 100
            with pytest.raises(ConnectionError):
                ask(end, b"x" * 200)
        assert proxy.bytes_up == 1000
        with connect(proxy) as end:
            assert ask(end, b"x" * 2000) == b"x" * 2000


def test_swallow_loses_bytes(echo: Address) -> None:
    with FaultProxy(echo) as proxy, connect(proxy, timeout=0.1) as end:
        proxy.swallow = True
        with pytest.raises(TimeoutError):
            ask(end)


def test_refuse_and_accept_again_on_the_same_port(echo: Address) -> None:
    with FaultProxy(echo) as proxy:
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        proxy.accept()
        with connect(proxy) as end:
            assert ask(end) == b"hello"


@pytest.mark.filterwarnings("error")
def test_who_connects_while_it_begins_to_refuse_is_taken_or_refused_and_never_lost(echo: Address) -> None:
    over = threading.Event()

    def come(proxy: FaultProxy) -> None:
        while not over.is_set():
            try:
                with connect(proxy):
                    pass
            except OSError:
                time.sleep(0.001)

    with FaultProxy(echo) as proxy:
        threads = [threading.Thread(target=come, args=(proxy,)) for _ in range(3)]
        for each in threads:
            each.start()
        for _ in range(60):
            proxy.refuse()
            proxy.accept()
            time.sleep(0.003)
        over.set()
        for each in threads:
            each.join()
    gc.collect()
    assert proxy.connections > 0


def test_half_close_ends_one_direction(echo: Address) -> None:
    with FaultProxy(echo) as proxy, connect(proxy) as end:
        ask(end)
        proxy.half_close("down")
        assert end.recv(1) == b""
        end.sendall(b"still")
        for _ in range(100):
            if proxy.bytes_up == 10:
                break
            time.sleep(0.01)
        assert proxy.bytes_up == 10


def test_a_target_that_is_away_shows_as_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with FaultProxy(Address("127.0.0.1", port)) as proxy, pytest.raises(ConnectionResetError), connect(proxy) as end:
        end.recv(1)
