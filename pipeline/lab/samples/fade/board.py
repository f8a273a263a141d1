"""The nodes as the web server sees them: asked in turn, those that do not answer last. A message is kept when a majority has it."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .dial import Reply, Target, Unreachable
from .web import say

ASK = 1.0  # seconds for an answer of a node that only reads
WRITE = 3.0  # seconds for one that gathers copies
ALL = 8.0  # seconds after which no further node is tried
PREFIX = "message."
LISTED = 200


class NoNode(Exception):
    """Not enough nodes answer; the text says what that means for the one who asked."""


class Refused(Exception):
    """A node does not take it, and another one would not either."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


@dataclass
class Node:
    """A node, and whether it answered when it was last asked."""

    target: Target
    up: bool | None = None
    why: str = "not asked yet"

    @property
    def url(self) -> str:
        return f"http://{self.target}"


@dataclass(frozen=True)
class Message:
    """One message; `left` of its `ttl` seconds are left."""

    id: str
    text: str
    author: str
    ttl: int
    left: int

    def page(self) -> dict[str, Any]:
        return {"id": self.id, "text": self.text, "author": self.author, "ttl": self.ttl, "left": self.left}


@dataclass
class Board:
    """The messages, wherever they are kept."""

    nodes: tuple[Node, ...]
    seen: threading.Event = field(default_factory=threading.Event)
    _turn: Iterator[int] = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def quorum(self) -> int:
        return len(self.nodes) // 2 + 1

    def watch(self, seconds: float) -> None:
        """Look every so often how each node is, from now on. What failed comes back so."""
        for node in self.nodes:
            threading.Thread(target=self._watch, args=(node, seconds), daemon=True).start()

    def _watch(self, node: Node, seconds: float) -> None:
        while True:
            try:
                node.target.look_up()
                found = self._ask(node, "GET", "/health", within=ASK)
                self._note(node, found.code == 200, f"it answers {found.code}")
            except Unreachable:
                pass  # noted where it was asked
            time.sleep(seconds)

    def write(self, name: str, text: str, author: str, ttl: int) -> int:
        """Keep a message; the number of nodes that have it, which is a majority. Raises NoNode, and Refused."""
        body = json.dumps({"text": text, "author": author}).encode()
        headers = {"X-TTL": str(ttl), "If-None-Match": "*"}  # the same message once more is the same message
        most = 0
        for node in self.order():
            try:
                found = self._ask(node, "PUT", f"/data/{PREFIX}{name}", body, headers, WRITE)
            except Unreachable:
                continue
            if found.code == 201:
                return _number(found, "copies")
            if found.code in (400, 409, 413):
                raise Refused(found.code, "there is another message of this id" if found.code == 409 else f"a node answered {found.code}")
            if found.code == 202:
                most = max(most, _number(found, "copies"))
            elif found.code != 507:
                self._note(node, False, f"it answers {found.code}")
        if most:
            raise NoNode(f"only {most} of {len(self.nodes)} nodes could keep the message: it may be seen, and may be lost; send it again")
        raise NoNode("no node could keep the message: send it again")

    def read(self, name: str) -> Message | None:
        """A message, or None where a majority does not know it. Raises NoNode."""
        missing = 0
        for node in self.order():
            try:
                found = self._ask(node, "GET", f"/data/{PREFIX}{name}")
            except Unreachable:
                continue
            if found.code == 200:
                return _message(name, found.body, found.headers.get("x-ttl"), found.headers.get("x-remaining-ttl"))
            missing += found.code == 404
            if missing >= self.quorum:
                return None
        raise NoNode("too few nodes answer to say whether there is such a message")

    def list(self) -> tuple[list[Message], bool]:
        """What a majority of the nodes has, newest first, and whether it was a majority that answered. Raises NoNode where none did."""
        found: dict[str, Message] = {}
        answered = 0
        for node in self.order():
            try:
                reply = self._ask(node, "GET", f"/data?prefix={PREFIX}&limit={LISTED}")
                if reply.code != 200:
                    continue
                for each in json.loads(reply.body)["entries"]:
                    if message := _message(each["key"].removeprefix(PREFIX), each["value"], each["ttl"], each["left"]):
                        found[message.id] = message
            except (Unreachable, ValueError, KeyError, TypeError):
                continue
            answered += 1
            if answered >= self.quorum:
                break
        if not answered:
            raise NoNode("no node answers: the messages are not to be seen at the moment")
        newest = sorted(found.values(), key=lambda each: (each.ttl - each.left, each.id))[:LISTED]
        return newest, answered >= self.quorum

    def order(self) -> Iterator[Node]:
        """The nodes, the next one first, those that did not answer last; none any more when it has taken too long."""
        deadline = time.monotonic() + ALL
        with self._lock:
            turn = next(self._turn) % len(self.nodes)
        rotated = self.nodes[turn:] + self.nodes[:turn]
        for node in sorted(rotated, key=lambda each: not each.up):
            if time.monotonic() < deadline:
                yield node

    def _ask(
        self, node: Node, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None, within: float = ASK
    ) -> Reply:
        """Raises Unreachable, and remembers it."""
        try:
            return node.target.ask(method, path, body, headers, within)
        except Unreachable as error:
            self._note(node, False, str(error))
            raise

    def _note(self, node: Node, up: bool, why: str) -> None:
        if up != node.up:
            say(f"fade: {node.url} is {'up' if up else f'down: {why}'}")
        node.up, node.why = up, why
        if up:
            self.seen.set()


def _number(found: Reply, name: str) -> int:
    try:
        return int(json.loads(found.body)[name])
    except (ValueError, KeyError, TypeError):
        return 1


def _message(name: str, value: str | bytes, ttl: Any, left: Any) -> Message | None:
    """What a node keeps, as a message; None for what somebody else keeps there."""
    try:
        given = json.loads(value)
        return Message(name, str(given["text"]), str(given["author"]), int(ttl), int(left))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
