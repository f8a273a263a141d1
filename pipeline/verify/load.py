"""Requests at a steady rate, whatever the answers take: a slow answer does not slow down who asks next, as with real users."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

TIMEOUT = 5.0  # seconds until a request counts as lost
CROWD = 200  # requests that may be under way at once


@dataclass(frozen=True)
class Sent:
    """One request: when it `started` (monotonic), how many `seconds` it took, why it counts as `lost`, "" where it does not."""

    started: float
    seconds: float
    lost: str = ""


class Load:
    """`ask` called `rate` times a second while `run` runs; leaving the context waits for the answers that are still to come."""

    def __init__(self, ask: Callable[[float], Sent], rate: float) -> None:
        self._ask, self._pause = ask, 1.0 / rate
        self._threads: list[threading.Thread] = []
        self._due = 0.0
        self.started = time.monotonic()
        self.sent: list[Sent] = []

    @property
    def lost(self) -> list[Sent]:
        return sorted((each for each in list(self.sent) if each.lost), key=lambda each: each.started)

    def run(self, seconds: float) -> None:
        """Keep asking for so long. A request that is due while a crowd waits for answers is lost at once."""
        end = time.monotonic() + seconds
        self._due = max(self._due, time.monotonic() - self._pause)
        while self._due < end:
            if (wait := self._due - time.monotonic()) > 0:
                time.sleep(wait)
            self._due += self._pause
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if len(self._threads) >= CROWD:
                self.sent.append(Sent(time.monotonic(), 0.0, f"{CROWD} requests were waiting for an answer"))
                continue
            thread = threading.Thread(target=self._one, name="load", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _one(self) -> None:
        started = time.monotonic()
        try:
            self.sent.append(self._ask(TIMEOUT))
        except Exception as error:  # a request that cannot be told of must not be missing from the count
            self.sent.append(Sent(started, time.monotonic() - started, repr(error)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        end = time.monotonic() + TIMEOUT + 1
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
