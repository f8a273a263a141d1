"""One HTTP origin: kept connections, deadlines, caps, and every fault in our words."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.errors import Ambiguous, ConfigError, PipelineError, RateLimited, ResourceError, Transient
from pipeline.testing import FakeClock
from pipeline.testing.registry import FakeRegistry
from pipeline.tools.http_faults import refusal, retry_after, told
from pipeline.tools.kube_status import Asked, unreachable
from pipeline.tools.origin import Origin


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does `answer` with each connection; its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def test_connections_are_kept() -> None:
    with FakeRegistry(auth="none") as registry:
        origin = Origin("http", registry.address)
        for method in ("GET", "HEAD", "POST", "HEAD", "PUT", "GET"):
            assert origin.ask(method, "/v2/", {}).status == 200
        origin.close()
        assert registry.connections == 1


def test_two_threads_have_a_connection_each() -> None:
    with FakeRegistry(auth="none") as registry:
        origin = Origin("http", registry.address)
        registry.fault("GET", "/v2/", status=200, act=lambda: time.sleep(0.05), count=2)
        threads = [threading.Thread(target=origin.ask, args=("GET", "/v2/", {})) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert registry.connections == 2
        origin.ask("GET", "/v2/", {})
        assert registry.connections == 2
        origin.close()


def test_a_connection_that_the_peer_closed_meanwhile_is_not_used_again() -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with serving(answer) as address:
        origin = Origin("http", address)
        for _ in range(3):
            assert origin.ask("PUT", "/", {}, b"x").body == b"ok"
            time.sleep(0.02)  # until the FIN has come
        origin.close()


def test_n09_a_peer_that_drips_is_left_at_the_deadline() -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" * 10:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    with serving(answer) as address:
        with pytest.raises(Transient) as caught:
            Origin("http", address, read_timeout=0.2, deadline=0.4).ask("GET", "/", {})
        assert address in caught.value.what


def test_n09_a_silent_peer_is_left_at_the_read_timeout() -> None:
    with serving(lambda connection: time.sleep(0.5)) as address, pytest.raises(Transient, match="no answer in time"):
        Origin("http", address, read_timeout=0.1, deadline=5).ask("GET", "/", {})


def test_n10_an_error_body_is_cut() -> None:
    with FakeRegistry(auth="none") as registry:
        registry.fault("GET", "/v2/", status=500, body=b"x" * 1_000_000)
        origin = Origin("http", registry.address)
        answer = origin.ask("GET", "/v2/", {})
        assert answer.cut
        assert len(answer.body) == 64 * 1024
        assert origin.ask("GET", "/v2/", {}).status == 200  # what was left unread is not taken for the next answer
        origin.close()


def test_refused_and_reset_name_the_peer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(Transient, match=address) as refused:
        Origin("http", address).ask("PUT", "/", {}, b"x")
    assert not isinstance(refused.value, Ambiguous)  # nothing was sent
    with FakeRegistry(auth="none") as registry:
        registry.fault("GET", "", reset=0)
        with pytest.raises(Transient, match=registry.address) as reset:
            Origin("http", registry.address).ask("GET", "/v2/", {})
        assert not isinstance(reset.value, Ambiguous)


def test_p05_a_write_without_an_answer_is_ambiguous() -> None:
    with FakeRegistry(auth="none") as registry:
        registry.fault("PUT", "", swallow=True)
        with pytest.raises(Ambiguous):
            Origin("http", registry.address).ask("PUT", "/v2/team/probe/manifests/x", {}, b"{}")
        assert registry.tags


def test_n07_p21_https_never_becomes_http() -> None:
    with FakeRegistry(auth="none") as registry:
        with pytest.raises(ConfigError, match="does not speak TLS") as caught:
            Origin("https", registry.address).ask("GET", "/v2/", {"Authorization": "Basic c2VjcmV0"})
        assert registry.asked == []
        assert "scheme: http" in caught.value.mend
    with pytest.raises(ConfigError):
        Origin("ftp", "127.0.0.1:1")


def test_n07_a_certificate_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    pem = tmp_path / "server.pem"
    subprocess.run(
        ["/usr/bin/openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lab", "-keyout", pem, "-out", tmp_path / "c"],
        check=True, capture_output=True,
    )  # fmt: skip
    pem.write_bytes(pem.read_bytes() + (tmp_path / "c").read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def answer(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(10)

    with serving(answer) as address, pytest.raises(ConfigError, match="certificate is not trusted"):
        Origin("https", address).ask("GET", "/", {})


def test_a_name_that_does_not_exist_is_no_transient_fault() -> None:
    with pytest.raises((ConfigError, Transient)) as caught:
        Origin("http", "registry.invalid:80").ask("GET", "/", {})
    assert "registry.invalid" in caught.value.what


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0.0), ("120", 120.0), ("864000", 864_000.0), ("9" * 20, 366 * 86_400.0), ("", None), ("soon", None), ("-5", None)],
)
def test_retry_after_in_seconds(text: str, expected: float | None) -> None:
    assert retry_after(text, 1000.0) == expected


def test_retry_after_as_a_date() -> None:
    now = FakeClock(1_700_000_000.0).now()  # Tue, 14 Nov 2023 22:13:20 GMT
    assert retry_after("Tue, 14 Nov 2023 22:15:20 GMT", now) == 120.0
    assert retry_after("Tue, 14 Nov 2023 22:12:20 GMT", now) == 0.0


@pytest.mark.parametrize(
    ("status", "headers", "written", "kind"),
    [
        (429, {"retry-after": "30"}, False, RateLimited),
        (429, {}, False, RateLimited),
        (503, {"retry-after": "7"}, True, RateLimited),
        (503, {}, False, Transient),
        (500, {}, True, Ambiguous),
        (504, {}, True, Ambiguous),
        (408, {}, False, Transient),
        (507, {}, True, ResourceError),
        (405, {}, False, ConfigError),
    ],
)
def test_what_an_answer_means(status: int, headers: dict[str, str], written: bool, kind: type[PipelineError]) -> None:
    error = refusal(status, headers, "said", "http://r", "GET /x", written=written, now=0.0)
    assert type(error) is kind
    assert str(status) in error.cause
    if isinstance(error, RateLimited):
        assert error.retry_after == float(headers.get("retry-after", 5.0))


@pytest.mark.parametrize(("number", "kind"), [(socket.EAI_AGAIN, Transient), (socket.EAI_NONAME, ConfigError)])
def test_a_resolver_that_is_busy_passes_and_a_name_that_is_none_does_not(number: int, kind: type[PipelineError]) -> None:
    error = socket.gaierror(number, "name resolution")
    assert type(told(error, "https://ghcr.example.test")) is kind
    assert type(unreachable(Asked("get", "pods", server="api.example.test:6443"), error, sent=False)) is kind
    assert type(unreachable(Asked("create", "pods", server="api.example.test:6443"), error, sent=False)) is kind  # nothing was sent


def test_g02_a_header_that_http_refuses_is_not_shown() -> None:
    with serving(lambda _connection: None) as address, contextlib.closing(Origin("http", address)) as origin:  # noqa: SIM117
        with pytest.raises(ConfigError, match="cannot stand in a header") as caught:
            origin.ask("GET", "/", {"Authorization": "Bearer canary-token\n"})
    assert "canary" not in f"{caught.value} {caught.value.cause}"
    assert caught.value.__cause__ is None
