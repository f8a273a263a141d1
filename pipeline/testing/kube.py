"""A Kubernetes API in this process: HTTPS with its own CA, a store, watches, optimistic locking, and faults on demand."""

from __future__ import annotations

import contextlib
import copy
import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pipeline.host import Address
from pipeline.testing import kube_forward
from pipeline.testing.kube_ca import certificates
from pipeline.testing.kube_rules import DISCOVERY, is_collection, merged, named, namespace_of, selects, status, within

Object = dict[str, Any]
Fault = tuple[int, Object | bytes, dict[str, str]] | str | None  # an answer (status, body, headers), "drop", "swallow", "cut", or None
TOKEN = "fake-kube-token"  # noqa: S105  # known to everybody, good for nothing


class FakeKube:
    """Serves on loopback until `close`. `objects` maps a path to what lies there; `asked` lists (method, path with query).

    `fault(method, path)` is asked before each request: "drop" closes the connection, "swallow" does the request and closes the
    connection without an answer, "cut" breaks the answer off. `changed` hears of every write (type, path, object): the place for
    a test's controllers.
    `valid` is from when to when the certificate holds, in seconds from now.
    """

    def __init__(self, folder: Path, valid: tuple[float, float] = (-3600.0, 86400.0)) -> None:
        self.folder = folder
        self.objects: dict[str, Object] = {}
        self.asked: list[tuple[str, str]] = []
        self.fault: Callable[[str, str], Fault] = lambda _method, _path: None
        self.changed: Callable[[str, str, Object], None] = lambda _type, _path, _value: None
        self.logs: dict[str, str] = {}  # "pod/container" or "pod/container/previous" -> text
        self.ports: dict[str, Address] = {}  # "pod:port" -> where a port-forward to it leads
        self.connections: set[socket.socket] = set()
        self.kept_from = 0  # versions below it are gone: a watch from there gets 410
        self._version = 1
        self._history: list[tuple[int, str, str, Object]] = []
        self._changes = threading.Condition(threading.RLock())
        self.ca = certificates(folder, valid)
        self._serve(0)

    def _serve(self, port: int) -> None:
        fake = self

        class Handler(_Handler):
            kube = fake

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "server.pem")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.up = True

    def stop(self) -> None:
        """Die, keeping the store."""
        self.up = False
        with self._changes:
            self._changes.notify_all()
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def start(self) -> None:
        """Come back on the same port."""
        self._serve(self.port)

    close = stop

    def kubeconfig(self, name: str = "kubeconfig", token: str = TOKEN) -> Path:
        """A kubeconfig file for it."""
        cluster = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority": "ca.pem"}
        value = {
            "apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "admin"}}],
        }  # fmt: skip
        file = self.folder / name
        file.write_text(json.dumps(value))
        file.chmod(0o600)
        return file

    def put(self, path: str, value: Object) -> Object:
        """Write an object as the server does: version, generation and uid are kept up."""
        with self._changes:
            old = self.objects.get(path)
            value = copy.deepcopy(value)
            meta = value.setdefault("metadata", {})
            self._version += 1
            meta["resourceVersion"] = str(self._version)
            meta["uid"] = old["metadata"]["uid"] if old else f"uid-{self._version}"
            if space := namespace_of(path):
                meta.setdefault("namespace", space)
            meta.setdefault("creationTimestamp", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
            if "spec" in value:  # what has none, a ConfigMap for one, has no generation either
                before = old["metadata"].get("generation", 1) if old else 0
                meta["generation"] = before + (not old or old.get("spec") != value.get("spec"))
            self.objects[path] = value
            self._record("MODIFIED" if old else "ADDED", path, value)
        self.changed("MODIFIED" if old else "ADDED", path, value)
        return value

    def drop(self, path: str) -> Object | None:
        """Delete an object."""
        with self._changes:
            old = self.objects.pop(path, None)
            if old is not None:
                self._version += 1
                self._record("DELETED", path, old)
        if old is not None:
            self.changed("DELETED", path, old)
        return old

    def listed(self, collection: str, selector: str) -> list[Object]:
        with self._changes:
            found = [(path, value) for path, value in self.objects.items() if within(collection, path)]
            return [copy.deepcopy(value) for _, value in sorted(found, key=lambda pair: pair[0]) if selects(selector, value)]

    def changes(self, collection: str, selector: str, version: int, until: float) -> Any:
        """Changes after `version` as they come, until the monotonic time `until`."""
        position = 0
        while True:
            with self._changes:
                while not (fresh := self._history[position:]):
                    if time.monotonic() > until or not self.up:
                        return
                    self._changes.wait(max(0.01, min(0.5, until - time.monotonic())))
                position = len(self._history)
            for number, kind, path, value in fresh:
                if number > version and within(collection, path) and selects(selector, value):
                    yield {"type": kind, "object": value}

    @property
    def version(self) -> int:
        return self._version

    def _record(self, kind: str, path: str, value: Object) -> None:
        self._history.append((self._version, kind, path, copy.deepcopy(value)))
        self._changes.notify_all()


class _Handler(http.server.BaseHTTPRequestHandler):
    kube: FakeKube
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        self.request.settimeout(30)
        self.kube.connections.add(self.request)
        super().setup()

    def finish(self) -> None:
        self.kube.connections.discard(self.request)
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base class's
        pass

    def do_GET(self) -> None:  # the name is the base class's
        self._answer()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _answer(self) -> None:
        kube, url = self.kube, urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kube.asked.append((self.command, self.path))
        fault = kube.fault(self.command, self.path)
        if fault == "drop":
            self.close_connection = True
        elif isinstance(fault, tuple):
            self._send(fault[0], fault[1], fault[2])
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(401, status(401, "Unauthorized"))
        elif query.get("watch"):
            self._watch(url.path, query)
        elif url.path.endswith("/portforward"):
            pod, port = url.path.split("/")[-2], int(query["ports"])
            if url.path.removesuffix("/portforward") in kube.objects:
                kube_forward.serve(self, port, kube.ports.get(f"{pod}:{port}"))
            else:
                self._send(404, status(404, "NotFound"))
        elif url.path.endswith("/log"):
            self._log(url.path, query)
        else:
            code, value = self._act(url.path, query, json.loads(body) if body else {})
            if fault == "swallow":
                self.close_connection = True
            elif fault == "cut":
                self._send(code, value, {"Content-Length": str(len(json.dumps(value)) + 9)})
                self.close_connection = True
            else:
                self._send(code, value)

    def _act(self, path: str, query: dict[str, str], body: Object) -> tuple[int, Object]:
        kube = self.kube
        old = kube.objects.get(path) or (DISCOVERY.get(path) if self.command == "GET" else None)
        if self.command == "GET" and (old is not None or not is_collection(path)):
            return (200, old) if old else (404, status(404, "NotFound"))
        if self.command == "GET":
            items = [each for each in kube.listed(path, query.get("labelSelector", "")) if named(query.get("fieldSelector", ""), each)]
            if "PartialObjectMetadataList" in self.headers.get("Accept", ""):
                items = [{"metadata": item["metadata"]} for item in items]
            return 200, {"kind": "List", "metadata": {"resourceVersion": str(kube.version)}, "items": items}
        if self.command == "POST":
            name = f"{path}/{body['metadata']['name']}"
            return (409, status(409, "AlreadyExists")) if name in kube.objects else (201, kube.put(name, body))
        if self.command == "DELETE":
            return (200, old) if kube.drop(path) and old else (404, status(404, "NotFound"))
        if old is None and "apply" not in self.headers.get("Content-Type", ""):
            return 404, status(404, "NotFound")
        if self.command == "PUT":
            wanted = body["metadata"].get("resourceVersion")
            if old and wanted and wanted != old["metadata"]["resourceVersion"]:
                return 409, status(409, "Conflict")
            return 200, kube.put(path, body)
        after = merged(old or {}, body)
        return 200, after if query.get("dryRun") else kube.put(path, after)

    def _watch(self, path: str, query: dict[str, str]) -> None:
        version = int(query.get("resourceVersion") or 0)
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        gone: list[Object] | None = [{"type": "ERROR", "object": status(410, "Expired")}] if version < self.kube.kept_from else None
        until = time.monotonic() + float(query.get("timeoutSeconds") or 30)
        for event in gone or self.kube.changes(path, query.get("labelSelector", ""), version, until):
            if not gone and not named(query.get("fieldSelector", ""), event["object"]):
                continue
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _log(self, path: str, query: dict[str, str]) -> None:
        key = path.split("/")[-2] + "/" + query["container"] + ("/previous" if query.get("previous") else "")
        if key not in self.kube.logs:
            self._send(400, status(400, "BadRequest"))
            return
        text = self.kube.logs[key].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _send(self, code: int, value: Object | bytes, headers: dict[str, str] | None = None) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(code)
        for name, text in {"Content-Length": str(len(content)), "Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)
