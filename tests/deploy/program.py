"""Programs that a test's own process does the work of: a call costs the start of a bare Python, not that of all that the work imports."""

from __future__ import annotations

import functools
import os
import secrets
import socketserver
import stat
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CLIENT = '''#!{python} -IS
"""Has {name} done in the process that listens at {address!r}; says what that says, waits and ends as that tells it."""
import _socket, os, signal, sys, time
line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
line.connect({address!r})
given = "\\0".join([{key!r}, os.getcwd(), os.path.basename(sys.argv[0]), *sys.argv[1:]]).encode(errors="surrogateescape")
line.sendall(b"%08d" % len(given) + given)
def take(size):
    taken = b""
    while len(taken) < size:
        taken += line.recv(size - len(taken)) or sys.exit("the test is over")
    return taken
while True:
    kind, size = take(1), int(take(8))
    text = take(size).decode(errors="surrogateescape")
    if kind == b"S":
        print(text, flush=True)
    elif kind == b"W":
        seconds, _, last = text.partition(" ")
        signal.signal(signal.SIGINT, lambda *_: sys.exit(last))
        time.sleep(float(seconds))
        line.sendall(b".")
    else:
        sys.exit(text or 0)
'''


@dataclass(frozen=True)
class Wait:
    """The program waits so many seconds, and ends with `interrupted` if it is interrupted meanwhile."""

    seconds: float
    interrupted: str


Step = str | Wait
Work = Callable[[Path, list[str]], Iterator[Step]]
"""Of the folder that the program runs in and its argv: what it prints, and when it waits. SystemExit with a text is its last word."""


def write(file: Path, work: Work) -> None:
    """Make `file` a program that does `work` here."""
    server, key = _server(), secrets.token_hex(8)
    server.works[key] = work
    file.write_text(CLIENT.format(python=sys.executable, name=file.name, address=server.server_address, key=key))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        self.works: dict[str, Work] = {}
        super().__init__(f"\0tests-{os.getpid()}-{secrets.token_hex(8)}", _Call)


class _Call(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        given = self.rfile.read(int(self.rfile.read(8)))
        key, folder, *argv = given.decode(errors="surrogateescape").split("\0")
        last = ""
        try:
            for step in self.server.works[key](Path(folder), argv):
                if isinstance(step, str):
                    self._send(b"S", step)
                else:
                    self._send(b"W", f"{step.seconds} {step.interrupted}")
                    if not self.rfile.read(1):
                        return  # it was ended
        except SystemExit as error:
            last = str(error.code)
        except ConnectionError:
            return
        except Exception:
            last = traceback.format_exc()
        try:
            self._send(b"E", last)
        except ConnectionError:
            return

    def _send(self, kind: bytes, text: str) -> None:
        data = text.encode(errors="surrogateescape")
        self.wfile.write(kind + b"%08d" % len(data) + data)


@functools.cache
def _server() -> _Server:
    """The one that this process needs; it ends with it."""
    server = _Server()
    threading.Thread(target=server.serve_forever, name="programs", daemon=True).start()
    return server
