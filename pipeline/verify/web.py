"""One bounded HTTP request: a deadline on the whole of it, at most five redirects on the same host, at most one mebibyte, no decompression.

The standard library's http.client does the talking. Neither proxies nor cookies nor credentials take part, and the address that is
connected to comes from the caller, never from the peer: a redirect can only change the path, or lead from http to https.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from pipeline.errors import Transient
from pipeline.tools import http_answer, proxies
from pipeline.tools.http_answer import PORTS

LIMIT = 1 << 20  # bytes of a body that are read
REDIRECTS = 5


class Unreachable(Transient):
    """No connection came about: that says nothing about what would answer. `retry_after` is how many seconds the peer asked for."""

    def __init__(self, what: str, *, retry_after: float = 0.0) -> None:
        super().__init__(what)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Ask:
    """A page: connect to `url` (scheme, host, port), ask for `path` under the name `host`; `follow` redirects, or take them as answers.

    What has a `body` is not to be followed: a redirect would have it sent to somewhere else. `more` are headers of one's own.
    """

    url: str
    host: str
    path: str
    follow: bool = True
    method: str = "GET"
    body: bytes = b""
    more: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Answer:
    """What came back: header names in lower case, `cut` where the body was longer than LIMIT, `path` where the last redirect led."""

    status: int
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False
    seconds: float = 0.0


def get(ask: Ask, timeout: float = 5.0) -> Answer:
    """The answer to `ask`, whatever its status, redirects followed. `timeout` in seconds holds for all of it together.

    Raises Unreachable where nothing could be asked, Transient where there is no complete answer or a redirect leads where it may not;
    `what` says why.
    """
    started = time.monotonic()
    for hop in range(REDIRECTS + 1):
        left = timeout - (time.monotonic() - started)
        try:
            answer = _one(ask, left, timeout)
        except Unreachable as error:
            if not hop:
                raise
            raise Transient(f"redirected to {ask.url}{ask.path}, and there: {error.what}") from error
        target = answer.headers.get("location")
        if not ask.follow or not target or answer.status not in (301, 302, 303, 307, 308):
            return replace(answer, seconds=time.monotonic() - started)
        ask = _redirected(ask, target)
    raise Transient(f"more than {REDIRECTS} redirects, the last to {ask.path}")


def _one(ask: Ask, left: float, timeout: float) -> Answer:
    url = urllib.parse.urlsplit(ask.url)
    line = _Line(url.scheme, url.hostname or "", url.port or PORTS[url.scheme], ask.host)
    late = f"no complete answer within {timeout:.1f} s"
    if left <= 0:
        raise Transient(late)
    with _deadline(line, left) as expired:
        try:
            line.open(left)
            line.putrequest(ask.method, ask.path, skip_host=True, skip_accept_encoding=True)
            for name, value in _headers(ask):
                line.putheader(name, value)
            line.endheaders(ask.body or None)
            response = line.getresponse()
            body = _body(response)
            short = response.length and not len(body) > LIMIT
        except (OSError, http.client.HTTPException) as error:
            kind = Transient if line.reached else Unreachable
            raise kind(late if expired.is_set() or isinstance(error, TimeoutError) else _reason(error)) from error
        finally:
            line.close()
    if expired.is_set():
        raise Transient(late)
    if short:
        raise Transient(f"the answer broke off after {len(body)} bytes, {response.length} more were announced")
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status, ask.path, headers, body[:LIMIT], len(body) > LIMIT)


def _headers(ask: Ask) -> list[tuple[str, str]]:
    sized = [("Content-Length", str(len(ask.body)))] if ask.body or ask.method in ("PUT", "POST") else []
    return [
        ("Host", ask.host),
        ("Accept", "*/*"),
        ("Accept-Encoding", "identity"),
        ("Cache-Control", "no-cache"),
        ("User-Agent", "pipeline-verify"),
        ("Connection", "close"),
        *sized,
        *ask.more,
    ]


def _body(response: http.client.HTTPResponse) -> bytes:
    body = bytearray()
    while len(body) <= LIMIT and (piece := response.read1(1 << 16)):
        body += piece
    return bytes(body)


def _redirected(ask: Ask, target: str) -> Ask:
    """`ask` as a redirect to `target` changes it. Only the same name is followed; the address connected to stays the caller's."""
    url, own = urllib.parse.urlsplit(ask.url), urllib.parse.urlsplit(f"//{ask.host}")
    try:
        there = http_answer.redirected(f"{url.scheme}://{ask.host}{ask.path}", target)
        port = there.port
    except ValueError as error:
        raise Transient(f"redirected to something that is no URL: {target[:200]}") from error
    path = http_answer.target(there)
    if there.username is not None:
        raise Transient(f"redirected to an address with a user in it, at {there.hostname}")
    if there.scheme not in PORTS or there.hostname != own.hostname:
        raise Transient(f"redirected to another host: {there.scheme}://{there.hostname}")
    if there.scheme == url.scheme and port in (None, PORTS[url.scheme], own.port, url.port):
        return replace(ask, path=path)
    if (url.scheme, there.scheme) == ("http", "https") and port in (None, PORTS["https"]):
        address = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        return replace(ask, url=f"https://{address}", path=path)
    raise Transient(f"redirected to another service of the host: {there.scheme}://{there.netloc}")


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, socket.gaierror):
        return f"the name does not resolve: {error.strerror}"
    if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError):
        return "the connection was closed before an answer came"
    if isinstance(error, http.client.IncompleteRead):
        return f"the answer broke off after {len(error.partial)} bytes"
    if isinstance(error, http.client.HTTPException):
        return f"not an HTTP answer ({type(error).__name__})"
    return str(getattr(error, "verify_message", "") or getattr(error, "reason", "") or error)  # what ssl has to say about a certificate


class _Line(http.client.HTTPConnection):
    """A connection to one address that speaks for another name, in the Host header and, with TLS, in the certificate asked for."""

    response_class = http_answer.Response

    def __init__(self, scheme: str, address: str, port: int, name: str) -> None:
        super().__init__(address, port)
        self.scheme = scheme
        self.name = urllib.parse.urlsplit(f"//{name}").hostname or ""
        self.raw: socket.socket | None = None
        self.reached = False

    def open(self, timeout: float) -> None:
        self.raw = self.sock = socket.create_connection((self.host, self.port), timeout)
        self.reached = True
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.scheme == "https":
            import ssl  # costs 15 ms, and most ingress addresses inside a network are plain

            context = proxies.trust(ssl.create_default_context())
            secure = context.wrap_socket(self.sock, server_hostname=self.name, do_handshake_on_connect=False)
            self.raw = self.sock = secure
            secure.do_handshake()

    def end(self) -> None:
        """Break the connection from another thread: a read that waits in it returns at once."""
        if self.raw is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self.raw, socket.SHUT_RDWR)


@contextlib.contextmanager
def _deadline(line: _Line, seconds: float) -> Iterator[threading.Event]:
    """Ends `line` after `seconds`: a socket's own timeout starts anew with every byte, so a slow peer would never meet it."""
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        line.end()

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()
