"""Waits until a commit serves: Flux first, then the pods; and says why it does not, by the deepest cause that either shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.deploy import flux_follow, flux_world, settle
from pipeline.deploy.by_flux import FluxWork
from pipeline.deploy.flux_follow import Failure
from pipeline.deploy.flux_wanted import Lines
from pipeline.deploy.rollout import View
from pipeline.errors import NotRolledBack

AGAIN = ("retries", "stalled")  # what helm-controller does not try again by itself
ROUNDS = 4  # a chart that comes with each commit makes helm-controller release twice


@dataclass(frozen=True)
class Outcome:
    """What became of a commit: Helm's revision `number` serves; or `failure` says why it does not, `view` what the pods showed."""

    number: int = 0
    failure: Failure | None = None
    view: View | None = None


def served(
    work: FluxWork, commit: str, wanted: Lines, deadline: float, before: str = "", pods: Callable[[], Failure | None] = lambda: None,
    *, insist: bool = False,
) -> Outcome:  # fmt: skip
    """Wait until Flux runs `commit` and every pod is of it. `insist` lets a HelmRelease that gave up try once more."""
    clock = work.site.clock
    end = clock.monotonic() + deadline
    number = 0
    for _ in range(ROUNDS):
        found = work.follow_flux(commit, wanted, max(1.0, end - clock.monotonic()), before, pods)
        if isinstance(found, Failure):
            if insist and found.kind in AGAIN and flux_follow.retry(work.kube, clock, flux_world.target(work.spec)):
                insist = False
                continue
            return Outcome(failure=found)
        number = found.number
        failure, view = work.follow(number, max(1.0, end - clock.monotonic()), before)
        if failure is not None:
            return Outcome(failure=Failure("rollout", failure.why, touched=True), view=view)
        world = work.look()
        if world.serves and world.number == number:
            break
    return Outcome(number)


def explained(work: FluxWork, failure: Failure, view: View | None) -> NotRolledBack:
    """The evidence, kept and judged before anything is taken back."""
    said = f"{failure.what}: {failure.cause}" if failure.cause else failure.what
    if failure.touched and view is not None and view.workloads:
        found, log = settle.judged(work, view)
        if found.rank < 90:
            return NotRolledBack(f"{work.spec.release} did not come up", cause=found.sentence, mend=found.mend, log=log)
        return NotRolledBack(f"{work.spec.release} did not come up", cause=said, mend=failure.mend, log=log)
    return NotRolledBack(f"{work.spec.release} did not come up", cause=said, mend=failure.mend)
