"""The token.place relay: compute nodes register and send heartbeats to /sink, answers to /source; /healthz says how it is.

It ends in order: on SIGTERM /healthz answers 503 `draining` while everything else is still served, then nothing new is taken, what is
under way is answered, and the program ends with 0. Settings come from the environment and are told what is wrong with them (exit 2).
"""

from __future__ import annotations

import hmac
import http.server
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .settings import KEY, TOKEN_HEADER, Settings, Wrong, settings

LARGEST = 1 << 20  # bytes of one request
LOOK = 0.1  # seconds between two looks at the signals
PEER = 5.0  # seconds for a peer to send its request
NODES = 10_000  # more than that are not remembered
PAGE = Path(__file__).with_name("index.html")


class Nodes:
    """The compute nodes that sent a heartbeat lately."""

    def __init__(self, forget: float, now: Callable[[], float] = time.monotonic) -> None:
        self.forget = forget
        self.now = now
        self.seen: dict[str, float] = {}
        self.lock = threading.Lock()

    def heartbeat(self, key: str) -> bool:
        """Remember the node; whether it is a new one. Raises Wrong where there are too many."""
        with self.lock:
            self._expire()
            new = key not in self.seen
            if new and len(self.seen) >= NODES:
                raise Wrong("there are too many compute nodes")
            self.seen[key] = self.now()
            return new

    def known(self, key: str) -> bool:
        with self.lock:
            self._expire()
            return key in self.seen

    def count(self) -> int:
        with self.lock:
            self._expire()
            return len(self.seen)

    def _expire(self) -> None:
        oldest = self.now() - self.forget
        self.seen = {key: at for key, at in self.seen.items() if at > oldest}


class Refused(Exception):
    """A request that is not taken, with its status code."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Server(http.server.ThreadingHTTPServer):
    """The relay's pages. When it is closed, what is under way is answered first."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, found: Settings) -> None:
        self.found = found
        self.nodes = Nodes(found.forget)
        self.draining = threading.Event()
        self.address_family = socket.AF_INET6 if ":" in found.host else socket.AF_INET
        super().__init__((found.host, found.port), Handler)

    def health(self) -> tuple[int, dict[str, Any]]:
        """The status code and the page of /healthz."""
        found, draining = self.found, self.draining.is_set()
        page = {
            "status": "draining" if draining else "ok", "publicUrl": found.public_url, "knownServers": self.nodes.count(),
            "environment": found.environment, "version": found.version, "commit": found.commit,
        }  # fmt: skip
        if found.upstream:
            page["upstream"] = found.upstream
        return 503 if draining else 200, page


class Handler(http.server.BaseHTTPRequestHandler):
    """One request each connection: what is idle never stands in the way of the end."""

    server: Server
    server_version = "tokenplace-relay"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = PEER

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/":
            self.send(200, "text/html; charset=utf-8", PAGE.read_bytes())
        elif path == "/healthz":
            self.answer(*self.server.health())
        elif path == "/livez":
            self.answer(200, {"status": "alive"})
        elif path in ("/sink", "/source"):
            self.answer(405, {"error": f"{path} takes POST"}, Allow="POST")
        else:
            self.answer(404, {"error": f"there is no {path} here"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        try:
            if path not in ("/sink", "/source"):
                raise Refused(404, f"nothing is taken at {path}")
            self.check_token()
            given = self.body()
            key = given.get("server_public_key")
            if not isinstance(key, str) or not KEY.fullmatch(key):
                raise Refused(400, "server_public_key is wanted: 8 to 1024 characters of base64")
            self.answer(200, self.sink(key) if path == "/sink" else self.source(key, given))
        except Refused as refused:
            self.answer(refused.code, {"error": str(refused)})

    def check_token(self) -> None:
        """Raise Refused if nodes have to show a token and this request does not."""
        shown, wanted = self.headers.get(TOKEN_HEADER, "").strip(), self.server.found.token
        if wanted and not hmac.compare_digest(shown.encode(errors="replace"), wanted.encode()):
            raise Refused(401, f"{TOKEN_HEADER} is not the relay's TOKENPLACE_RELAY_SERVER_TOKEN")

    def sink(self, key: str) -> dict[str, Any]:
        """A node registers, or says that it is still there."""
        try:
            new = self.server.nodes.heartbeat(key)
        except Wrong as error:
            raise Refused(503, str(error)) from error
        say(f"/sink {'registered' if new else 'heartbeat'} {key[:8]}: {self.server.nodes.count()} known")
        return {"next_ping_in_x_seconds": self.server.found.ping}

    def source(self, key: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """A node gives an answer."""
        if not self.server.nodes.known(key):
            raise Refused(409, "this node is not known: register at /sink first")
        if not isinstance(given.get("response"), str):
            raise Refused(400, "response is wanted: the node's answer as text")
        say(f"/source {key[:8]}: {len(given['response'])} characters")
        return {"status": "accepted"}

    def body(self) -> dict[str, Any]:
        """The request's JSON object. Raises Refused."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise Refused(411, "Content-Length is wanted")
        if int(length) > LARGEST:
            raise Refused(413, f"at most {LARGEST} bytes are taken")
        try:
            given = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise Refused(400, "this is not JSON") from error
        if not isinstance(given, dict):
            raise Refused(400, "a JSON object is wanted")
        return given

    def answer(self, code: int, page: Mapping[str, Any], **headers: str) -> None:
        self.send(code, "application/json", json.dumps(page).encode() + b"\n", **headers)

    def send(self, code: int, kind: str, body: bytes, **headers: str) -> None:
        self.send_response(code)
        every = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store", "Connection": "close", **headers}
        for name, value in every.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, text: str, *values: Any) -> None:
        """One line each, but not for the probes: they ask every second."""
        if not str(self.headers.get("User-Agent", "") if hasattr(self, "headers") else "").startswith("kube-probe/"):
            say(f"{self.client_address[0]} {(text % values)!r}")


def say(text: str) -> None:
    """One line of the log."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Serve until SIGTERM or SIGINT. 0 after an end in order, 2 for a wrong setting."""
    ended: list[int] = []  # a handler must not take a lock that the program may hold at this moment, so no Event
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda number, _frame: ended.append(number))
    try:
        found = settings(os.environ)
        server = _listening(found)
    except Wrong as error:
        say(f"relay: {error}")
        return 2
    threading.Thread(target=server.serve_forever, args=(0.05,)).start()
    public = found.public_url or "no public address"
    say(f"relay {found.version} ({found.commit}, {found.environment}) on {found.host}:{found.port}, {public}")
    while not ended:
        time.sleep(LOOK)
    say(f"relay: draining for {found.drain:g} s")
    server.draining.set()
    time.sleep(found.drain)
    server.shutdown()
    server.server_close()
    say("relay: ended")
    return 0


def _listening(found: Settings) -> Server:
    try:
        return Server(found)
    except OSError as error:
        raise Wrong(f"cannot listen on {found.host} port {found.port}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
