"""A port takes connections, and says what it has to say first."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass

from pipeline.artifacts import Check
from pipeline.errors import Transient
from pipeline.verify.question import Question, World
from pipeline.verify.through import parse
from pipeline.verify.view import View
from pipeline.verify.web import Unreachable

SAID = 1024  # bytes of a greeting that are read
QUIET = 0.4  # seconds in which a way that takes every connection (a port-forward, Docker's proxy) tells that nobody is at its end


@dataclass(frozen=True)
class Tcp:
    """A port: `tcp` is the way to it, as `through` of a page: HOST:PORT, load-balancer:SERVICE:PORT, port-forward:service/NAME:PORT.

    `banner` has to be in the first KiB that it sends unasked. Raises ValueError where something is none of that.
    """

    tcp: str
    banner: str = ""

    def __post_init__(self) -> None:
        if parse(self.tcp).kind == "ingress":
            raise ValueError("tcp takes HOST:PORT, a load-balancer or a port-forward; an ingress is asked with a path")

    @property
    def ways(self) -> tuple[str, ...]:
        """How it reaches the application, as it is written."""
        return (self.tcp,)

    @property
    def name(self) -> str:
        return f"tcp {self.tcp}"


def question(check: Tcp, world: World) -> Question:
    way = parse(check.tcp)

    def ask(view: View, seconds: float) -> tuple[float, bytes]:
        address = world.ways.address(way, view)
        with world.ways.told(way):
            return _greeting((address.host, address.port), check.banner.encode(), way.kind in ("port-forward", "port"), seconds)

    return Question(check.name, ("tcp", check), ask, lambda heard: _judge(check, *heard), place=str(way))


def _greeting(address: tuple[str, int], banner: bytes, forwarded: bool, seconds: float) -> tuple[float, bytes]:
    """How long connecting took, and what was said first. Raises Unreachable without a connection, Transient where it is closed at once."""
    started = time.monotonic()
    try:
        connection = socket.create_connection(address, seconds)
    except OSError as error:
        raise Unreachable(f"no connection: {error.strerror or error}") from error
    took = time.monotonic() - started
    if not banner and not forwarded:
        connection.close()
        return took, b""
    end = time.monotonic() + (seconds if banner else min(QUIET, seconds))
    with connection:
        return took, _said(connection, banner, end)


def _said(connection: socket.socket, banner: bytes, end: float) -> bytes:
    """What the peer says until it has said `banner` (anything, where that is empty), or the time is up."""
    said = b""
    while len(said) < SAID and not (said and banner in said):
        connection.settimeout(max(0.001, end - time.monotonic()))
        try:
            piece = connection.recv(SAID - len(said))
        except TimeoutError:
            break
        except OSError as error:
            raise Transient(f"the connection broke off: {error.strerror or error}") from error
        if not piece and not said:
            raise Transient("the connection was closed at once")
        if not piece:
            break
        said += piece
    return said


def _judge(check: Tcp, took: float, said: bytes) -> Check:
    heard = json.dumps(said[:100].decode(errors="replace")) if said else "nothing"
    if check.banner and check.banner.encode() not in said:
        return Check(check.name, False, f"it says {heard}, expected {json.dumps(check.banner)}")
    return Check(check.name, True, f"connected in {took * 1000:.0f} ms" + (f", says {heard}" if said else ""))
