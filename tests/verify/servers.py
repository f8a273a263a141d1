"""Tiny servers on loopback: each accepted connection is handed, with the head of its request, to a function."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Handler = Callable[[socket.socket, str], None]


@dataclass
class Server:
    address: str
    port: int
    requests: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [request.split(" ")[1] for request in self.requests]


@contextlib.contextmanager
def serving(handler: Handler, port: int = 0, address: str = "127.0.0.1") -> Iterator[Server]:
    """A server whose `handler` gets the connection and the request's head, and may do as it likes with it."""
    listener = socket.create_server((address, port))
    server = Server(address, listener.getsockname()[1])
    stopped = threading.Event()
    threads: list[threading.Thread] = []

    def one(peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and (piece := peer.recv(65536)):
                head += piece
            if head:
                server.requests.append(head.decode())
                handler(peer, head.decode())

    def loop() -> None:
        while not stopped.is_set():
            with contextlib.suppress(OSError):
                peer, _ = listener.accept()
                thread = threading.Thread(target=one, args=(peer,), daemon=True)
                thread.start()
                threads.append(thread)

    accepting = threading.Thread(target=loop, daemon=True)
    accepting.start()
    try:
        yield server
    finally:
        stopped.set()
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join(5)
        listener.close()
        for thread in threads:
            thread.join(5)


def answer(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def saying(raw: bytes) -> Handler:
    return lambda peer, _head: peer.sendall(raw)
