"""Follows a commit through Flux by the API's watches, until the HelmRelease runs it, or shows that it will not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.clock import Clock
from pipeline.tools.kube import Kube


@dataclass(frozen=True)
class Target:
    """What follows a commit: the GitRepository `source` and the `kustomization` in namespace `system`, and the HelmRelease `release` in
    `namespace`."""

    system: str
    source: str
    kustomization: str
    namespace: str
    release: str


@dataclass(frozen=True)
class Settled:
    """The HelmRelease runs what was committed: `commit` is what is applied now (the one followed, or a later one that holds it),
    `number` Helm's revision, `chart` the chart's version, `seconds` how long each step took ("fetched", "applied", "released")."""

    commit: str
    number: int
    chart: str
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Failure:
    """It will not be done: `what`, `cause` and `mend` as in PipelineError.

    `kind` is one of suspended, stalled, retries, older, undone, absent, fetch, build, apply, health, chart, values, install, upgrade,
    rollout, waiting. `touched` says that the HelmRelease had taken the commit up, so that the cluster may have changed;
    `remediated` that helm-controller itself has put the release before back.
    """

    kind: str
    what: str
    cause: str = ""
    mend: str = ""
    touched: bool = False
    remediated: bool = False


def follow(
    kube: Kube,
    clock: Clock,
    target: Target,
    commit: str,
    is_ancestor: Callable[[str, str], bool | None],
    *,
    deadline: float,
    tell: Callable[[str], None],
    check: Callable[[], None] = lambda: None,
    values: Mapping[str, Any] | None = None,
    author: Callable[[str], str] = lambda _commit: "",
    pods: Callable[[], Failure | None] = lambda: None,
) -> Failure | Settled:
    """Wait until Flux runs `commit`, or a later one that still holds its `values`; or say why it will not.

    `is_ancestor(old, new)` answers for the GitOps repository, fetching what it does not know, and None where nobody knows. `values` is
    what the commit holds below spec.values of the HelmRelease. `author` says who made a commit ("Ada <ada@x>, 12:04"). `pods` is asked
    about twice a second while helm-controller waits for the rollout, and may find that it will fail before helm does. `deadline` is in
    seconds; `tell` hears each change of the state in one line, and `check`, called twice a second, may raise to end the wait.
    Raises Transient where the API goes away.
    """
    raise NotImplementedError


def obstacles(kube: Kube, target: Target) -> tuple[Failure, ...]:
    """What would keep Flux from following a commit, seen before there is one: what is not there, suspended or stalled. Three requests."""
    raise NotImplementedError


def retry(kube: Kube, clock: Clock, target: Target) -> bool:
    """Let a HelmRelease that is out of retries try once more. False where this user may not."""
    raise NotImplementedError
