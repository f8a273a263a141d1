from __future__ import annotations

import gzip
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from pipeline.errors import Transient
from pipeline.host import Address
from pipeline.testing import FaultProxy
from pipeline.verify.web import LIMIT, REDIRECTS, Ask, Unreachable, get
from tests.verify.servers import answer, saying, serving

NAME = "probe.example"


def ask(url: str, path: str = "/healthz", *, host: str = NAME, follow: bool = True) -> Ask:
    return Ask(url, host, path, follow)


def void(_value: object) -> None:
    """Hold the connection until the client lets go."""


def test_the_page_is_asked_under_its_public_name_in_one_plain_request() -> None:
    with serving(saying(answer(b'{"status":"ok"}', X_Kind="new"))) as server:
        found = get(ask(server.url))
    assert (found.status, found.body, found.cut, found.path) == (200, b'{"status":"ok"}', False, "/healthz")
    assert found.headers["x-kind"] == "new"
    head = server.requests[0].split("\r\n")
    assert head[0] == "GET /healthz HTTP/1.1"
    assert f"Host: {NAME}" in head
    assert "Accept-Encoding: identity" in head
    assert len(server.requests) == 1


def test_an_error_status_is_an_answer() -> None:
    with serving(saying(answer(b"no", "503 Service Unavailable"))) as server:
        assert get(ask(server.url)).status == 503


def test_a_chunked_body_is_put_together() -> None:
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    with serving(saying(raw)) as server:
        assert get(ask(server.url)).body == b"abcde"


def test_a_refused_connection_is_transient() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match="connection refused"):
        get(ask(f"http://127.0.0.1:{port}"))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "closed before an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", "broke off after 3 bytes, 97 more"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc", "broke off"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "not an HTTP answer"),
    ],
)
def test_a_broken_answer_is_transient_and_says_how_it_broke(raw: bytes, reason: str) -> None:
    with serving(saying(raw)) as server, pytest.raises(Transient, match=reason):
        get(ask(server.url))


def test_v04_an_endpoint_that_hangs_ends_at_the_timeout() -> None:
    with serving(lambda peer, _head: void(peer.recv(1))) as server, pytest.raises(Transient, match=r"no complete answer within 0\.3 s"):
        get(ask(server.url), timeout=0.3)


def test_v04_a_frozen_network_ends_at_the_timeout() -> None:
    with serving(saying(answer(b"ok"))) as server, FaultProxy(Address("127.0.0.1", server.port)) as proxy:
        assert get(ask(f"http://{proxy.address}")).body == b"ok"
        proxy.freeze()
        with pytest.raises(Transient, match="no complete answer"):
            get(ask(f"http://{proxy.address}"), timeout=0.3)


@pytest.mark.parametrize("part", ["head", "body"])
def test_n09_a_peer_that_sends_a_byte_at_a_time_meets_the_deadline(part: str) -> None:
    """Each byte comes well within a socket's own timeout; the whole never comes."""
    stop = threading.Event()

    def drip(peer: socket.socket, _head: str) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\n" + (b"X: " if part == "head" else b"\r\n"))
        while not stop.wait(0.05):
            peer.sendall(b"a")

    with serving(drip) as server:
        started = time.monotonic()
        try:
            with pytest.raises(Transient, match=r"no complete answer within 0\.5 s"):
                get(ask(server.url), timeout=0.5)
        finally:
            stop.set()
        assert time.monotonic() - started >= 0.5


def test_v05_an_endless_body_is_cut() -> None:
    def pour(peer: socket.socket, _head: str) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.sendall(b"x" * 65536)

    with serving(pour) as server:
        found = get(ask(server.url))
    assert found.cut
    assert len(found.body) == LIMIT


def test_a_body_of_exactly_the_limit_is_whole() -> None:
    with serving(saying(answer(b"x" * LIMIT))) as server:
        found = get(ask(server.url))
    assert (len(found.body), found.cut) == (LIMIT, False)


def test_v05_a_gzip_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b"\0" * (64 << 20))
    with serving(saying(answer(bomb, Content_Encoding="gzip"))) as server:
        found = get(ask(server.url))
    assert len(found.body) == len(bomb) < LIMIT


def test_v05_redirects_on_the_same_host_are_followed_at_the_same_address() -> None:
    def handler(peer: socket.socket, head: str) -> None:
        targets = {"/": "/a", "/a": f"http://{NAME}/b?c=d", "/b?c=d": "e"}
        path = head.split(" ")[1]
        peer.sendall(answer(b"", "302 Found", Location=targets[path]) if path in targets else answer(b"there"))

    with serving(handler) as server:
        found = get(ask(server.url, "/"))
    assert (found.status, found.body, found.path) == (200, b"there", "/e")
    assert server.paths == ["/", "/a", "/b?c=d", "/e"]


def test_v05_at_most_five_redirects() -> None:
    with serving(saying(answer(b"", "301 Moved Permanently", Location="/again"))) as server:
        with pytest.raises(Transient, match="more than 5 redirects"):
            get(ask(server.url))
        assert len(server.requests) == REDIRECTS + 1


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "https://elsewhere.example/",
        "//elsewhere.example/",
        f"http://{NAME}:2375/",
        f"http://user@{NAME}/",
        f"ftp://{NAME}/",
        "file:///etc/passwd",
        "http://[broken/",
        f"http://{NAME}:99999/",
    ],
)
def test_v05_a_redirect_to_another_place_is_not_followed(target: str) -> None:
    with serving(saying(answer(b"", "302 Found", Location=target))) as server:
        with pytest.raises(Transient, match="redirected to"):
            get(ask(server.url))
        assert len(server.requests) == 1


def test_a_redirect_to_a_closed_https_is_the_pages_fault_not_the_networks() -> None:
    address = "127.0.0.9"  # nothing listens on its port 443
    reason = r"redirected to https://127\.0\.0\.9/, and there: connection refused"
    handler = saying(answer(b"", "301 Moved Permanently", Location=f"https://{NAME}/"))
    with serving(handler, address=address) as server, pytest.raises(Transient, match=reason) as caught:
        get(ask(server.url))
    assert not isinstance(caught.value, Unreachable)


def test_a_redirect_that_is_expected_is_the_answer() -> None:
    with serving(saying(answer(b"", "301 Moved Permanently", Location="https://probe.example/"))) as server:
        found = get(ask(server.url, follow=False))
    assert (found.status, found.headers["location"]) == (301, "https://probe.example/")


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        ("/a b\tc", "/a%20b%09c"),
        ("/caf\u00e9", "/caf%C3%A9"),
        (f"http://{NAME.upper()}:80/d\u00e9j\u00e0 vu?q=d\u00e9j\u00e0 vu", "/d%C3%A9j%C3%A0%20vu?q=d%C3%A9j%C3%A0+vu"),
        (f"//{NAME}/c", "/c"),
        ("c", "/c"),
    ],
)
def test_a_redirect_is_followed_as_curl_follows_it_and_smuggles_no_header(target: str, asked: str) -> None:
    def handler(peer: socket.socket, head: str) -> None:
        first = head.startswith("GET /healthz ")
        peer.sendall(answer(b"", "302 Found", Location=target) if first else answer(b"there"))

    with serving(handler) as server:
        assert get(ask(server.url)).body == b"there"
    assert server.paths == ["/healthz", asked]
    assert [request.split("\r\n")[1] for request in server.requests] == [f"Host: {NAME}"] * 2


def test_an_empty_location_is_the_answer() -> None:
    with serving(saying(answer(b"", "302 Found", Location=""))) as server:
        assert get(ask(server.url)).status == 302
        assert len(server.requests) == 1


def test_hints_that_come_before_the_answer_are_passed_over() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    with serving(saying(hints * 2 + answer(b"there"))) as server:
        found = get(ask(server.url))
    assert (found.status, found.body, "link" in found.headers) == (200, b"there", False)


def test_https_is_verified_for_the_public_name_not_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    name = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([shutil.which("openssl") or "openssl", "req", "-x509", *kind, *name, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            try:
                with peer, context.wrap_socket(peer, server_side=True) as secure:
                    secure.recv(65536)
                    secure.sendall(answer(b"safe"))
            except OSError:
                continue  # a client that refuses the certificate hangs up

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with pytest.raises(Transient, match="self-signed certificate"):
            get(ask(url))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert get(ask(url)).body == b"safe"
        with pytest.raises(Transient, match=r"certificate is not valid for 'other\.example'"):
            get(ask(url, host="other.example"))
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
