"""A cluster of Fade's nodes as processes on loopback, and what is asked of it."""

from __future__ import annotations

import http.client
import json
import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.samples.conftest import Program, Start

START = 60.0  # seconds: on a machine that has much else to do, too
QUICK = {"REPRAM_HOST": "127.0.0.1", "REPRAM_SYNC_SECONDS": "0.1", "REPRAM_WRITE_SECONDS": "10", "REPRAM_DRAIN_SECONDS": "0"}


@dataclass
class Cluster:
    """Nodes by their number, each with a port for clients and one for nodes. `links` says where a node finds another one, where that is
    not that port itself."""

    start: Start
    size: int = 3
    links: dict[tuple[int, int], int] = field(default_factory=dict)
    nodes: dict[int, Program] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = [quiet_port() for _ in range(self.size)]
        self.gossip = [quiet_port() for _ in range(self.size)]

    def up(self, *numbers: int, ready: bool = True, **environment: str) -> None:
        """Start nodes: with none named, all."""
        numbers = numbers or tuple(range(self.size))
        for number in numbers:
            peers = ",".join(f"127.0.0.1:{self.links.get((number, other), self.gossip[other])}" for other in range(self.size))
            own = {"REPRAM_NAME": f"n{number}", "REPRAM_PORT": str(self.ports[number]), "REPRAM_GOSSIP_PORT": str(self.gossip[number])}
            self.nodes[number] = self.start("fade.node", self.ports[number], **{**QUICK, **own, "REPRAM_PEERS": peers, **environment})
        for number in numbers:
            self.nodes[number].until(self.nodes[number].listens, START)
            if ready:
                self.nodes[number].until(lambda number=number: self.health(number)[0] == 200, START)  # type: ignore[misc]

    def kill(self, number: int) -> None:
        self.nodes[number].process.kill()
        self.nodes[number].process.wait(10)

    def health(self, number: int) -> tuple[int, dict[str, Any]]:
        return self.nodes[number].page("/health")

    def put(self, number: int, key: str, value: str, ttl: int = 60, **headers: str) -> tuple[int, dict[str, Any]]:
        code, body = ask(self.ports[number], "PUT", f"/data/{key}", value.encode(), {"X-TTL": str(ttl), **headers})
        return code, json.loads(body)

    def get(self, number: int, key: str) -> str | int:
        """The value, or the code where there is none."""
        code, body = ask(self.ports[number], "GET", f"/data/{key}")
        return body.decode() if code == 200 else code

    def keys(self, number: int) -> set[str]:
        return {each["key"] for each in self.nodes[number].page("/keys")[1]["keys"]}


def quiet_port() -> int:
    """A free port that no connection is given by itself: a node that looks for one that is not there yet would else take its port now and
    then, or be connected with itself."""
    while True:
        port = random.randrange(15_000, 30_000)  # noqa: S311  # not a secret
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue


def ask(port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def soon(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for what has to become true."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
