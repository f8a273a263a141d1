"""Gitea's API as far as deploy keys need it, on loopback. Shapes and texts: recorded from Gitea 1.26."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOGIN = "Basic Y291bG9tYjpzZWNyZXQ="  # coulomb:secret
TOKEN = "token of-the-test-only"  # good for nothing
MISSING = {"errors": [], "message": "The target couldn't be found.", "url": "http://gitea/api/swagger"}


@dataclass
class Gitea:
    """The service: `keys` of each repository that there is. `faults` answer the next requests of a method instead: (method, status)."""

    keys: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    faults: list[tuple[str, int]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    logins: tuple[str, ...] = (LOGIN, TOKEN)
    address: str = ""

    def answer(self, method: str, path: str, login: str, body: Any) -> tuple[int, Any]:
        self.asked.append(f"{method} {path}")
        for number, (wanted, status) in enumerate(self.faults):
            if wanted == method:
                del self.faults[number]
                return status, {"message": "for the test"}
        if login not in self.logins:
            return 401, {"message": "user does not exist [uid: 0, name: ]"}
        parts = path.partition("?")[0].removeprefix("/api/v1/").split("/")
        if parts == ["user"]:
            return 200, {"login": "coulomb"}
        if parts in (["user", "repos"], ["orgs", "team", "repos"]):
            owner = "coulomb" if parts[0] == "user" else "team"
            self.keys[f"{owner}/{body['name']}"] = []
            return 201, {"name": body["name"], "private": body["private"]}
        name = "/".join(parts[1:3])
        if parts[0] != "repos" or name not in self.keys:
            return 404, MISSING
        if len(parts) == 3:
            return 200, {"full_name": name}
        return self._key(method, self.keys[name], parts[4:], body)

    def _key(self, method: str, known: list[dict[str, Any]], rest: list[str], body: Any) -> tuple[int, Any]:
        if method == "GET":
            return 200, known
        if method == "DELETE":
            known[:] = [each for each in known if each["id"] != int(rest[0])]
            return 204, None
        if any(each["key"] == body["key"] for each in known):
            return 422, {"message": "A key with the same content already exists in this repository"}
        known.append({"id": len(self.asked), **body})
        return 201, known[-1]


@contextmanager
def serving(made: Gitea) -> Iterator[Gitea]:
    """The service on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, value = made.answer(self.command, self.path, self.headers.get("Authorization", ""), json.loads(text) if text else None)
            body = b"" if value is None else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815  # the base class's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
