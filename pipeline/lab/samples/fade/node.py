"""The cluster node: keys with a value and a time to live, for clients on one port; on the other one what nodes say to each other.

A write that a majority of the nodes has is answered with 201, one that fewer have with 202 and how many. On SIGTERM it takes no write any
more and says so at /health, gives its peers what they miss, and ends with 0. Nothing is ever written to a disk: that is what it is for.
"""

from __future__ import annotations

import math
import os
import secrets
import socket
import sys
import threading
import time
from typing import Any

from . import settings, wire
from .cluster import Cluster
from .settings import Node, Wrong
from .store import BUCKETS, Entry, Full, Store, Taken
from .web import Answer, Listener, Refused, Request, page, say, told, wait_for

LISTED = 1000  # keys, or values, of one answer


class Program:
    """What one node answers."""

    def __init__(self, found: Node) -> None:
        self.found = found
        self.store = Store(f"{found.name}.{secrets.token_hex(4)}", found.entries, found.space)
        self.cluster = Cluster(found, self.store)
        self.draining = threading.Event()

    # ---- for clients

    def answer(self, asked: Request) -> Answer:
        """Raises Refused."""
        if asked.path.startswith("/data/"):
            return self.data(asked, asked.path.removeprefix("/data/"))
        if asked.method != "GET":
            raise Refused(405, f"{asked.path} can only be read")
        match asked.path:
            case "/health/live":
                return page(200, {"status": "alive"})
            case "/health" | "/health/ready":
                return page(200 if self.status == "ok" else 503, self.health())
            case "/status":
                keys, size = self.store.counts()
                peers = {str(peer.target): peer.state() for peer in self.cluster.peers}
                return page(200, {**self.health(), "keys": keys, "bytes": size, "quorum": self.cluster.quorum, "peers": peers})
            case "/keys":
                self.serve()
                return page(200, {"keys": [self.about(each) for each in self.listed(asked)]})
            case "/data":
                self.serve()
                return page(200, {"entries": [{**self.about(each), "value": _text(each)} for each in self.listed(asked)]})
        raise Refused(404, f"there is no {asked.path} here")

    @property
    def status(self) -> str:
        return "draining" if self.draining.is_set() else "ok" if self.cluster.joined.is_set() else "joining"

    def health(self) -> dict[str, Any]:
        found = self.found
        up = sum(bool(peer.up) for peer in self.cluster.others)
        return {"status": self.status, "ready": self.status == "ok", "node": found.name, "commit": found.common.commit,
                "version": found.common.version, "nodes": self.cluster.size, "reached": up + 1}  # fmt: skip

    def data(self, asked: Request, key: str) -> Answer:
        """One key."""
        if not wire.KEY.fullmatch(key):
            raise Refused(400, "a key is letters, digits and . _ : -, at most 200 of them, and begins with a letter or a digit")
        self.serve()
        if asked.method == "GET":
            if entry := self.store.get(key):
                about = {"X-TTL": str(entry.ttl), "X-Remaining-TTL": str(self.left(entry)), "X-Version": str(entry.version)}
                return Answer(200, entry.value or b"", headers=about)
            raise Refused(404, f"there is no {key}, or no longer")
        if self.draining.is_set():
            raise Refused(503, f"{self.found.name} is about to end and takes no write")
        if asked.method == "DELETE":
            gone = self.store.delete(key)
            return self.kept(gone, 200) if gone else page(200, {"key": key, "copies": 0, "nodes": self.cluster.size})
        value, new = asked.read(wire.VALUE), asked.headers.get("if-none-match") == "*"
        try:
            return self.kept(self.store.put(key, value, self.ttl(asked), new), 201)
        except Full as error:
            raise Refused(507, "there is no room left: something has to fade first") from error
        except Taken as error:
            raise Refused(409, f"{key} has another value already") from error

    def kept(self, entry: Entry, code: int) -> Answer:
        copies = self.cluster.spread(entry)
        enough = copies >= self.cluster.quorum
        found = {**self.about(entry), "copies": copies, "nodes": self.cluster.size, "quorum": enough}
        return page(code if enough else 202, found)

    def serve(self) -> None:
        """Raises Refused while this node does not have what the others have."""
        if not self.cluster.joined.is_set():
            raise Refused(503, f"{self.found.name} has not joined its peers yet: ask another node")

    def ttl(self, asked: Request) -> int:
        text = asked.headers.get("x-ttl") or asked.query.get("ttl") or str(self.found.usual_ttl)
        if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= self.found.longest_ttl):
            raise Refused(400, f"the time to live is {text!r:.40}: whole seconds from 1 to {self.found.longest_ttl} are wanted")
        return int(text)

    def listed(self, asked: Request) -> list[Entry]:
        limit = asked.query.get("limit") or str(LISTED)
        if not (limit.isascii() and limit.isdigit() and len(limit) < 10 and 0 < int(limit) <= LISTED):
            raise Refused(400, f"limit is {limit!r:.40}: a number from 1 to {LISTED} is wanted")
        found: list[Entry] = []
        size = 0
        for each in self.store.live(asked.query.get("prefix", ""))[: int(limit)]:
            size += each.size
            if size > wire.MESSAGE:
                break
            found.append(each)
        return found

    def left(self, entry: Entry) -> int:
        return max(1, math.ceil(entry.until - self.store.now()))

    def about(self, entry: Entry) -> dict[str, Any]:
        return {"key": entry.key, "version": str(entry.version), "ttl": entry.ttl, "left": self.left(entry)}

    # ---- for nodes

    def gossip(self, asked: Request) -> Answer:
        """Raises Refused."""
        if asked.method != "POST":
            raise Refused(405, "nodes talk by POST")
        given = asked.json(wire.MESSAGE)
        try:
            match asked.path:
                case "/gossip/digest":
                    return page(200, {"name": self.found.name, "origin": self.store.origin, "buckets": self.store.digest()})
                case "/gossip/bucket":
                    return page(200, self.exchange(given))
                case "/gossip/push":
                    return page(200, self.take(given))
        except wire.Malformed as error:
            raise Refused(400, str(error)) from error
        raise Refused(404, f"there is no {asked.path} here")

    def exchange(self, given: dict[str, Any]) -> dict[str, Any]:
        """What the other node lacks of a bucket, as much as goes into one message, and what is wanted from it."""
        number, theirs = given.get("bucket"), wire.known(given.get("have"))
        if type(number) is not int or not 0 <= number < BUCKETS:
            raise wire.Malformed("bucket is none of ours")
        mine = self.store.bucket(number)
        newer = [each for each in mine if each.key not in theirs or each.version > theirs[each.key]]
        entries, taken = wire.packed(newer, self.store.now())
        wanted = [key for key, version in theirs.items() if wire.KEY.fullmatch(key) and not self.store.holds(key, version)]
        return {"entries": entries, "wanted": wanted, "more": taken < len(newer)}

    def take(self, given: dict[str, Any]) -> dict[str, Any]:
        """Keep what comes; the keys for which there is no room."""
        refused = []
        for each in wire.unpacked(given.get("entries"), self.store.now()):
            try:
                self.store.merge(each)
            except Full:
                refused.append(each.key)
        return {"refused": refused}


def _text(entry: Entry) -> str:
    return (entry.value or b"").decode(errors="replace")


def main() -> int:
    """Serve until SIGTERM or SIGINT. 0 after an end in order, 2 for a wrong setting."""
    came = told()
    try:
        found = settings.node(os.environ, socket.gethostname())
        program = Program(found)
        clients = Listener(found.common.host, found.common.port, program.answer)
        nodes = Listener(found.common.host, found.gossip_port, program.gossip)
    except Wrong as error:
        say(f"node: {error}")
        return 2
    nodes.start()
    clients.start()
    say(f"{found.name} {found.common.version} ({found.common.commit}): clients on {found.common.host}:{found.common.port}, "
        f"nodes on {found.gossip_port}, peers {', '.join(str(peer.target) for peer in program.cluster.peers) or 'none'}")  # fmt: skip
    program.cluster.start()
    wait_for(came)
    say(f"{found.name}: draining for {found.common.drain:g} s")
    program.draining.set()
    time.sleep(found.common.drain)
    clients.end()
    program.cluster.leave()
    nodes.end()
    say(f"{found.name}: ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
