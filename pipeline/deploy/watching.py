"""Kinds of objects listed and then watched, each by a thread of its own, into one queue of changes."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import PipelineError
from pipeline.tools.kube import Gone, Kube, Watch

TICK = 0.5  # seconds between two judgements while nothing changes
Changes = queue.Queue[tuple[str, Any]]


@dataclass(frozen=True)
class Watched:
    """The objects of one kind below the API's path `target`, narrowed by selectors; `called` is what changes of it are told under, by
    default the plural."""

    target: str
    labels: str = ""
    fields: str = ""
    called: str = ""

    @property
    def kind(self) -> str:
        return self.called or self.target.rpartition("/")[2]


@contextlib.contextmanager
def watching(kube: Kube, kinds: Sequence[Watched]) -> Iterator[Changes]:
    """The changes of all `kinds` while it is entered: ("pods LIST", items), ("pods MODIFIED", pod), ("pods", an error to raise)."""
    changes: Changes = queue.Queue()
    followers = [_Follower(kube, each, changes) for each in kinds]
    for follower in followers:
        follower.start()
    try:
        yield changes
    finally:
        for follower in followers:
            follower.stop()
        for follower in followers:
            follower.join(1.0)


def drained(changes: Changes) -> list[tuple[str, Any]]:
    """Everything that has changed, waiting a moment where nothing has."""
    found = []
    with contextlib.suppress(queue.Empty):
        found.append(changes.get(timeout=TICK))
        while True:
            found.append(changes.get_nowait())
    return found


class _Follower(threading.Thread):
    """Lists and watches one kind until it is told to stop, from the start where what it knew is too old."""

    def __init__(self, kube: Kube, watched: Watched, changes: Changes) -> None:
        super().__init__(name=f"watch-{watched.kind}", daemon=True)
        self.kube, self.watched, self.changes = kube, watched, changes
        self.stopped = False
        self._watch: Watch | None = None

    def run(self) -> None:
        try:
            while not self.stopped:
                with contextlib.suppress(Gone):
                    self._once()
        except PipelineError as error:
            self.changes.put((self.watched.kind, error))

    def stop(self) -> None:
        self.stopped = True
        if self._watch is not None:
            self._watch.close()

    def _once(self) -> None:
        each = self.watched
        listed = self.kube.list(each.target, each.labels, each.fields)
        self.changes.put((f"{each.kind} LIST", listed["items"]))
        self._watch = self.kube.watch(each.target, each.labels, listed["metadata"]["resourceVersion"], fields=each.fields)
        if self.stopped:
            self._watch.close()  # it was asked to end before there was a watch to close
        for kind, value in self._watch:
            if self.stopped:
                return
            self.changes.put((f"{each.kind} {kind}", value))
