"""An OCI registry in this process: blobs, manifests, tags, a token endpoint, and faults by method, path and count."""

from __future__ import annotations

import base64
import http.server
import json
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from pipeline.testing.registry_handler import PASSWORD, USER, Handler, digest

LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass
class Fault:
    """What to do to requests whose method and path match (`path` is a regular expression, searched), `count` times after `skip` of them.

    `status`, `headers` and `body` answer in the registry's place; with `stored` the request is done before. `swallow` does it and
    closes the connection without an answer; `reset` sends RST after that many bytes of the body, 0 at once; `slow` waits so many
    seconds before each byte of the answer's head; `location` replaces the Location of the real answer; `act` is called first.
    """

    method: str
    path: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    stored: bool = False
    swallow: bool = False
    reset: int | None = None
    slow: float = 0.0
    location: Callable[[str], str] | None = None
    act: Callable[[], None] | None = None
    count: int = 1
    skip: int = 0


@dataclass(frozen=True)
class Asked:
    """One request: its Authorization's scheme, and the bytes of its body that arrived."""

    method: str
    path: str
    scheme: str
    size: int


class FakeRegistry:
    """Serves on loopback as a context manager; `address` is host:port.

    `auth` is `bearer` (with `basic_too`, Basic is taken on every request as Gitea does), `basic` or `none`; `realm` is what challenges
    name, `{own}` stands for its own token endpoint. `lifetime` is how many seconds a token is good for, `says_lifetime` whether the
    answer names it; `token_answer` replaces the token endpoint's answer (body, content type). `asked` lists the requests, `tokens`
    counts token requests.
    """

    def __init__(self, *, auth: str = "bearer", basic_too: bool = True, realm: str = "{own}") -> None:
        self.auth = auth
        self.basic_too = basic_too
        self.realm = realm
        self.lifetime = 3600.0
        self.says_lifetime = False
        self.never_accepts = False
        self.page = 1000  # tags in one answer
        self.deletes = True
        self.lists_referrers = False  # as the OCI specification 1.1 has it; Gitea and distribution do not
        self.token_answer: tuple[bytes, str] | None = None
        self.blobs: dict[str, bytes] = {}
        self.hollow: set[str] = set()  # blobs that HEAD knows and GET has lost
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.tags: dict[tuple[str, str], str] = {}
        self.lies: dict[str, str] = {}  # digest -> digest said in the header
        self.asked: list[Asked] = []
        self.tokens = 0
        self.refused = 0
        self.connections = 0
        self.faults: list[Fault] = []
        self.uploads: dict[str, bytearray] = {}
        self._valid: dict[str, float] = {}
        self._lock = threading.RLock()
        fake = self

        class Bound(Handler):
            registry = fake

        self._server = _Server(("127.0.0.1", 0), Bound)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="fake-registry", daemon=True)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def fault(self, method: str, path: str, **options: Any) -> Fault:
        """Arrange a Fault; the newest that matches is taken first."""
        fault = Fault(method, path, **options)
        self.faults.insert(0, fault)
        return fault

    def put(self, repository: str, tag: str, layers: tuple[bytes, ...] = (b"layer",), config: bytes = b"{}") -> tuple[str, str]:
        """Store an image; (manifest digest, config digest)."""
        for blob in (config, *layers):
            self.blobs[digest(blob)] = blob
        value = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": digest(config), "size": len(config)},
            "layers": [{"mediaType": LAYER, "digest": digest(layer), "size": len(layer)} for layer in layers],
        }  # fmt: skip
        body = json.dumps(value).encode()
        self.manifests[repository, digest(body)] = (str(value["mediaType"]), body)
        if tag:
            self.tags[repository, tag] = digest(body)
        return digest(body), digest(config)

    def seen(self, method: str = "", path: str = "") -> list[Asked]:
        """The requests so far whose method and path match."""
        return [asked for asked in self.asked if asked.method.startswith(method) and re.search(path, asked.path)]

    def note(self, method: str, path: str, scheme: str, size: int) -> None:
        self.asked.append(Asked(method, path, scheme, size))

    def grant(self) -> str:
        with self._lock:
            self.tokens += 1
            token = f"token-{self.tokens}-{uuid.uuid4().hex}"
            self._valid[token] = time.monotonic() + self.lifetime
            return token

    def admits(self, header: str) -> bool:
        """Whether this Authorization opens the registry."""
        scheme, _, value = header.partition(" ")
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.auth == "none":
            return True
        if self.never_accepts:
            return False
        if scheme == "Basic":
            return value == basic and (self.auth == "basic" or self.basic_too)
        return scheme == "Bearer" and self._valid.get(value, 0.0) > time.monotonic()

    def next_fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.method in ("", method) and re.search(fault.path, path):
                    if fault.skip:
                        fault.skip -= 1
                    elif fault.count:
                        fault.count -= 1
                        return fault
        return None


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # the base class's names
        """A client that goes away is no news; anything else fails the test by a thread's exception."""
        if not isinstance(sys.exc_info()[1], OSError):
            raise  # called while the exception is handled
