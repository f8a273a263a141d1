"""The route made true: read, write what differs, read again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

from pipeline.clock import Clock
from pipeline.errors import Drifted, PipelineError
from pipeline.retry import Policy, retrying
from pipeline.tunnel.changes import Change, State, changes
from pipeline.tunnel.spec import Tunnel

POLICY = Policy()


class Service(Protocol):
    """What is asked of Cloudflare's API."""

    def read(self) -> State: ...

    def write(self, change: Change) -> None: ...

    def close(self) -> None: ...


def wanted(spec: Tunnel, service: Service, clock: Clock, say: Callable[[str], None]) -> list[Change]:
    """What differs from what is there. Raises what the service raises once patience is over, ConfigError as `changes` does."""
    return retrying(POLICY, clock, lambda _attempt: changes(spec, service.read()), _notice(say))


def apply(spec: Tunnel, service: Service, clock: Clock, say: Callable[[str], None]) -> list[Change]:
    """Make the changes, and give them. Each attempt reads first: a write whose outcome was unknown is found, not repeated.

    Raises Drifted where reading again shows something else than was written (somebody else writes at the same time).
    """
    made: list[Change] = []

    def attempt(_number: int) -> None:
        for change in changes(spec, service.read()):
            if change not in made:
                made.append(change)
            say(change.what)
            service.write(change)

    with contextlib.closing(service):
        retrying(POLICY, clock, attempt, _notice(say))
        left = wanted(spec, service, clock, say)
        if left:
            raise Drifted(
                "Cloudflare shows something else than was written",
                cause="; ".join(change.what for change in left),
                mend="somebody else may be changing the same tunnel: inv tunnel.plan, then inv tunnel.apply again",
            )
    return made


def _notice(say: Callable[[str], None]) -> Callable[[PipelineError, int, float], None]:
    def notice(error: PipelineError, attempt: int, wait: float) -> None:
        say(f"{error.what}; try {attempt + 1} in {wait:.1f} s")

    return notice
