"""A node among its peers: a write goes to all of them at once, and now and then each is compared with, so that whoever missed something,
or lost everything, gets it.

A node has joined when it has compared itself with so many others that one of them must have what a majority had kept: an empty node that
comes back is ready only when it could stand in for another one.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from .dial import Target, Unreachable
from .settings import Node
from .store import BUCKETS, Entry, Full, Store
from .web import say
from .wire import Malformed, keys, packed, unpacked

WAITING = 1000  # writes for a peer that does not take them; the next comparison brings what is beyond
SOON = 0.5  # seconds until a peer that is missed is looked for again
ASK = 2.0  # seconds for one message
LAST = 5.0  # seconds for the last comparison, when the node ends


class Copies:
    """How many copies a write has, while the peers answer."""

    def __init__(self, entry: Entry, wanted: int, peers: int) -> None:
        self.entry = entry
        self.count = 1
        self._wanted, self._open = wanted, peers
        self._changed = threading.Condition()

    def told(self, kept: bool) -> None:
        """One more peer has kept it, or has not."""
        with self._changed:
            self.count += kept
            self._open -= 1
            self._changed.notify_all()

    def wait(self, seconds: float) -> int:
        """The copies, as soon as there are enough of them, or everybody has answered, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self.count >= self._wanted or self._open <= 0, seconds)
            return self.count


@dataclass
class Peer:
    """Another node, as far as it is known. `compared` is when this node last had all that it has (of the monotonic clock), 0 for never."""

    target: Target
    waiting: queue.Queue[Copies] = field(default_factory=lambda: queue.Queue(WAITING))
    name: str = ""
    is_self: bool = False
    up: bool | None = None
    why: str = "not asked yet"
    compared: float = 0.0

    def state(self) -> dict[str, Any]:
        """What the status page says of it."""
        found: dict[str, Any] = {"state": "self" if self.is_self else "up" if self.up else "down", "name": self.name}
        return found if self.up or self.is_self else {**found, "why": self.why}


class Cluster:
    """The peers of one node, and its store."""

    def __init__(self, found: Node, store: Store) -> None:
        self.found, self.store = found, store
        self.peers = tuple(Peer(Target(*each)) for each in found.peers)
        for peer in self.peers:  # its own name, as Kubernetes gives it, is known before anybody can be asked
            peer.is_self = peer.target.host.split(".")[0] == found.name
        self.joined = threading.Event()
        self.ended = threading.Event()
        self.begun = time.monotonic()

    @property
    def others(self) -> list[Peer]:
        return [peer for peer in self.peers if not peer.is_self]

    @property
    def size(self) -> int:
        return len(self.others) + 1

    @property
    def quorum(self) -> int:
        return self.size // 2 + 1

    @property
    def needed(self) -> int:
        """Of so many others one has every write that reached a quorum, this node's lost copy taken off."""
        return self.size - self.quorum + 1 if self.others else 0

    def start(self) -> None:
        """Begin to talk with the peers, each in threads of its own: one that does not answer keeps nobody waiting."""
        self.look()
        for peer in self.others:
            for work in (self._compare_for_ever, self._send_for_ever):
                threading.Thread(target=work, args=(peer,), daemon=True).start()

    def spread(self, entry: Entry) -> int:
        """Send a write to every peer; the number of copies when there are enough of them, or when there will not be."""
        copies = Copies(entry, self.quorum, len(self.others))
        for peer in self.others:
            try:
                peer.waiting.put_nowait(copies)
            except queue.Full:
                copies.told(False)
        return copies.wait(self.found.write)

    def look(self) -> None:
        """Whether this node may serve."""
        if self.joined.is_set():
            return
        compared = sum(peer.compared > 0 for peer in self.others)
        late = time.monotonic() - self.begun > self.found.join
        if compared >= self.needed or (late and compared):
            self.joined.set()
            say(f"{self.found.name}: joined, compared with {compared} of {self.size - 1} peers, {self.store.counts()[0]} keys")

    def leave(self) -> None:
        """Give the peers what they do not have yet, and end. What was written here alone is not lost when this node is ended in order."""
        self.ended.set()
        threads = [threading.Thread(target=self._compare, args=(peer,), daemon=True) for peer in self.others]
        for each in threads:
            each.start()
        deadline = time.monotonic() + LAST
        for each in threads:
            each.join(max(0.0, deadline - time.monotonic()))

    def _compare_for_ever(self, peer: Peer) -> None:
        while not self.ended.is_set() and not peer.is_self:
            self._compare(peer)
            self.look()
            settled = peer.up and self.joined.is_set()
            self.ended.wait(self.found.sync if settled else min(self.found.sync, SOON))

    def _compare(self, peer: Peer) -> None:
        try:
            peer.target.look_up()
            there = self._ask(peer, "digest", {})
            peer.name = str(there.get("name", ""))
            if there.get("origin") == self.store.origin:
                peer.is_self = True
                return
            self._seen(peer, True, "")
            here, theirs = self.store.digest(), there.get("buckets")
            if not isinstance(theirs, list) or len(theirs) != BUCKETS:
                raise Malformed("its digest is none of ours")
            for number in range(BUCKETS):
                while here[number] != theirs[number] and self._exchange(peer, number):
                    pass
            peer.compared = time.monotonic()
        except (Unreachable, Malformed, Full) as error:
            self._seen(peer, False, "there is no room left for what it has" if isinstance(error, Full) else str(error))

    def _exchange(self, peer: Peer, number: int) -> bool:
        """Take what the peer has that is news here, and give it what is news there, one message each way; whether it has more."""
        have = {each.key: str(each.version) for each in self.store.bucket(number)}
        there = self._ask(peer, "bucket", {"bucket": number, "have": have})
        for each in unpacked(there.get("entries"), self.store.now()):
            self.store.merge(each)
        wanted = self.store.find(keys(there.get("wanted")))
        while wanted:
            entries, taken = packed(wanted, self.store.now())
            self._ask(peer, "push", {"entries": entries})
            wanted = wanted[taken:]
        return bool(there.get("more"))

    def _send_for_ever(self, peer: Peer) -> None:
        while not peer.is_self:
            batch = [peer.waiting.get()]
            while len(batch) < 16 and not peer.waiting.empty():  # 16 of the largest values are one message
                batch.append(peer.waiting.get())
            try:
                entries, taken = packed((each.entry for each in batch), self.store.now())
                there = self._ask(peer, "push", {"entries": entries})
                refused = set(keys(there.get("refused")))
                kept = [number < taken and each.entry.key not in refused for number, each in enumerate(batch)]
            except (Unreachable, Malformed) as error:
                self._seen(peer, False, str(error))
                kept = [False] * len(batch)
            for each, one in zip(batch, kept, strict=True):
                each.told(one)

    def _ask(self, peer: Peer, what: str, given: dict[str, Any]) -> dict[str, Any]:
        """Raises Unreachable and Malformed."""
        reply = peer.target.ask("POST", f"/gossip/{what}", json.dumps(given).encode(), {"Content-Type": "application/json"}, ASK)
        if reply.code != 200:
            raise Unreachable(f"it answers {reply.code}: {reply.body[:200].decode(errors='replace').strip()}")
        try:
            found = json.loads(reply.body)
        except (ValueError, RecursionError) as error:
            raise Malformed("its answer is not JSON") from error
        if not isinstance(found, dict):
            raise Malformed("its answer is no JSON object")
        return found

    def _seen(self, peer: Peer, up: bool, why: str) -> None:
        """Remember how the peer is, and say so where that is news."""
        if (up, why) != (peer.up, peer.why) and not self.ended.is_set():
            say(f"{self.found.name}: {peer.target} is {'up' if up else f'down: {why}'}")
        peer.up, peer.why = up, why
