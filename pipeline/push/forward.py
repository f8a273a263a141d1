"""One request through the relay: checked, passed on with the registry's credentials, its answer passed back."""

from __future__ import annotations

import contextlib
import hmac
import http.client
import http.server
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from pipeline.errors import AuthError, ConfigError, IntegrityError, PipelineError, Transient
from pipeline.push.body import PIECE, Body, ClientGone, incoming
from pipeline.tools import http_answer
from pipeline.tools.http_faults import in_place, refusal
from pipeline.tools.origin import ERROR_CAP, Answer, lowered
from pipeline.tools.registry import words

if TYPE_CHECKING:
    from pipeline.push.relay import Relay

IDLE = 300.0  # seconds a client's connection may be silent
HOP = frozenset(
    ("connection", "proxy-connection", "keep-alive", "te", "trailer", "upgrade", "host", "authorization", "transfer-encoding",
     "content-length", "expect")
)  # fmt: skip  # they belong to one leg of the way; both legs get their own


class Handler(http.server.BaseHTTPRequestHandler):
    """Bound to a relay by a subclass with the attribute `relay`."""

    relay: Relay
    protocol_version = "HTTP/1.1"
    rbufsize = PIECE
    wbufsize = PIECE
    timeout = IDLE
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Silent: the driver tells what happens."""

    def do_CONNECT(self) -> None:  # http.server's name
        """skopeo tries TLS first; the relay speaks none, which lets it go on without. It crosses only loopback and SSH."""
        self._say(405)

    def _serve(self) -> None:
        try:
            self._answered()
        except ClientGone:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815  # http.server's names

    def _answered(self) -> None:
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), self.relay.expected.encode()):
            return self._say(401, {"WWW-Authenticate": 'Basic realm="pipeline"'})
        parts = urlsplit(self.path)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        if parts.path in ("/v2/", "/v2"):
            return self._say(200)
        inside = f"/v2/{self.relay.repository}/"
        if not parts.path.startswith(inside) or ".." in parts.path:
            return self._say(404)
        kind, _, name = parts.path.removeprefix(inside).partition("/")
        looks = self.command in ("GET", "HEAD")
        if kind == "blobs" and self.command == "HEAD":
            self.relay.await_blob(name)
        if kind == "blobs" and name in self.relay.absent and looks:
            return self._say(404)
        try:
            with contextlib.nullcontext() if looks else self.relay.uploading():
                return self._forwarded(target, name if kind == "manifests" and self.command == "PUT" else "")
        except PipelineError as error:
            self.relay.met(error)
            return self._say(_status(error))

    def _forwarded(self, target: str, manifest: str) -> None:
        relay = self.relay
        body = incoming(self.rfile, self.headers, manifest=bool(manifest))
        if body is None:
            return self._say(413 if manifest else 400)
        if manifest:
            relay.guard(manifest, body.held or b"")
        used = relay.authorization.header(relay.repository, many=True)
        refused = self._exchange(target, used, body, bool(manifest))
        if refused is None:
            return None
        used = relay.authorization.again(relay.repository, used, refused.headers)
        if body.held is None:
            raise Transient(f"{relay.origin}: the token ran out while a layer was sent; a new one is at hand", cause="HTTP 401")
        refused = self._exchange(target, used, body, bool(manifest))
        if refused is not None:
            raise relay.authorization.refuse(relay.repository, f"HTTP 401 {words(refused)}")
        return None

    def _exchange(self, target: str, used: str, body: Body, manifest: bool) -> Answer | None:
        """Pass the request on and its answer back; a 401 is not passed back but returned."""
        with self.relay.origin.connection("PUT" if manifest else "GET") as connection:
            self._send(connection, target, used, body)
            response = connection.getresponse()
            headers, what = lowered(response.getheaders()), f"{self.command} {target.partition('?')[0]}"
            foreign = in_place(response.status, headers, b"", str(self.relay.origin), what)
            if not foreign and response.status not in (401, 403, 413, 429) and response.status < 500:
                self.relay.authorization.accepted(used)
                if self.command == "HEAD" and response.status < 300:
                    self.relay.stored([target.rpartition("/")[2]])
                if self.command == "PUT" and response.status < 300:
                    self.relay.stored(parse_qs(urlsplit(target).query).get("digest", []))
                self._pass_back(response, target)
                return None
            answer = Answer(response.status, headers, response.read(ERROR_CAP))
            connection.close()
        if foreign := in_place(answer.status, answer.headers, answer.body, str(self.relay.origin), what):
            raise foreign
        if answer.status == 401:
            return answer
        self.relay.authorization.accepted(used)
        self.relay.met(self._fault(answer, what, manifest))
        self._say(503 if answer.status == 429 else answer.status)  # skopeo would wait for a 429 and ask again by itself
        return None

    def _fault(self, answer: Answer, what: str, written: bool) -> PipelineError:
        origin = self.relay.origin
        if answer.status == 403:
            return AuthError(
                f"{origin} does not allow this account to write to {self.relay.repository}",
                cause=f"HTTP 403 {words(answer)}",
                mend="give the account's key the right to write packages there",
            )
        return refusal(answer.status, answer.headers, words(answer), str(origin), what, written=written, now=origin.clock.now())

    def _send(self, connection: http.client.HTTPConnection, target: str, used: str, body: Body) -> None:
        connection.putrequest(self.command, target, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in HOP:
                connection.putheader(name, value)
        if used:
            connection.putheader("Authorization", used)
        if body.chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        elif body.length or self.command in ("POST", "PUT", "PATCH"):
            connection.putheader("Content-Length", str(body.length))
        connection.endheaders(body.held or None)
        if body.held is not None:
            self.relay.passed(len(body.held))
            return
        try:
            for piece in body.pieces():
                connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if body.chunked else piece)
                self.relay.passed(len(piece))
            if body.chunked:
                connection.send(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the registry has answered before the end, or is gone: reading its answer tells which

    def _pass_back(self, response: http.client.HTTPResponse, target: str) -> None:
        headers = {name: value for name, value in response.getheaders() if name.lower() not in HOP | {"www-authenticate", "location"}}
        location = response.getheader("Location")
        if location:
            headers["Location"] = self._own(location, target)
        empty = self.command == "HEAD" or response.status in (204, 304)
        size = response.getheader("Content-Length")
        if size is not None:
            headers["Content-Length"] = size
        elif not empty:
            self.close_connection = True  # without a length, the end of the connection is the end of the body
        self._head(response.status, headers)
        while piece := response.read(PIECE):
            self._write(piece)
        self._write(b"")

    def _own(self, location: str, target: str) -> str:
        """Where an upload goes on, as a path of the relay: only the registry itself may be named."""
        origin = self.relay.origin
        try:
            there = http_answer.redirected(f"{origin}{target}", location)
            own = http_answer.leads_to(there, origin.scheme, origin.address)
        except ValueError as error:
            raise ConfigError(f"{origin} sends uploads on to what is no address", cause=f"Location: {location[:200]}") from error
        if not own:
            raise ConfigError(
                f"{origin} sends uploads on to {there.scheme}://{there.netloc}, which gets neither layers nor credentials",
                mend="mend the registry's external URL, or name its final address in the site file",
            )
        return http_answer.target(there)

    def _say(self, status: int, headers: dict[str, str] | None = None) -> None:
        """An answer of the relay's own. A body that may not have been read makes the connection useless."""
        if "Transfer-Encoding" in self.headers or self.headers.get("Content-Length", "0") != "0":
            self.close_connection = True
        self._head(status, {"Content-Length": "0", **(headers or {})})
        self._write(b"")

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.relay.counted()
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        try:
            self.end_headers()
        except OSError as error:
            raise ClientGone from error

    def _write(self, piece: bytes) -> None:
        """Send to the client; nothing is what flushes."""
        try:
            self.wfile.write(piece)
            if not piece:
                self.wfile.flush()
        except OSError as error:
            raise ClientGone from error


def _status(error: PipelineError) -> int:
    """What skopeo is told; it must neither retry by itself nor look for other credentials."""
    if isinstance(error, IntegrityError):
        return 409
    return 503 if isinstance(error, Transient) else 403
