"""The wire under the Kubernetes client: one verified TLS connection, one running watch, one answer read as JSON."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

from pipeline import jsontext
from pipeline.errors import ConfigError, IntegrityError
from pipeline.host import Address
from pipeline.tools import http_answer, proxies
from pipeline.tools.http_faults import words
from pipeline.tools.kube_login import Credentials
from pipeline.tools.kube_status import Asked, refused, unreachable
from pipeline.tools.kubeconfig import Access

LIMIT = 32 << 20  # bytes of one answer
LOST = (OSError, http.client.HTTPException)
Object = dict[str, Any]


class Watch:
    """A running watch: iterate over (type, object). `close` ends it from any thread."""

    def __init__(self, connection: Connection, response: http.client.HTTPResponse, asked: Asked) -> None:
        self._connection, self._response, self._asked = connection, response, asked
        self._socket = connection.sock or getattr(getattr(response.fp, "raw", None), "_sock", None)
        self._closed = False

    def __iter__(self) -> Iterator[tuple[str, Object]]:
        try:
            while line := self._response.readline(LIMIT):
                event = read_json(line)
                value = event.get("object") or {}
                if event.get("type") == "ERROR":
                    raise refused(self._asked, int(value.get("code") or 500), {}, json.dumps(value).encode())
                yield str(event.get("type")), value
        except (*LOST, ValueError, AttributeError) as error:
            if not self._closed:
                raise unreachable(self._asked, error, sent=True) from error
        finally:
            self._response.close()
            self._connection.close()

    def close(self) -> None:
        self._closed = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class Connection(http.client.HTTPSConnection):
    """Connects where `dial` says, and demands the certificate of the access's server name."""

    response_class = http_answer.Response

    def __init__(self, access: Access, dial: Callable[[], Address], context: ssl.SSLContext, timeout: float) -> None:
        super().__init__(access.host, access.port, timeout=timeout, context=context)
        self._name, self._dial_to, self.tls = access.server_name, dial, context

    def connect(self) -> None:
        address = self._dial_to()
        proxy = proxies.proxy_for("https", str(address), private=True)  # the way that helm goes
        if proxy:
            plain = proxies.dial(proxy, address.host, address.port, self.timeout)
        else:
            plain = socket.create_connection((address.host, address.port), self.timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = self.tls.wrap_socket(plain, server_hostname=self._name)
        except BaseException:
            plain.close()
            raise

    def alive(self) -> bool:
        """Whether the server still holds the other end. What it sends unasked (TLS session tickets) is read on the way."""
        if self.sock is None:
            return False
        self.sock.settimeout(0)
        try:
            self.sock.recv(1)
        except ssl.SSLWantReadError:
            self.sock.settimeout(self.timeout)
            return True
        except OSError:
            return False
        return False


class Tls:
    """What TLS is spoken with: another context as soon as there is another certificate to show."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._made: tuple[str, ssl.SSLContext] | None = None
        self._lock = threading.Lock()

    def context(self) -> ssl.SSLContext:
        shown = self._access.login.credentials()
        with self._lock:
            if self._made is None or self._made[0] != shown.certificate:
                self._made = shown.certificate, _context(self._access, shown)
            return self._made[1]


def _context(access: Access, shown: Credentials) -> ssl.SSLContext:
    """Return how the API is spoken to: its certificate checked, ours `shown`. Raise ConfigError if one of them is broken."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks host name and certificate
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if access.ca:
            context.load_verify_locations(cadata=access.ca)
        else:
            proxies.trust(context)
        if shown.certificate:
            with _file(shown.certificate + "\n" + shown.key) as name:
                context.load_cert_chain(name)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"kubeconfig {access.path} holds a broken certificate or key", cause=str(error), mend="copy it again") from error
    return context


@contextlib.contextmanager
def _file(text: str) -> Iterator[str]:
    """A file that OpenSSL can read a key from: in memory where the system can, else private and short-lived."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("pipeline-key", os.MFD_CLOEXEC)
        try:
            os.write(number, text.encode())
            yield f"/proc/self/fd/{number}"
        finally:
            os.close(number)
    else:
        import tempfile

        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(text)
            file.flush()
            yield file.name


def read_json(content: bytes) -> Object:
    try:
        value = jsontext.loads(content)
    except ValueError as error:
        raise IntegrityError("the Kubernetes API answered something that is not JSON", cause=words(content)) from error
    if not isinstance(value, dict):
        raise IntegrityError("the Kubernetes API answered JSON that is not an object", cause=words(content))
    return value
