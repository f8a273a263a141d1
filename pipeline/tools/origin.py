"""One HTTP origin: kept connections, a deadline on every read and on the whole, answers cut to a size, faults told in our words.

Only what an operator configured is contacted. http.client reads no proxy from the environment; `pipeline.tools.proxies`
says when one is used. The scheme is never changed: an https origin that does not speak TLS is an error.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import select
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.clock import Clock, SystemClock
from pipeline.errors import ConfigError, PipelineError
from pipeline.tools import http_answer, proxies
from pipeline.tools.http_faults import told

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
            content = response.read(cap + 1)  # of a HEAD too: only then is the connection free again
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
        except ValueError as error:
            if connection:
                connection.close()
            if not str(error).startswith("Invalid header"):
                raise
            # http.client shows the header that it refuses, which may be a secret
            raise ConfigError(f"{self}: the request holds what cannot stand in a header", mend="look at the credentials for it") from None
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
        proxy = proxies.proxy_for(self.scheme, self.address)
        target = str(proxy or self.address)
        if self.scheme == "https":
            import ssl  # 10 ms that an http registry never needs

            context = proxies.trust(ssl.create_default_context())
            connection: Any = http.client.HTTPSConnection(target, timeout=self._read_timeout, context=context)
            if proxy:
                connection.set_tunnel(self.address, headers=dict(proxy.headers))
        else:
            connection = http.client.HTTPConnection(target, timeout=self._read_timeout)
        connection.until = until
        connection.response_class = http_answer.Response
        try:
            connection.connect()
        except OSError as error:
            if proxy and (meant := proxies.told(error, proxy, self.address)):
                raise meant from error
            raise
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
