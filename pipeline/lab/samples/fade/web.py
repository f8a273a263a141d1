"""HTTP for the three listeners of this sample: what is asked comes as a value, what is answered goes as one, and everything is bounded."""

from __future__ import annotations

import contextlib
import http.server
import json
import select
import signal
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .settings import Wrong

PEER = 5.0  # seconds for the other side to send its request, or to take the answer
LOOK = 0.05  # seconds between two looks at the signals
AT_ONCE = 128  # requests
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
QUIET = ("kube-probe/", "fade-")  # who asks every second is not in the log


@dataclass(frozen=True)
class Request:
    """What is asked; the headers' names are in small letters. `read` gives the body, of a number of bytes at most."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    read: Callable[[int], bytes]

    def json(self, most: int) -> dict[str, Any]:
        """The body as a JSON object of at most `most` bytes. Raises Refused."""
        try:
            given = json.loads(self.read(most))
        except (ValueError, RecursionError) as error:
            raise Refused(400, "this is not JSON") from error
        if not isinstance(given, dict):
            raise Refused(400, "a JSON object is wanted")
        return given


@dataclass(frozen=True)
class Answer:
    """What is answered."""

    code: int
    body: bytes
    kind: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """A request that is not taken: its status code, why, and headers that belong to it."""

    def __init__(self, code: int, why: str, **more: Any) -> None:
        super().__init__(why)
        self.code = code
        self.more = more


def page(code: int, found: Mapping[str, Any], **headers: str) -> Answer:
    """An answer in JSON."""
    return Answer(code, json.dumps(found).encode() + b"\n", "application/json", headers)


class Listener(http.server.ThreadingHTTPServer):
    """Answers each request in a thread of its own, up to a number of them. When it is closed, what is under way is answered first.

    Raises Wrong where the port cannot be had.
    """

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, host: str, port: int, answer: Callable[[Request], Answer]) -> None:
        self.answering = answer
        self.room = threading.BoundedSemaphore(AT_ONCE)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), Handler)
        except OSError as error:
            raise Wrong(f"cannot listen on {host} port {port}: {error.strerror}") from error

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.room.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        request.settimeout(PEER)
        with contextlib.suppress(OSError):
            request.sendall(BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # the base class's
        """A peer that went away in the middle is one line, not a traceback."""
        say(f"{client_address[0]}: {type(sys.exception()).__name__}: {sys.exception()}")

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, args=(LOOK,), daemon=True).start()

    def end(self) -> None:
        """Take nothing new, and return when what is under way is answered."""
        self.shutdown()
        self.answer_waiting()
        self.server_close()

    def answer_waiting(self) -> None:
        """Answer who is connected already and was not heard yet."""
        while select.select([self.socket], [], [], 0)[0]:
            self.handle_request()


class Handler(http.server.BaseHTTPRequestHandler):
    """One request each connection: what is idle never stands in the way of the end."""

    server: Listener
    server_version = "fade"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = PEER

    def handle_any(self) -> None:
        path, _, query = self.path.partition("?")
        method = "GET" if self.command == "HEAD" else self.command
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            found = self.server.answering(Request(method, urllib.parse.unquote(path), fields(query), headers, self.body))
        except Refused as refused:
            retry = {"Retry-After": "1"} if refused.code == 503 else {}
            found = page(refused.code, {"error": str(refused), **refused.more}, **retry)
        except Exception as error:  # one request that goes wrong ends no other
            say(f"{method} {path!r}: {type(error).__name__}: {error}")
            found = page(500, {"error": "this was not foreseen; the log says more"})
        self.send(found)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815  # names of the base class

    def body(self, most: int) -> bytes:
        """The request's body. Raises Refused where it says no length, or one above `most`."""
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            raise Refused(411, "Content-Length is wanted")
        if len(length) > 12 or int(length) > most:
            raise Refused(413, f"at most {most} bytes are taken")
        found = self.rfile.read(int(length))
        if len(found) < int(length):
            raise Refused(400, "the request broke off")
        return found

    def send(self, found: Answer) -> None:
        self.send_response(found.code)
        every = {"Content-Type": found.kind, "Content-Length": str(len(found.body)), "Cache-Control": "no-store",
                 "X-Content-Type-Options": "nosniff", "Connection": "close", **found.headers}  # fmt: skip
        for name, value in every.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(found.body)

    def log_message(self, text: str, *values: Any) -> None:
        agent = str(self.headers.get("User-Agent", "") if hasattr(self, "headers") else "")
        if not agent.startswith(QUIET):
            say(f"{self.client_address[0]} {(text % values)!r}")


def fields(text: str) -> dict[str, str]:
    """What a query, or a form, says. Raises Refused where it says too much."""
    try:
        return dict(urllib.parse.parse_qsl(text, keep_blank_values=True, max_num_fields=20))
    except ValueError as error:
        raise Refused(400, "at most 20 fields are taken") from error


def say(text: str) -> None:
    """One line of the log, in one piece: others may be saying something too."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def told() -> list[int]:
    """The signals that ask for an end, as they come. A list, since a handler must take no lock that the program may hold at that moment."""
    came: list[int] = []
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda number, _frame: came.append(number))
    return came


def wait_for(came: list[int]) -> None:
    """Return when an end is asked for."""
    while not came:
        time.sleep(LOOK)
