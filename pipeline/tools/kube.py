"""A small HTTPS client of the Kubernetes API: the standard library, kept-alive connections, certificates always verified."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from pipeline.errors import ConfigError, IntegrityError, PipelineError
from pipeline.events import What
from pipeline.host import Address
from pipeline.tools import private
from pipeline.tools.http_faults import in_place
from pipeline.tools.kube_login import Credentials, bearer
from pipeline.tools.kube_paths import asked, path
from pipeline.tools.kube_status import Asked, Conflict, Gone, refused, unreachable
from pipeline.tools.kube_wire import LIMIT, LOST, Connection, Object, Tls, Watch, read_json
from pipeline.tools.kubeconfig import Access, access_of

if TYPE_CHECKING:
    from pipeline.stage import Site

__all__ = ["APPLY", "Conflict", "Gone", "Kube", "Watch", "connect", "path"]

TIMEOUT = 10.0  # seconds a single answer may take
SILENCE = 60  # seconds a watch lasts at most
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
MANAGER = "pipeline"


def connect(site: Site, cluster: str) -> Kube:
    """The client of the site's `cluster`, one for the process; its first connection is being opened when this returns.

    Raises ConfigError where the kubeconfig is missing, malformed or of another cluster than the site means.
    """
    return site.share(f"kube:{cluster}", lambda: _open(site, cluster))  # type: ignore[no-any-return]  # share keeps anything


class Kube:
    """One cluster's API. Safe for threads: each request has a connection of its own while it runs.

    `dial` gives the address to connect to where it is not the access's own (a tunnel). `requests` and `connections` count. Every
    method raises AuthError (401, 403), Conflict (409), RateLimited (429), Transient or, for writes, Ambiguous (5xx, lost connections),
    ConfigError (what is wrong with the request, the certificate or the clock).
    """

    def __init__(self, access: Access, dial: Callable[[], Address] | None = None, timeout: float = TIMEOUT) -> None:
        self.access = access
        self.timeout = timeout
        self.requests = 0
        self.connections = 0
        self._dial = dial or (lambda: Address(access.host, access.port))
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._closed = False
        self._tls = Tls(access)
        self._file = private.File("kubeconfig", access.for_tools)
        self._warming: threading.Thread | None = None
        self.on_close: Callable[[], None] = lambda: None

    @property
    def address(self) -> Address:
        """Where it is reached from here: the tunnel's end, if there is one."""
        return self._dial()

    def warm(self) -> Kube:
        """Open a connection now, in the background; the first request takes it. What goes wrong is told by that request."""

        def open_one() -> None:
            with contextlib.suppress(PipelineError, *LOST):
                connection = self._new(self.timeout)
                connection.connect()
                self._give(connection)

        self._warming = threading.Thread(target=open_one, name="kube-warm", daemon=True)
        self._warming.start()
        return self

    def get(self, target: str) -> Object | None:
        """The object at `target`, None where there is none."""
        answer = self._ask("get", target)
        return None if answer is None else read_json(answer)

    def list(self, target: str, labels: str = "", fields: str = "", *, metadata: bool = False) -> Object:
        """The list at `target`, narrowed by selectors; `metadata` asks for nothing but each object's metadata."""
        query = {"labelSelector": labels, "fieldSelector": fields}
        answer = self._ask("list", target, query, accept=METADATA if metadata else "")
        found = {} if answer is None else read_json(answer)
        return {**found, "items": found.get("items") or []}  # an empty list of metadata has null there

    def create(self, target: str, value: Object) -> Object:
        """Make `value` in the collection at `target`."""
        return read_json(self._must("create", target, {}, value, "application/json"))

    def replace(self, target: str, value: Object) -> Object:
        """Write `value` over the object at `target`; its resourceVersion, if it has one, must still hold, else Conflict."""
        return read_json(self._must("update", target, {}, value, "application/json"))

    def apply(self, target: str, value: Object, *, manager: str = MANAGER, force: bool = True, trial: bool = False, strict: bool = True
    ) -> Object:  # fmt: skip
        """Server-side apply: what `value` names becomes so, the rest stays. Without `force` a field of another manager's is a Conflict.

        A `trial` writes nothing, gives what would be, and where it is `strict` refuses what the API would only warn of.
        """
        query = {"fieldManager": manager, "force": "true" if force else "",
                 **({"dryRun": "All", "fieldValidation": "Strict" if strict else "Warn"} if trial else {})}  # fmt: skip
        return read_json(self._must("patch", target, query, value, APPLY))

    def merge(self, target: str, value: Object, manager: str = MANAGER) -> Object:
        """A JSON merge patch in the name of `manager`: null removes."""
        return read_json(self._must("patch", target, {"fieldManager": manager}, value, MERGE))

    def delete(self, target: str, *, grace: int | None = None) -> bool:
        """Whether there was something to delete; what depends on it goes in the background. A pod has `grace` seconds to end in, where it
        is not None; 0 ends it at once."""
        query = {"propagationPolicy": "Background", "gracePeriodSeconds": "" if grace is None else str(grace)}
        return self._ask("delete", target, query) is not None

    def logs(
        self, namespace: str, pod: str, container: str, *, previous: bool = False, tail: int = 40, since: int = 0, limit: int = 0
    ) -> str:
        """The last `tail` lines of a container, or of the one before it; "" where there are none.

        `since` seconds ago and `limit` bytes bound it further, where they are not 0.
        """
        query = {"container": container, "tailLines": str(tail), "previous": "true" if previous else "",
                 "sinceSeconds": str(since or ""), "limitBytes": str(limit or "")}  # fmt: skip
        try:
            answer = self._ask("get", path("v1", "pods", namespace, pod, "log"), query)
        except ConfigError:
            return ""  # 400: no container of that name has run yet
        return "" if answer is None else answer.decode(errors="replace")

    def watch(self, target: str, labels: str = "", version: str = "", seconds: int = SILENCE, fields: str = "") -> Watch:
        """Changes since `version` (a list's resourceVersion) until the server ends it, after at most `seconds`.

        Raises Gone, at once or while it is read.
        """
        query = {"watch": "1", "labelSelector": labels, "fieldSelector": fields, "resourceVersion": version,
                 "timeoutSeconds": str(seconds), "allowWatchBookmarks": "true"}  # fmt: skip
        request = self._asked("watch", target)
        connection, response = self._send(self._new(seconds + self.timeout), request, "GET", target, query, b"", {})
        if response.status >= 400:
            error = refused(request, response.status, dict(response.headers), response.read(LIMIT))
            response.close()
            connection.close()
            raise error
        return Watch(connection, response, request)

    def dialed(self, timeout: float) -> Connection:
        """A connection of the caller's own, open and verified, to speak something else over than requests. Raises as a read does."""
        connection = self._new(timeout)
        try:
            connection.connect()
        except LOST as error:
            raise unreachable(self._asked("get", "/"), error, sent=False) from error
        return connection

    def kubeconfig(self) -> str:
        """Return the path of a private kubeconfig for tools, made from what was checked; it is gone when this is closed."""
        return self._file.path()

    def close(self) -> None:
        """Let go of every idle connection, of the tools' kubeconfig and of the tunnel."""
        if self._warming is not None:
            self._warming.join(self.timeout)
        with self._lock:
            self._closed = True  # a watcher that is still asking gives its connection back later
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        self._file.close()
        self.on_close()

    def _must(self, verb: str, target: str, query: Mapping[str, str], value: Object, kind: str) -> bytes:
        answer = self._ask(verb, target, query, json.dumps(value).encode(), kind)
        if answer is None:
            raise ConfigError(f"there is nothing to {self._asked(verb, target)}", mend="make it first, or correct the name")
        return answer

    def _ask(
        self, verb: str, target: str, query: Mapping[str, str] | None = None, body: bytes = b"", kind: str = "", accept: str = ""
    ) -> bytes | None:
        request = self._asked(verb, target)
        method = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}.get(verb, "GET")
        headers = {"Accept": accept or ("*/*" if target.endswith("/log") else "application/json")}
        if kind:
            headers["Content-Type"] = kind
        connection, fresh = self._take()
        try:
            connection, response = self._send(connection, request, method, target, query or {}, body, headers)
        except PipelineError:
            if fresh or request.writes:
                raise
            # a kept connection that the server had let go: a read asks once on a new one
            connection, response = self._send(self._new(self.timeout), request, method, target, query or {}, body, headers)
        try:
            content = response.read(LIMIT + 1)
        except LOST as error:
            response.close()
            connection.close()
            raise unreachable(request, error, sent=True) from error
        if len(content) > LIMIT:
            response.close()
            connection.close()
            raise IntegrityError(f"the Kubernetes API answered {request} with more than {LIMIT >> 20} MiB")
        if response.length != 0 and not response.chunked:  # http.client gives a body that broke off as if it were whole
            connection.close()
            raise unreachable(request, ConnectionResetError("the answer broke off"), sent=True)
        self._give(connection)
        lower = {name.lower(): value for name, value in response.headers.items()}
        if foreign := in_place(response.status, lower, content, request.server, str(request)):
            raise foreign
        if response.status == 404 and verb in ("get", "list", "delete"):
            return None
        if response.status >= 400:
            raise refused(request, response.status, dict(response.headers), content)
        return content

    def _send(
        self, connection: Connection, request: Asked, method: str, target: str, query: Mapping[str, str], body: bytes,
        headers: Mapping[str, str],
    ) -> tuple[Connection, http.client.HTTPResponse]:  # fmt: skip
        """Ask; if the API does not know the credentials and there are others now, ask once more: a 401 has done nothing."""
        text = urlencode({key: value for key, value in query.items() if value})
        url = self.access.prefix + target + (f"?{text}" if text else "")
        try:
            shown = self.access.login.credentials()
            response = self._sent(connection, request, method, url, body, headers, shown)
            if response.status != 401 or not self.access.login.renewed(shown):
                return connection, response
            response.close()
        except BaseException:
            connection.close()
            raise
        connection.close()
        again = self._new(connection.timeout or self.timeout)
        return again, self._sent(again, request, method, url, body, headers, self.access.login.credentials())

    def _sent(
        self, connection: Connection, request: Asked, method: str, url: str, body: bytes, headers: Mapping[str, str], shown: Credentials
    ) -> http.client.HTTPResponse:
        sent = False
        with self._lock:
            self.requests += 1
        try:
            connection.request(method, url, body or None, {"User-Agent": MANAGER, **bearer(shown), **headers})
            sent = True
            return connection.getresponse()
        except LOST as error:
            connection.close()
            raise unreachable(request, error, sent=sent) from error

    def _asked(self, verb: str, target: str) -> Asked:
        return asked(verb, target, f"{self.access.host}:{self.access.port}")

    def _take(self) -> tuple[Connection, bool]:
        if self._warming is not None:
            self._warming.join(self.timeout)
        context = self._tls.context()
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None or (connection.tls is context and connection.alive()):
                return connection or self._new(self.timeout), connection is None
            connection.close()

    def _give(self, connection: Connection) -> None:
        with self._lock:
            if connection.sock is not None and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _new(self, timeout: float) -> Connection:
        context = self._tls.context()
        with self._lock:
            self.connections += 1
        return Connection(self.access, self._dial, context, timeout)


def _open(site: Site, name: str) -> Kube:
    cluster = site.cluster(name)
    access, line = access_of(site, name)
    if line:
        site.tell(What.WARN, "deploy", f"cluster {name} is not bound to its identity; add to the site file: {line}")
    if not cluster.tunnel:
        return Kube(access).warm()
    tunnel = site.host(cluster.tunnel).forward(Address(access.host, access.port))
    address = tunnel.__enter__()
    kube = Kube(access, lambda: address)

    def leave() -> None:
        tunnel.__exit__(None, None, None)

    kube.on_close = leave
    return kube.warm()
