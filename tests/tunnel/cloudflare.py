"""Cloudflare's API as far as a tunnel's route needs it, on loopback.

Shapes: https://developers.cloudflare.com/api (Zero Trust tunnels: configurations; DNS records; zone settings).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from pipeline.tunnel.spec import Tunnel

TOKEN = "a-token-of-cloudflare-that-may"
TUNNEL, ACCOUNT, ZONE = "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415", "a" * 32, "2" * 32
CATCH_ALL = {"service": "http_status:404"}
OTHER = {"hostname": "shop.token.place", "service": "http://shop:80", "originRequest": {"noTLSVerify": True}}


def route(api: str = "https://api.cloudflare.com/client/v4", **changed: Any) -> Tunnel:
    service = "http://traefik.kube-system.svc.cluster.local"
    given = {"hostname": "staging.token.place", "service": service, "tunnel": TUNNEL, "account": ACCOUNT, "zone": ZONE, "api": api}
    return Tunnel(**{**given, **changed})


@dataclass
class Cloudflare:
    """The service: the tunnel's `config`, the zone's `records` and TLS mode. `faults` answer the next requests of a method instead:
    (method, status, headers, stored); status 0 cuts the line, `stored` does what was asked before."""

    config: dict[str, Any] | None = field(default_factory=lambda: {"ingress": [OTHER, CATCH_ALL], "warp-routing": {"enabled": True}})
    records: list[dict[str, Any]] = field(default_factory=list)
    tls: str = "strict"
    faults: list[tuple[str, int, dict[str, str], bool]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    forgets: bool = False
    api: str = ""

    @property
    def written(self) -> list[str]:
        return [line for line in self.asked if not line.startswith("GET")]

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        tunnel = f"/accounts/{ACCOUNT}/cfd_tunnel/{TUNNEL}/configurations"
        zone = f"/zones/{ZONE}"
        match method, path:
            case "GET", p if p == tunnel:
                return 200, {"account_id": ACCOUNT, "tunnel_id": TUNNEL, "config": self.config, "version": 3, "source": "cloudflare"}
            case "PUT", p if p == tunnel:
                self.config = self.config if self.forgets else body["config"]
                return 200, {"config": self.config, "version": 4}
            case "GET", p if p == f"{zone}/dns_records":
                name = query.get("name.exact", query.get("name", [""]))[0]
                return 200, [record for record in self.records if record["name"] == name]
            case "POST", p if p == f"{zone}/dns_records":
                self.records.append({"id": f"r{len(self.records)}", **body})
                return 200, self.records[-1]
            case "PATCH", p if p.startswith(f"{zone}/dns_records/"):
                record = next(each for each in self.records if each["id"] == p.rpartition("/")[2])
                record |= body
                return 200, record
            case "GET", p if p == f"{zone}/settings/ssl":
                return 200, {"id": "ssl", "value": self.tls, "editable": True}
        return 404, None


@contextmanager
def serving(service: Cloudflare) -> Iterator[Cloudflare]:
    """`service` on a loopback address of its own while it lasts."""

    class Handler(BaseHTTPRequestHandler):
        cloudflare: ClassVar[Cloudflare] = service

        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
            path = parts.path.removeprefix("/client/v4")
            self.cloudflare.asked.append(f"{self.command} {path}")
            self.cloudflare.tokens.add(self.headers.get("Authorization", ""))
            fault = next((each for each in self.cloudflare.faults if each[0] == self.command), None)
            if fault:
                self.cloudflare.faults.remove(fault)
                if fault[3]:
                    self.cloudflare.answer(self.command, path, parse_qs(parts.query), body)
                if not fault[1]:
                    self.close_connection = True
                    return
                self.say(fault[1], None, fault[2])
            elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self.say(403, None, {}, 9109, "Invalid access token")
            else:
                status, result = self.cloudflare.answer(self.command, path, parse_qs(parts.query), body)
                self.say(status, result, {}, 7003, "Could not route to the path")

        do_GET = do_PUT = do_POST = do_PATCH = handle_any  # noqa: N815  # names of the base class

        def say(self, status: int, result: Any, headers: dict[str, str], code: int = 10000, message: str = "a fault") -> None:
            errors = [] if status == 200 else [{"code": code, "message": message}]
            body = json.dumps({"success": status == 200, "errors": errors, "messages": [], "result": result}).encode()
            self.send_response(status)
            for name, text in {"Content-Type": "application/json", **headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.api = f"http://127.0.0.1:{server.server_port}/client/v4"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
