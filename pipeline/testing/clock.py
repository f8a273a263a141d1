"""A clock that does not wait."""

from __future__ import annotations

from collections.abc import Callable


class FakeClock:
    """Time that passes only when it is told to: `sleep` returns at once and is noted in `slept`. While the machine is `suspended` no
    deadline comes nearer."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self.start = start
        self.passed = 0.0
        self.suspended = 0.0
        self.slept: list[float] = []
        self._due: list[tuple[float, Callable[[], None]]] = []

    def now(self) -> float:
        return self.start + self.passed + self.suspended

    def monotonic(self) -> float:
        return self.passed

    def uptime(self) -> float:
        return self.passed + self.suspended

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` once, when `seconds` from now have passed."""
        self._due.append((self.passed + seconds, action))

    def advance(self, seconds: float) -> None:
        end = self.passed + max(0.0, seconds)
        while due := [entry for entry in self._due if entry[0] <= end]:
            first = min(due, key=lambda entry: entry[0])
            self._due.remove(first)
            self.passed = max(self.passed, first[0])
            first[1]()
        self.passed = max(self.passed, end)
