"""How the fake registry answers one request, with the fault that was arranged for it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import re
import socket
import struct
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from pipeline.testing.registry import FakeRegistry

USER, PASSWORD = "anna", "fake-registry-password"  # known to everybody, good for nothing
ROUTE = re.compile(r"/v2/(?P<repository>.+?)/(?P<kind>manifests|blobs|tags|referrers)/(?P<name>.*)")


class Handler(http.server.BaseHTTPRequestHandler):
    """Bound to a registry by a subclass with the attribute `registry`."""

    registry: FakeRegistry
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        self.registry.connections += 1
        super().setup()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Silent."""

    def _serve(self) -> None:
        fault = self.registry.next_fault(self.command, self.path)
        if fault and fault.act:
            fault.act()
        with contextlib.suppress(ConnectionError, TimeoutError):
            body = self._body(fault.reset if fault else None)
            if body is None:
                return
            scheme = self.headers.get("Authorization", "").partition(" ")[0]
            self.registry.note(self.command, self.path, scheme, len(body))
            silent = bool(fault and (fault.swallow or fault.status))
            if not silent or (fault and (fault.stored or fault.swallow)):
                status, headers, content = self._answer(urlsplit(self.path).path, body)
            else:
                status, headers, content = 0, {}, b""
            if fault and fault.swallow:
                self.close_connection = True
                return
            if fault and fault.status:
                status, headers, content = fault.status, dict(fault.headers), fault.body
            if fault and fault.location and "Location" in headers:
                headers["Location"] = fault.location(headers["Location"])
            self._send(status, headers, content, fault.slow if fault else 0.0)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815  # http.server's names

    def _body(self, reset: int | None) -> bytes | None:
        body = b""
        if reset != 0:
            for piece in self._pieces():
                body += piece
                if reset is not None and len(body) >= reset:
                    break
        if reset is None:
            return body
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        return None

    def _pieces(self) -> Iterator[bytes]:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := self._size():
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        elif length := int(self.headers.get("Content-Length", "0")):
            while length > 0 and (piece := self.rfile.read(min(length, 65536))):
                length -= len(piece)
                yield piece

    def _size(self) -> int:
        line = self.rfile.readline()
        if not line:
            raise ConnectionResetError("the client went away")
        return int(line, 16)

    def _send(self, status: int, headers: Mapping[str, str], content: bytes, slow: float) -> None:
        head = f"HTTP/1.1 {status} Whatever\r\n"
        length = {} if "Content-Length" in headers else {"Content-Length": str(len(content))}
        head += "".join(f"{name}: {value}\r\n" for name, value in {**length, **headers}.items()) + "\r\n"
        for byte in head if slow else [head]:
            if slow:
                time.sleep(slow)
            self.wfile.write(byte.encode())
            self.wfile.flush()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _answer(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        registry = self.registry
        if path == "/v2/token":
            return self._token()
        if not registry.admits(self.headers.get("Authorization", "")):
            registry.refused += 1
            realm = registry.realm.format(own=f"http://{registry.address}/v2/token")
            challenge = 'Basic realm="fake"' if registry.auth == "basic" else f'Bearer realm="{realm}",service="fake",scope="*"'
            return 401, {"WWW-Authenticate": challenge}, errors("UNAUTHORIZED")
        match = ROUTE.fullmatch(path)
        if not match:
            return 200 if path == "/v2/" else 404, {}, b"{}"
        repository, kind, name = unquote(match["repository"]), match["kind"], match["name"]
        if kind == "tags":
            return self._tags(repository)
        if kind == "referrers":
            return self._referrers(repository, name)
        return self._manifest(repository, name, body) if kind == "manifests" else self._blob(repository, name, body)

    def _tags(self, repository: str) -> tuple[int, dict[str, str], bytes]:
        query = parse_qs(urlsplit(self.path).query)
        names = sorted(tag for where, tag in self.registry.tags if where == repository and tag > query.get("last", [""])[0])
        page = names[: self.registry.page]
        link = {"Link": f'</v2/{repository}/tags/list?last={page[-1]}&n=1000>; rel="next"'} if len(names) > len(page) else {}
        return 200, link, json.dumps({"name": repository, "tags": page}).encode()

    def _token(self) -> tuple[int, dict[str, str], bytes]:
        registry = self.registry
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if registry.token_answer:
            registry.tokens += 1
            return 200, {"Content-Type": registry.token_answer[1]}, registry.token_answer[0]
        if self.headers.get("Authorization") != f"Basic {basic}":
            registry.tokens += 1
            return 401, {}, errors("UNAUTHORIZED")
        value: dict[str, Any] = {"token": registry.grant()}
        if registry.says_lifetime:
            value["expires_in"] = registry.lifetime
        return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()

    def _manifest(self, repository: str, name: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        registry = self.registry
        if self.command == "PUT":
            named = digest(body)
            registry.manifests[repository, named] = (self.headers.get("Content-Type", ""), body)
            if ":" not in name:
                registry.tags[repository, name] = named
            headers = {"Docker-Content-Digest": named, "Location": f"/v2/{repository}/manifests/{named}"}
            subject = json.loads(body).get("subject") if registry.lists_referrers else None
            return 201, headers | ({"OCI-Subject": subject["digest"]} if subject else {}), b""
        named = name if ":" in name else registry.tags.get((repository, name), "")
        if (repository, named) not in registry.manifests:
            return 404, {}, errors("MANIFEST_UNKNOWN")
        if self.command == "DELETE":
            return self._delete(repository, name)
        media_type, content = registry.manifests[repository, named]
        said = registry.lies.get(named, named)
        return 200, {"Content-Type": media_type, "Docker-Content-Digest": said, "Content-Length": str(len(content))}, content

    def _delete(self, repository: str, name: str) -> tuple[int, dict[str, str], bytes]:
        """By digest alone, with every tag, as distribution 2.8 does."""
        if ":" not in name:
            return 400, {}, errors("DIGEST_INVALID")
        if not self.registry.deletes:
            return 405, {}, errors("UNSUPPORTED")
        del self.registry.manifests[repository, name]
        for key in [key for key, stands in self.registry.tags.items() if key[0] == repository and stands == name]:
            del self.registry.tags[key]
        return 202, {}, b""

    def _referrers(self, repository: str, digest: str) -> tuple[int, dict[str, str], bytes]:
        registry = self.registry
        if not registry.lists_referrers:
            return 404, {}, b"404 page not found"
        found = []
        for (where, named), (kind, body) in registry.manifests.items():
            value = json.loads(body)
            if where == repository and (value.get("subject") or {}).get("digest") == digest:
                found.append({"mediaType": kind, "digest": named, "size": len(body), "artifactType": value.get("artifactType")})
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": found}
        return 200, {"Content-Type": str(index["mediaType"])}, json.dumps(index).encode()

    def _blob(self, repository: str, name: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        registry = self.registry
        query = parse_qs(urlsplit(self.path).query)
        if not name.startswith("uploads"):
            if name not in registry.blobs:
                return 404, {}, errors("BLOB_UNKNOWN")
            if self.command == "GET" and name in registry.hollow:
                return 500, {}, errors("UNKNOWN")
            content = registry.blobs[name]
            return 200, {"Content-Length": str(len(content)), "Docker-Content-Digest": name}, content
        session = name.partition("/")[2] or uuid.uuid4().hex
        here = {"Location": f"/v2/{repository}/blobs/uploads/{session}?_state=abc%3D&n=1", "Docker-Upload-UUID": session}
        if self.command == "POST":
            registry.uploads[session] = bytearray()
            return 202, here, b""
        if session not in registry.uploads:
            return 404, {}, errors("BLOB_UPLOAD_UNKNOWN")
        if self.command == "DELETE":
            del registry.uploads[session]
            return 204, {}, b""
        registry.uploads[session] += body
        if self.command == "PATCH":
            return 202, {**here, "Range": f"0-{len(registry.uploads[session]) - 1}"}, b""
        content = bytes(registry.uploads.pop(session))
        wanted = query["digest"][0]
        if digest(content) != wanted:
            return 400, {}, errors("DIGEST_INVALID")
        registry.blobs[wanted] = content
        registry.hollow.discard(wanted)
        return 201, {"Location": f"/v2/{repository}/blobs/{wanted}", "Docker-Content-Digest": wanted}, b""


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def errors(code: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
