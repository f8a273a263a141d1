"""One retry layer: which errors, how often, how long, and what is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import errors
from pipeline.errors import Ambiguous, AuthError, Cancelled, ConfigError, PipelineError, RateLimited, Transient
from pipeline.retry import Policy, retrying
from pipeline.testing import FakeClock

ROOT = Path(__file__).parents[1]
RETRIED = {"Transient", "RateLimited", "Ambiguous"}


def made(name: str) -> PipelineError:
    cls = getattr(errors, name)
    return RateLimited("x", retry_after=1) if cls is RateLimited else cls("x")


class Calls:
    """An act that fails with each of `failures` in turn, then gives its attempt's number."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.numbers: list[int] = []
        self.heard: list[tuple[str, int, float]] = []
        self.clock = FakeClock()

    def __call__(self, number: int) -> int:
        self.numbers.append(number)
        if self.failures:
            raise self.failures.pop(0)
        return number

    def hear(self, error: PipelineError, attempt: int, wait: float) -> None:
        self.heard.append((error.what, attempt, wait))

    def run(self, policy: Policy | None = None) -> int:
        return retrying(policy or Policy(), self.clock, self, self.hear)


CLASSES = [name for name in vars(errors) if isinstance(getattr(errors, name), type) and issubclass(getattr(errors, name), PipelineError)]


@pytest.mark.parametrize("name", CLASSES)
def test_which_classes_are_tried_again(name: str) -> None:
    calls = Calls(made(name))
    if name in RETRIED:
        assert calls.run() == 2
    else:
        with pytest.raises(PipelineError) as caught:
            calls.run()
        assert type(caught.value).__name__ == name
        assert caught.value.attempts == 1
    assert len(calls.clock.slept) == (name in RETRIED)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("x"), SystemExit(3)])
def test_what_is_not_ours_is_not_tried_again(error: BaseException) -> None:
    for before in ([], [Transient("x")]):
        calls = Calls(*before, error)
        with pytest.raises(type(error)):
            calls.run()
        assert len(calls.numbers) == len(before) + 1


def test_success_waits_for_nothing() -> None:
    calls = Calls()
    assert calls.run() == 1
    assert (calls.numbers, calls.heard, calls.clock.slept) == ([1], [], [])


@pytest.mark.parametrize("attempts", [1, 2, 5, 9])
def test_at_most_so_many_attempts_and_no_wait_after_the_last(attempts: int) -> None:
    failures = [Transient(f"no {number}") for number in range(1, 20)]
    calls = Calls(*failures)
    with pytest.raises(Transient) as caught:
        calls.run(Policy(attempts=attempts, patience=1e9))
    assert calls.numbers == list(range(1, attempts + 1))
    assert len(calls.clock.slept) == attempts - 1
    assert caught.value is failures[attempts - 1], "the last error, as it was"
    assert caught.value.attempts == attempts


def test_a_harder_error_on_the_way_ends_it_with_its_attempt() -> None:
    calls = Calls(Transient("a"), Transient("b"), AuthError("c"))
    with pytest.raises(AuthError) as caught:
        calls.run()
    assert caught.value.attempts == 3
    assert calls.numbers == [1, 2, 3]


def test_each_failure_that_another_try_follows_is_told() -> None:
    calls = Calls(Transient("a"), Ambiguous("b"))
    assert calls.run() == 3
    assert [(what, attempt) for what, attempt, _ in calls.heard] == [("a", 1), ("b", 2)]
    assert [wait for _, _, wait in calls.heard] == calls.clock.slept
    calls = Calls(*[Transient("x")] * 9)
    with pytest.raises(Transient):
        calls.run(Policy(attempts=2))
    assert len(calls.heard) == 1, "the last one is raised, not told"


@given(st.integers(1, 2000), st.floats(0, 1), st.floats(0, 10), st.floats(0, 100))
def test_waits_are_bounded_and_double_up_to_the_cap(attempt: int, chance: float, base: float, cap: float) -> None:
    policy = Policy(base=base, cap=cap)
    wait = policy.wait(attempt, Transient("x"), lambda: chance)
    assert 0 <= wait <= cap
    assert wait <= base * 2.0 ** min(attempt - 1, 60)


@pytest.mark.parametrize(("attempt", "most"), [(1, 0.5), (2, 1), (3, 2), (4, 4), (6, 16), (7, 20), (50, 20)])
def test_full_jitter_from_the_base(attempt: int, most: float) -> None:
    assert Policy().wait(attempt, None, lambda: 1.0) == most
    assert Policy().wait(attempt, None, lambda: 0.0) == 0
    assert Policy().wait(attempt, None, lambda: 0.5) == most / 2


def test_waits_differ_from_one_another() -> None:
    assert len({Policy().wait(5, None) for _ in range(20)}) > 1


@given(st.floats(-5, 10_000), st.integers(1, 9), st.floats(0, 1))
def test_what_the_peer_asked_for_is_a_floor(asked: float, attempt: int, chance: float) -> None:
    wait = Policy().wait(attempt, RateLimited("x", retry_after=asked), lambda: chance)
    assert max(0.0, asked) <= wait <= max(0.0, asked) + Policy().cap


def test_retry_after_is_waited_out() -> None:
    calls = Calls(RateLimited("slow down", retry_after=30), RateLimited("slow down", retry_after=0))
    assert calls.run() == 3
    first, second = calls.clock.slept
    assert first >= 30
    assert second > 0, "a peer that asks for nothing is not hammered"


def test_a_peer_that_asks_for_more_than_the_patience_is_named_with_the_time() -> None:
    calls = Calls(RateLimited("too many", retry_after=3600))
    with pytest.raises(RateLimited) as caught:
        calls.run()
    assert calls.clock.slept == []
    assert caught.value.mend == "run it again after 2023-11-14 23:13:20 UTC: the peer asked to wait 3600 s"
    calls = Calls(RateLimited("too many", retry_after=1e300, mend="ask for a larger quota"))
    with pytest.raises(RateLimited) as caught:
        calls.run()
    assert caught.value.mend == "ask for a larger quota"
    with pytest.raises(RateLimited, match="too many"):
        Calls(RateLimited("too many", retry_after=1e300)).run()


def test_patience_ends_it_before_a_wait_that_would_be_too_long() -> None:
    def slow(failures: int) -> Callable[[int], int]:
        def act(number: int) -> int:
            clock.advance(50)
            if number <= failures:
                raise Transient("slow")
            return number

        return act

    clock = FakeClock()
    with pytest.raises(Transient) as caught:
        retrying(Policy(attempts=99, patience=120), clock, slow(99), lambda *_: None)
    assert caught.value.attempts == 4
    assert 50 * 2 < clock.monotonic() - 100 < 120, "the last one began within the patience, counted from the first failure"


def test_cancelled_during_a_wait_comes_out() -> None:
    def stop() -> None:
        raise Cancelled("stopped", signal=15)

    calls = Calls(Transient("x"))
    calls.clock.after(0, stop)
    with pytest.raises(Cancelled):
        calls.run()


def test_config_error_is_not_a_matter_of_patience() -> None:
    with pytest.raises(ConfigError):
        Calls(ConfigError("x")).run(Policy(attempts=5))


def test_tenacity_is_loaded_by_the_first_failure_only() -> None:
    script = (
        "import sys; from pipeline.retry import Policy, retrying; from pipeline.testing.clock import FakeClock\n"
        "from pipeline.errors import Transient\n"
        "retrying(Policy(), FakeClock(), lambda number: number, print); print('tenacity' in sys.modules)\n"
        "def act(number):\n"
        "    if number == 1: raise Transient('x')\n"
        "retrying(Policy(), FakeClock(), act, lambda *_: None); print('tenacity' in sys.modules)\n"
    )
    # pipeline.testing itself is a package of fakes, one of which needs more than the retry layer
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_who_has_waited_until_its_own_deadline_is_not_called_again() -> None:
    """V04: verify asks for `deadline` seconds; tried five times over that was four minutes for a front door that is shut."""
    calls = Calls(errors.Expired("nobody answered for 60 s"))
    with pytest.raises(Transient, match="nobody answered"):
        calls.run()
    assert calls.numbers == [1]
    late = Calls(Transient("refused"), errors.Expired("nobody answered for 60 s"))
    with pytest.raises(errors.Expired):
        late.run()
    assert late.numbers == [1, 2]
