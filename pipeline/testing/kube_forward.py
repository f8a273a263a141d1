"""The port-forward of the fake Kubernetes API: a WebSocket of the protocol v4.channel.k8s.io that leads to an address of the test."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import select
import socket
import struct
from typing import Any

from pipeline.host import Address

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
BINARY, CLOSE = 2, 8


def serve(handler: http.server.BaseHTTPRequestHandler, port: int, target: Address | None) -> None:
    """Answer the upgrade and carry bytes between the WebSocket and `target`; None is a port that nothing listens on."""
    accept = hashlib.sha1((handler.headers["Sec-WebSocket-Key"] + MAGIC).encode(), usedforsecurity=False).digest()
    handler.send_response(101)
    handler.send_header("Upgrade", "websocket")
    handler.send_header("Connection", "Upgrade")
    handler.send_header("Sec-WebSocket-Accept", base64.b64encode(accept).decode())
    handler.send_header("Sec-WebSocket-Protocol", handler.headers["Sec-WebSocket-Protocol"])
    handler.end_headers()
    handler.close_connection = True
    for channel in (0, 1):
        _send(handler, BINARY, bytes([channel]) + struct.pack("<H", port))
    if target is None:
        text = f"error forwarding port {port}: dial tcp4 127.0.0.1:{port}: connect: connection refused"
        _send(handler, BINARY, b"\x01" + text.encode())
    else:
        with contextlib.suppress(OSError), socket.create_connection((target.host, target.port), 5) as there:
            _carry(handler, there)
    with contextlib.suppress(OSError):
        _send(handler, CLOSE, struct.pack(">H", 1000))


def _carry(handler: http.server.BaseHTTPRequestHandler, there: socket.socket) -> None:
    here: Any = handler.connection
    while True:
        ready = [here] if here.pending() else select.select([here, there], (), (), 30)[0]
        if here in ready:
            code, content = _receive(handler)
            if code == CLOSE:
                return
            if code == BINARY and content[:1] == b"\x00":
                there.sendall(content[1:])
        if there in ready:
            chunk = there.recv(1 << 15)
            if not chunk:
                return
            _send(handler, BINARY, b"\x00" + chunk)


def _send(handler: http.server.BaseHTTPRequestHandler, code: int, content: bytes) -> None:
    size = bytes([len(content)]) if len(content) < 126 else b"\x7e" + struct.pack(">H", len(content))
    handler.wfile.write(bytes([0x80 | code]) + size + content)
    handler.wfile.flush()


def _receive(handler: http.server.BaseHTTPRequestHandler) -> tuple[int, bytes]:
    """One frame of a client, which masks what it sends; (CLOSE, b"") where there is none."""
    head = handler.connection.recv(2)
    if len(head) < 2:
        return CLOSE, b""
    size = head[1] & 0x7F
    if size == 126:
        (size,) = struct.unpack(">H", _exactly(handler, 2))
    elif size == 127:
        (size,) = struct.unpack(">Q", _exactly(handler, 8))
    mask, content = _exactly(handler, 4), _exactly(handler, size)
    return head[0] & 0x0F, bytes(byte ^ mask[place % 4] for place, byte in enumerate(content))


def _exactly(handler: http.server.BaseHTTPRequestHandler, size: int) -> bytes:
    content = b""
    while len(content) < size and (piece := handler.connection.recv(size - len(content))):
        content += piece
    return content
