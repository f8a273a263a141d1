"""The relay: /health over HTTP and a bare repository over git's own protocol, both kept by this one program.

It ends in order: on SIGTERM /health answers 503 `draining` while everything else is still served, then nothing new is taken, what is
under way is finished, and the program ends with 0. Settings come from the environment and are told what is wrong with them (exit 2).
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from .repository import REPOSITORY, Daemon, create
from .settings import Settings, Wrong, settings

PATIENCE = 10.0  # seconds for what is under way at the end: below the 30 s that Kubernetes gives
LOOK = 0.1  # seconds between two looks at the signals
PEER = 5.0  # seconds for a peer to send its request


class Server(http.server.ThreadingHTTPServer):
    """The health page. When it is closed, what is under way is answered first."""

    daemon_threads = False
    request_queue_size = 64

    def __init__(self, found: Settings, daemon: Daemon) -> None:
        self.found = found
        self.daemon = daemon
        self.draining = threading.Event()
        self.address_family = socket.AF_INET6 if ":" in found.host else socket.AF_INET
        super().__init__((found.host, found.port), Handler)

    def health(self) -> tuple[int, dict[str, Any]]:
        """The status code and the page of /health."""
        up = self.daemon.alive()
        status = "draining" if self.draining.is_set() else "ok" if up else "unavailable"
        page = {"status": status, "version": self.found.version, "commit": self.found.commit, "repository": REPOSITORY,
                "git": "ok" if up else "stopped"}  # fmt: skip
        return 200 if status == "ok" else 503, page


class Handler(http.server.BaseHTTPRequestHandler):
    """One request each connection: what is idle never stands in the way of the end."""

    server: Server
    server_version = "relay"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = PEER

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/health":
            self.answer(404, {"error": "there is only /health here"})
            return
        self.answer(*self.server.health())

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, code: int, page: Mapping[str, Any]) -> None:
        body = json.dumps(page).encode() + b"\n"
        self.send_response(code)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(body))),
                            ("Cache-Control", "no-store"), ("Connection", "close")):  # fmt: skip
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
    """Serve until SIGTERM or SIGINT. 0 after an end in order, 1 where git daemon ended by itself, 2 for a wrong setting."""
    ended: list[int] = []  # a handler must not take a lock that the program may hold at this moment, so no Event
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda number, _frame: ended.append(number))
    daemon = None
    try:
        found = settings(os.environ)
        create(found.data)
        daemon = Daemon(found)
        if not daemon.answers(5):
            raise Wrong(f"git daemon does not listen on {found.host} port {found.git_port}: it says why above")
        server = _listening(found, daemon)
    except Wrong as error:
        say(f"relay: {error}")
        if daemon:
            daemon.stop(0.5)
        return 2
    threading.Thread(target=server.serve_forever, args=(0.05,)).start()
    say(f"relay {found.version} ({found.commit}): http on {found.host}:{found.port}, git on {found.host}:{found.git_port}")
    while daemon.alive() and not ended:
        time.sleep(LOOK)
    fell = not daemon.alive()
    if fell:
        say(f"relay: git daemon ended with {daemon.process.returncode}")
        daemon.stop(0.5)  # what is left of its group
    else:
        say(f"relay: draining for {found.drain:g} s")
        server.draining.set()
        time.sleep(found.drain)
        daemon.stop(PATIENCE)
    server.shutdown()
    server.server_close()
    say("relay: ended")
    return 1 if fell else 0


def _listening(found: Settings, daemon: Daemon) -> Server:
    try:
        return Server(found, daemon)
    except OSError as error:
        raise Wrong(f"cannot listen on {found.host} port {found.port}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
