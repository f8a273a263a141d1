"""One HTTP origin: kept connections, a deadline on every read and on the whole, answers cut to a size, faults told in our words.

Only what an operator configured is contacted. http.client reads no proxy from the environment; `pipeline.tools.proxies`
says when one is used. The scheme is never changed: an https origin that does not speak TLS is an error.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import io
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from typing import Any

from pipeline.clock import Clock, SystemClock
from pipeline.errors import Ambiguous, ConfigError, PipelineError, RateLimited, ResourceError, Transient
from pipeline.tools.proxies import proxy_for

READ_TIMEOUT = 10.0  # seconds without a byte
DEADLINE = 60.0  # seconds for one whole exchange
ERROR_CAP = 64 * 1024  # bytes kept of an answer that is only read for its message
BUFFER = 256 * 1024  # bytes read at once
SAFE = ("GET", "HEAD")


@dataclass(frozen=True)
class Answer:
    """A response, whole: `body` is cut at the cap, `cut` says that there was more. Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False


class _Deadlined(io.RawIOBase):
    """Reads a socket with what is left of the deadline: a peer that drips a byte now and then does not hold us for ever."""

    def __init__(self, sock: _Socket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.raw.settimeout(self._sock.left())
        return self._sock.raw.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            self._sock.release()
        super().close()


class _Socket:
    """What http.client uses of a socket, each read and write bounded by the connection's deadline.

    Like a real socket it stays open until its last file is closed: http.client closes it before the answer is read.
    """

    def __init__(self, sock: socket.socket, left: Callable[[], float]) -> None:
        self.raw = sock
        self.left = left
        self._users = 1

    def makefile(self, *_mode: Any, **_options: Any) -> io.BufferedReader:
        self._users += 1
        return io.BufferedReader(_Deadlined(self), BUFFER)

    def sendall(self, data: Any) -> None:
        self.raw.settimeout(self.left())
        self.raw.sendall(data)

    def release(self) -> None:
        self._users -= 1
        if self._users == 0:
            self.raw.close()

    close = release


class Origin:
    """Requests to `scheme://address`, from any number of threads. Connections are kept and used again.

    `read_timeout` is for one read, `deadline` for one exchange, in seconds. Raises ConfigError for a scheme that is neither http nor https.
    """

    def __init__(
        self, scheme: str, address: str, *, clock: Clock | None = None, read_timeout: float = READ_TIMEOUT, deadline: float = DEADLINE
    ) -> None:
        if scheme not in ("http", "https"):
            raise ConfigError(f"{scheme!r} is not a scheme of {address}", mend="write scheme: https or scheme: http")
        self.scheme = scheme
        self.address = address
        self.clock = clock or SystemClock()
        self._read_timeout = read_timeout
        self._deadline = deadline
        self._idle: list[http.client.HTTPConnection] = []
        self._closed = False
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return f"{self.scheme}://{self.address}"

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", *, cap: int = ERROR_CAP) -> Answer:
        """One exchange; at most `cap` bytes of the answer are kept. Raises Transient where the way or the peer fails, Ambiguous where
        that happens to a write after it was sent, ConfigError where name, TLS or scheme are wrong."""
        with self.connection(method) as connection:
            connection.request(
                method, path, body=body or None, headers={"Content-Length": "0", **headers} if method == "POST" else dict(headers)
            )
            response = connection.getresponse()
            content = b"" if method == "HEAD" else response.read(cap + 1)
            if len(content) > cap or not response.isclosed():
                connection.close()
            return Answer(response.status, lowered(response.getheaders()), content[:cap], len(content) > cap)

    @contextlib.contextmanager
    def connection(self, method: str = "GET", deadline: float | None = None) -> Iterator[http.client.HTTPConnection]:
        """A connection for one exchange of our caller's own making (`deadline` seconds); faults are told as in `ask`."""
        until = self.clock.monotonic() + (self._deadline if deadline is None else deadline)
        connected = False
        connection: http.client.HTTPConnection | None = None
        try:
            connection = self._taken(until)
            connected = True
            yield connection
        except PipelineError:
            if connection:
                connection.close()
            raise
        except (OSError, http.client.HTTPException) as error:
            if connection:
                connection.close()
            raise told(error, str(self), written=connected and method not in SAFE) from error
        except BaseException:
            if connection:
                connection.close()
            raise
        else:
            with self._lock:
                kept = connection.sock is not None and not self._closed
                if kept:
                    self._idle.append(connection)
            if not kept:
                connection.close()

    def close(self) -> None:
        """Close every idle connection, and those in use when their exchange ends."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _left(self, connection: Any) -> float:
        left = float(connection.until) - self.clock.monotonic()
        if left <= 0:
            raise TimeoutError("no complete answer before the deadline")
        return min(left, self._read_timeout)

    def _taken(self, until: float) -> http.client.HTTPConnection:
        while True:
            with self._lock:
                connection: Any = self._idle.pop() if self._idle else None
            if connection is None:
                return self._opened(until)
            if not select.select([connection.sock.raw], [], [], 0)[0]:  # readable while idle: the peer has closed it
                connection.until = until
                return connection  # type: ignore[no-any-return]
            connection.close()

    def _opened(self, until: float) -> http.client.HTTPConnection:
        proxy = proxy_for(self.scheme, self.address)
        target = proxy or self.address
        if self.scheme == "https":
            import ssl  # 10 ms that an http registry never needs

            connection: Any = http.client.HTTPSConnection(target, timeout=self._read_timeout, context=ssl.create_default_context())
            if proxy:
                connection.set_tunnel(self.address)
        else:
            connection = http.client.HTTPConnection(target, timeout=self._read_timeout)
        connection.until = until
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sock = _Socket(connection.sock, lambda: self._left(connection))
        return connection  # type: ignore[no-any-return]


def lowered(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Header names in lower case; a header that comes twice is joined by a comma (RFC 9110, 5.3)."""
    joined: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined


def told(error: Exception, peer: str, *, written: bool = False) -> PipelineError:
    """A socket's, TLS's or http.client's fault in our words; `written` says that a write was under way. `peer` is scheme://host:port."""
    cause = f"{type(error).__name__}: {error}"
    number = getattr(error, "errno", None)
    if isinstance(error, socket.gaierror) and number != socket.EAI_AGAIN:
        return ConfigError(f"{peer}: the name does not resolve", cause=cause, mend="correct the address, or mend this machine's DNS")
    if type(error).__module__ == "ssl":
        if "CERTIFICATE" in str(error).upper():
            return ConfigError(
                f"{peer}: its certificate is not trusted", cause=cause, mend="add its CA to this machine's trust store (or SSL_CERT_FILE)"
            )
        if "WRONG_VERSION_NUMBER" in str(error) or "RECORD_LAYER_FAILURE" in str(error) or "HTTP_REQUEST" in str(error):
            return ConfigError(
                f"{peer}: what answers there does not speak TLS; it was not asked without",
                cause=cause,
                mend="if it is meant to be plain HTTP, write scheme: http in the site file",
            )
    if number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
        return ResourceError(f"{peer}: this machine has no socket left", cause=cause, mend="raise the limit of open files (ulimit -n)")
    if written:
        return Ambiguous(f"{peer}: the connection was lost after a write was sent; its outcome is not known", cause=cause)
    if isinstance(error, TimeoutError):
        return Transient(f"{peer}: no answer in time", cause=cause, mend=f"look whether {peer} is up and reachable from here")
    return Transient(f"{peer}: the connection failed", cause=cause, mend=f"look whether {peer} is up and reachable from here")


def retry_after(text: str, now: float) -> float | None:
    """Seconds to wait by a Retry-After header in either form (RFC 9110, 10.2.3); None where it says nothing."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    date = parsedate_tz(text)
    return None if date is None else max(0.0, mktime_tz(date) - now)


def refusal(status: int, headers: Mapping[str, str], text: str, peer: str, what: str, *, written: bool, now: float) -> PipelineError:
    """What a 408, 429 or 5xx answer to `what` means. A 5xx to a write is Ambiguous: Gitea has answered 500 to manifests it had stored."""
    wait = retry_after(headers.get("retry-after", ""), now)
    cause = f"HTTP {status} {text}".strip()
    if status == 429 or (status == 503 and wait is not None):
        until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now + (wait or 0)))
        return RateLimited(
            f"{peer} asks for patience ({what})",
            retry_after=5.0 if wait is None else wait,
            cause=cause,
            mend=f"it takes requests again at {until}" if wait else "",
        )
    if status == 507:
        return ResourceError(
            f"{peer}: the registry's storage is full ({what})", cause=cause, mend="free space in the registry, then run again"
        )
    if status == 408 or status >= 500:
        kind = Ambiguous if written else Transient
        return kind(f"{peer} failed ({what})", cause=cause, mend=f"look at the log of {peer}")
    return ConfigError(f"{peer} refused {what}", cause=cause, mend="the cause above is the registry's own word")
