"""The one retry layer: a policy as a value, tenacity to carry it, a clock passed in.

tenacity's defaults (for ever, without a pause) are never used. Only Transient errors are tried again; a RateLimited one waits at
least as long as the peer asked for. Classes and numbers follow one table, for every stage alike.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pipeline.clock import Clock
from pipeline.errors import Expired, PipelineError, RateLimited, Transient

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")
LONGEST = 10 * 365 * 86400.0  # seconds: where a date is told, whatever a peer asks for
Notice = Callable[[PipelineError, int, float], None]


@dataclass(frozen=True)
class Policy:
    """At most `attempts` tries, and none begun later than `patience` seconds after the first failure (a build may run for an hour
    before it loses its connection). The waits have full jitter, from `base` seconds doubling up to `cap`.

    What a RateLimited peer asked for is a floor, and the jitter is added to it.
    """

    attempts: int = 5
    patience: float = 120.0
    base: float = 0.5
    cap: float = 20.0

    def wait(self, attempt: int, error: BaseException | None, chance: Callable[[], float] = random.random) -> float:
        """Seconds before the try after number `attempt` (from 1)."""
        jitter = chance() * min(self.cap, self.base * 2.0 ** min(attempt - 1, 60))
        return max(0.0, error.retry_after) + jitter if isinstance(error, RateLimited) else jitter


USUAL = Policy()


def retrying(policy: Policy, clock: Clock, act: Callable[[int], T], notice: Notice) -> T:
    """Call `act` with the attempt's number (from 1) until it returns, under `policy`.

    `notice` hears of each failure that another try follows: the error, its attempt, the seconds to wait. The last error is raised
    as it was, with `attempts` filled in; an Expired one at once: whoever raised it has waited already. There is no wait after the last
    attempt, and a wait that would end after the policy's patience is not begun; a peer that asked for more patience than that is
    named with the time it asked for.
    """
    try:
        return act(1)  # nearly every call ends here, before tenacity is loaded
    except Expired:
        raise
    except Transient as error:
        first = error

    from tenacity import Retrying, retry_if_exception

    started = clock.monotonic()

    def wait(state: RetryCallState) -> float:
        return policy.wait(state.attempt_number, state.outcome.exception() if state.outcome else None)

    def stop(state: RetryCallState) -> bool:
        spent = clock.monotonic() - started
        return state.attempt_number >= policy.attempts or spent + state.upcoming_sleep > policy.patience

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, PipelineError):
            notice(error, state.attempt_number, state.upcoming_sleep)

    number = 0

    def attempt() -> T:
        nonlocal number
        number += 1
        try:
            if number == 1:
                raise first  # the try that was made above counts as the first
            return act(number)
        except PipelineError as error:
            error.attempts = number
            raise

    try:
        return Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, Transient) and not isinstance(error, Expired)),
            wait=wait,
            stop=stop,
            sleep=clock.sleep,
            before_sleep=before_sleep,
            reraise=True,
        )(attempt)
    except RateLimited as error:
        if number < policy.attempts and not error.mend:
            when = datetime.datetime.fromtimestamp(clock.now() + min(error.retry_after, LONGEST), datetime.UTC)
            error.mend = f"run it again after {when:%Y-%m-%d %H:%M:%S} UTC: the peer asked to wait {error.retry_after:.0f} s"
        raise
