"""Kubernetes' port-forward inside this process: a loopback port here that leads to a port of a pod, gone when the process is.

Each connection accepted here is a WebSocket of its own to the API server, in the protocol v4.channel.k8s.io: every message starts with the
byte of its channel, 0 the data and 1 the errors of the one port asked for, and the first message on each is that port's number.
Source: k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go. websocket-client, which the official client streams with too, does the
framing over a connection of our own client: verified, and through its tunnel. The protocol has no half-close: what a client sends
after the pod has ended is lost.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import Any

import websocket

from pipeline.errors import PipelineError, Transient
from pipeline.host import Address
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_login import bearer
from pipeline.tools.kube_paths import asked
from pipeline.tools.kube_status import refused, unreachable
from pipeline.tools.kube_wire import LOST

PROTOCOL = "v4.channel.k8s.io"
OPENING = 10.0  # seconds for the way to the pod to open
LAST_WORDS = 2.0  # seconds without a byte that a pod may still answer in, once the client has ended its side
CHUNK = 1 << 15
DATA, ERRORS = 0, 1


class PortForward:
    """Open until `close`: connections to `address` reach the pod and port that `lead` named last.

    `failure` is what went wrong with the newest connection that failed, None where none did: Transient where nothing answers in the pod or
    the way there broke off, else what the client of the API raises. `connections` counts those open.
    """

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube, self._namespace = kube, namespace
        self._pod, self._port = "", 0
        self._open: set[Any] = set()
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._closed = False
        self.failure: PipelineError | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address(*self._listener.getsockname()[:2])
        self._accepting = threading.Thread(target=self._accept, name=f"port-forward-{self.address.port}", daemon=True)
        self._accepting.start()

    def lead(self, pod: str, port: int) -> PortForward:
        """Let the next connections reach `port` of `pod`."""
        self._pod, self._port = pod, port
        return self

    @property
    def connections(self) -> int:
        with self._lock:
            return len(self._threads)

    def close(self) -> None:
        """End the port and every connection through it."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._accepting.join(5)
        self._listener.close()
        with self._lock:
            ends, threads = list(self._open), list(self._threads)
        for end in ends:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(end, socket.SHUT_RDWR)  # of the socket itself: TLS would forget what the other thread reads
        for thread in threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                end, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._carry, args=(end,), name=f"port-forward-{self._pod}", daemon=True)
            with self._lock:
                self._threads.add(thread)
            thread.start()

    def _carry(self, end: socket.socket) -> None:
        """One connection, from its first byte to its last. Why it failed is known before the client sees its end."""
        with end, self._held(end):
            try:
                far = self._dial()
                with contextlib.closing(far.sock or end), self._held(far.sock):  # the line itself: far.close would wait for an answer
                    _pump(end, far)
            except PipelineError as error:
                self.failure = error
            except (*LOST, websocket.WebSocketException) as error:
                if not self._closed:
                    self.failure = Transient(f"the port-forward to pod {self._pod} broke off: {error}")
        with self._lock:
            self._threads.discard(threading.current_thread())

    @contextlib.contextmanager
    def _held(self, end: Any) -> Any:
        """`end` is among those that closing ends."""
        with self._lock:
            self._open.add(end)
        try:
            yield end
        finally:
            with self._lock:
                self._open.discard(end)

    def _dial(self) -> websocket.WebSocket:
        """A WebSocket to the pod's port. Raises PipelineError as every request to the API does."""
        access = self._kube.access
        target = path("v1", "pods", self._namespace, self._pod, "portforward")
        request = asked("get", target, f"{access.host}:{access.port}")
        connection = self._kube.dialed(OPENING)
        shown = access.login.credentials()
        with contextlib.ExitStack() as unless_open:
            unless_open.callback(connection.close)
            try:
                with self._held(connection.sock):
                    # ws and not wss: the connection given has spoken TLS already
                    far: websocket.WebSocket = websocket.create_connection(
                        f"ws://{access.host}:{access.port}{access.prefix}{target}?ports={self._port}",
                        timeout=OPENING,
                        socket=connection.sock,
                        subprotocols=[PROTOCOL],
                        header=bearer(shown),
                        suppress_origin=True,
                    )
            except websocket.WebSocketBadStatusException as error:
                if error.status_code == 401 and access.login.renewed(shown):
                    return self._dial()
                raise refused(request, error.status_code, dict(error.resp_headers or {}), bytes(error.resp_body or b"")) from error
            except (*LOST, websocket.WebSocketException) as error:
                raise unreachable(request, error, sent=False) from error
            unless_open.pop_all()
        return far


def _pump(end: socket.socket, far: websocket.WebSocket) -> None:
    """Bytes both ways in one thread, since a TLS connection is not for two, until the pod ends or the client has gone.

    Raises Transient with what the node says on the channel of errors.
    """
    greeted: set[int] = set()
    line: Any = far.sock
    sending = True
    while True:
        waiting = [line, end] if sending else [line]
        ready = [line] if line.pending() else select.select(waiting, (), (), None if sending else LAST_WORDS)[0]
        if not ready:
            return
        if line in ready:
            code, message = far.recv_data()
            if code == websocket.ABNF.OPCODE_CLOSE or not message:
                return
            channel, content = message[0], message[1:]
            if channel not in greeted:
                greeted.add(channel)  # the port's number
            elif channel == ERRORS:
                raise Transient(_in_short(content.decode(errors="replace")))
            else:
                end.sendall(content)
        if end in ready:
            chunk = end.recv(CHUNK)
            if chunk:
                far.send_binary(bytes([DATA]) + chunk)
            else:
                sending = False


def _in_short(text: str) -> str:
    """The node's complaint without its own ids and folders."""
    if "connection refused" in text:
        return "nothing listens on that port in the pod (connection refused)"
    return f"the node could not forward: {text.strip()[-300:]}"
