"""A relay on this machine's loopback that adds the registry's credentials, so that no token ever reaches the build host.

skopeo can be given a bearer token only in its argv, where every user of the host can read it. Here it gets the random password of one run
instead, by an authfile, and the relay puts the real Authorization on each request. It forwards to one repository of one registry, shows
neither the registry's challenge (whose realm may not answer) nor its address, and streams: a layer is never held in memory.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import secrets
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import PipelineError
from pipeline.host import Address
from pipeline.push.forward import Handler
from pipeline.tools import references
from pipeline.tools.origin import Origin
from pipeline.tools.tokens import Authorization

USER = "pipeline"
QUIET = 1.0  # seconds: a client that was told that a blob is missing has begun to send it by then
READ_TIMEOUT = 120.0  # seconds: a registry hashes a large layer before it answers
Guard = Callable[[str, bytes], None]


@dataclass
class Traffic:
    """What passed: requests answered, bytes of bodies sent on to the registry, and the faults met, in order."""

    requests: int = 0
    uploaded: int = 0
    faults: list[PipelineError] = field(default_factory=list)


class Relay:
    """Forwards `/v2/<repository>/…` to `origin` with `authorization`.

    `guard(reference, body)` may refuse a manifest before it is stored, by raising IntegrityError. The blobs in `absent` are said to
    be missing when asked for, so that they are uploaded again. A blob that an image lists several times is sent once. `on_bytes` gets the
    sum of bytes uploaded so far, from the relay's threads.
    """

    def __init__(
        self,
        origin: Origin,
        authorization: Authorization,
        repository: str,
        *,
        guard: Guard = lambda _reference, _body: None,
        absent: frozenset[str] = frozenset(),
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.origin = origin
        self.authorization = authorization
        self.repository = references.repository(repository)
        self.password = secrets.token_urlsafe(32)
        self.traffic = Traffic()
        self.guard = guard
        self.absent = absent
        self._on_bytes = on_bytes
        self._lock = threading.Lock()
        self._moved = threading.Condition(self._lock)  # an upload went on, or a blob is there
        self._asked: set[str] = set()  # blobs that were asked for, and are not there yet
        self._uploading = 0  # requests that are on their way
        self.expected = "Basic " + self.auth

    @property
    def auth(self) -> str:
        """User and password as an authfile has them."""
        return base64.b64encode(f"{USER}:{self.password}".encode()).decode()

    @contextlib.contextmanager
    def listening(self) -> Iterator[Address]:
        """Serve on a free port of the loopback until the block ends."""
        relay = self

        class Bound(Handler):
            pass

        Bound.relay = relay
        server = _Server(("127.0.0.1", 0), Bound)
        server.relay = self
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="relay", daemon=True)
        thread.start()
        try:
            yield Address("127.0.0.1", server.server_address[1])
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            self.origin.close()

    def met(self, fault: PipelineError) -> None:
        with self._lock:
            self.traffic.faults.append(fault)

    def passed(self, count: int) -> None:
        with self._lock:
            self.traffic.uploaded += count
            total = self.traffic.uploaded
        self._on_bytes(total)

    @contextlib.contextmanager
    def uploading(self) -> Iterator[None]:
        """Note that something is sent to the registry until the block ends."""
        self._on_its_way(1)
        try:
            yield
        finally:
            self._on_its_way(-1)

    def _on_its_way(self, more: int) -> None:
        with self._moved:
            self._uploading += more
            self._moved.notify_all()

    def await_blob(self, digest: str) -> None:
        """Wait for a blob that was asked for before, and so is being sent: skopeo asks for all layers of an image at once, and would send
        one that is listed three times as often. If nothing is sent, nobody is waited for."""
        with self._moved:
            first = digest not in self._asked
            self._asked.add(digest)
            while not first and digest in self._asked and (self._moved.wait(QUIET) or self._uploading):
                pass

    def stored(self, digests: Iterable[str]) -> None:
        """Note what the registry has taken."""
        with self._moved:
            self.absent -= frozenset(digests)
            self._asked.difference_update(digests)
            self._moved.notify_all()

    def counted(self) -> None:
        with self._lock:
            self.traffic.requests += 1


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    relay: Relay

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # the base class's names
        """Note what nobody foresaw; a client that went away is no news."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self.relay.met(PipelineError("the relay failed", cause=f"{type(error).__name__}: {error}", mend="report this: it is a defect"))
