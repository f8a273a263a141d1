"""What a node keeps in memory until it fades: entries with a version each, of which the higher one wins on every node alike.

Nothing here listens or sends. A version is a counter, which every write sets above all it has seen, and the node that wrote; so a merge
does the same in whatever order, and however often, entries come. How long an entry has left is told in seconds and never as a time of day:
the nodes' clocks need not agree.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

BUCKETS = 64
OVERHEAD = 300  # bytes that an entry costs beside its key and value
SWEEP = 0.2  # seconds between two looks at everything


class Version(NamedTuple):
    """Which of two writes of one key is the later: compared by counter, then by the node that wrote."""

    counter: int
    origin: str

    def __str__(self) -> str:
        return f"{self.counter}.{self.origin}"


@dataclass(frozen=True)
class Entry:
    """A key's value. `until` is the moment from which it is gone, `forget` the one from which an older version can no longer come back
    from anywhere: until then the version is remembered, without its value. Both are of the monotonic clock here. `ttl` is what was asked
    for. `value` is None for what was deleted."""

    key: str
    value: bytes | None
    version: Version
    ttl: int
    until: float
    forget: float

    @property
    def size(self) -> int:
        return OVERHEAD + len(self.key) + len(self.value or b"")


class Full(Exception):
    """There is no room for another entry, or not for this one."""


class Taken(Exception):
    """The key has a value already, and another one."""


class Store:
    """The entries of one node. All that is public may be called from any thread."""

    def __init__(self, origin: str, entries: int, space: int, now: Callable[[], float] = time.monotonic) -> None:
        self.origin = origin
        self.most, self.room = entries, space
        self.now = now
        self._kept: tuple[dict[str, Entry], ...] = tuple({} for _ in range(BUCKETS))
        self._count = self._size = 0
        self._swept = float("-inf")
        self._counter = 0
        self._digest = [0] * BUCKETS
        self._lock = threading.Lock()

    def put(self, key: str, value: bytes, ttl: int, new: bool = False) -> Entry:
        """Write. With `new` an entry that is there with the same value is left as it is and returned, so that the write may be repeated.
        Raises Full; with `new` Taken where the value is another one."""
        with self._lock:
            old = self._live(key)
            if new and old:
                if old.value != value:
                    raise Taken(key)
                return old
            return self._write(key, value, ttl)

    def delete(self, key: str) -> Entry | None:
        """Delete; None where there is nothing."""
        with self._lock:
            old = self._live(key)
            return self._write(key, None, old.ttl) if old else None

    def merge(self, given: Entry) -> bool:
        """Take another node's entry; whether it was news. Raises Full."""
        with self._lock:
            self._counter = max(self._counter, given.version.counter)
            mine, now = self._known(given.key), self.now()
            if given.forget <= now:
                return False
            forget = max(given.forget, mine.forget) if mine else given.forget
            if mine and mine.version >= given.version:  # the same one, too: another node may have to remember it for longer
                self._kept[_bucket(mine.key)][mine.key] = replace(mine, forget=forget)
                return False
            self._place(replace(given, forget=forget, value=given.value if given.until > now else None))
            return True

    def get(self, key: str) -> Entry | None:
        """The entry, if it has not faded."""
        with self._lock:
            return self._live(key)

    def live(self, prefix: str = "") -> list[Entry]:
        """All that has not faded, whose key begins with `prefix`, the newest first."""
        with self._lock:
            found = [each for kept in self._kept for key in kept if key.startswith(prefix) and (each := self._live(key))]
        return sorted(found, key=lambda each: each.version, reverse=True)

    def holds(self, key: str, version: Version) -> bool:
        """Whether this version, or a later one, is known here."""
        with self._lock:
            mine = self._known(key)
            return bool(mine and mine.version >= version)

    def digest(self) -> list[int]:
        """A number for each bucket, the same on two nodes that know the same versions."""
        with self._lock:
            self._sweep()
            return list(self._digest)

    def bucket(self, number: int) -> list[Entry]:
        """Every entry of a bucket, those too of which only the version is remembered."""
        with self._lock:
            return list(self._kept[number].values())

    def find(self, keys: Iterable[str]) -> list[Entry]:
        """What is known of the keys."""
        with self._lock:
            return [found for key in keys if (found := self._known(key))]

    def counts(self) -> tuple[int, int]:
        """How many entries have not faded, and the bytes that all of them take."""
        with self._lock:
            self._sweep()
            return sum(each.value is not None for kept in self._kept for each in kept.values()), self._size

    def _known(self, key: str) -> Entry | None:
        return self._kept[_bucket(key)].get(key)

    def _live(self, key: str) -> Entry | None:
        found = self._known(key)
        return found if found and found.value is not None and found.until > self.now() else None

    def _write(self, key: str, value: bytes | None, ttl: int) -> Entry:
        now, old = self.now(), self._known(key)
        until = now + ttl if value is not None else now
        made = Entry(key, value, Version(self._counter + 1, self.origin), ttl, until, max(until, old.forget if old else 0.0))
        self._place(made)
        self._counter += 1
        return made

    def _place(self, entry: Entry) -> None:
        """Keep the entry in the place of the one that is there. Raises Full, and then that one stays."""
        if not self._fits(entry):
            self._sweep(at_once=True)
            if not self._fits(entry):
                raise Full(entry.key)
        if old := self._known(entry.key):
            self._drop(old)
        self._kept[_bucket(entry.key)][entry.key] = entry
        self._mark(entry)
        self._count, self._size = self._count + 1, self._size + entry.size

    def _fits(self, entry: Entry) -> bool:
        old = self._known(entry.key)
        grows = entry.size - (old.size if old else 0)
        return grows <= 0 or (self._size + grows <= self.room and self._count + (not old) <= self.most)

    def _drop(self, entry: Entry) -> None:
        del self._kept[_bucket(entry.key)][entry.key]
        self._mark(entry)
        self._count, self._size = self._count - 1, self._size - entry.size

    def _sweep(self, at_once: bool = False) -> None:
        """Drop the values that have faded, and then the versions that nothing older can come back to; now and then, as it looks at all."""
        now = self.now()
        if now < self._swept + SWEEP and not at_once:
            return
        self._swept = now
        for entry in [each for kept in self._kept for each in kept.values() if min(each.until, each.forget) <= now]:
            if entry.forget <= now:
                self._drop(entry)
            elif entry.value is not None:
                bare = self._kept[_bucket(entry.key)][entry.key] = replace(entry, value=None)
                self._size += bare.size - entry.size

    def _mark(self, entry: Entry) -> None:
        """Put the entry into the digest, or take it out again."""
        self._digest[_bucket(entry.key)] ^= _hash(f"{entry.key} {entry.version}")


def _bucket(key: str) -> int:
    return _hash(key) % BUCKETS


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")
