"""Time, passed in rather than taken, so that a test of an hour's patience lasts a millisecond."""

from __future__ import annotations

import time
from typing import Protocol

BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux has it; elsewhere the other counts sleep already


class Clock(Protocol):
    """Seconds. `now` is wall time since 1970, for people; `monotonic` never jumps, for deadlines; `uptime` is that with the time in which
    the machine slept, which the rest of the world did not."""

    def now(self) -> float: ...
    def monotonic(self) -> float: ...
    def uptime(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def uptime(self) -> float:
        return time.clock_gettime(BOOTTIME)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
