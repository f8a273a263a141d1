"""What is known of a commit on its way through Flux: its objects as the watches tell them, and how each revision stands to the commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.tools.flux import Ref, State, commit_of, state

Object = Mapping[str, Any]
Stands = Literal["same", "later", "older", "other", "unknown", "none"]
PATIENCE = 6.0  # seconds after which a complaint is believed though nobody could be asked to look again
AGAIN = 2.0  # seconds before a commit that nobody knew is asked about again


@dataclass(frozen=True)
class Target:
    """What follows a commit: the GitRepository `source` and the `kustomization` in namespace `system`, and the HelmRelease `release` in
    `namespace`."""

    system: str
    source: str
    kustomization: str
    namespace: str
    release: str

    @property
    def git(self) -> Ref:
        return Ref("GitRepository", self.system, self.source)

    @property
    def applier(self) -> Ref:
        return Ref("Kustomization", self.system, self.kustomization)

    @property
    def helm(self) -> Ref:
        return Ref("HelmRelease", self.namespace, self.release)

    @property
    def all(self) -> tuple[Ref, Ref, Ref]:
        return self.git, self.applier, self.helm


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


@dataclass
class Seen:
    """All that was seen so far. `objects` are the newest versions, `chart` the HelmChart or OCIRepository behind the release,
    `since` says when a passing sign was first seen, `reached` when each step was first done, `asked` the last request to look now of each
    object with when it was made (None where this user may not)."""

    target: Target
    commit: str
    values: Mapping[str, Any]
    is_ancestor: Callable[[str, str], bool | None]
    author: Callable[[str], str]
    objects: dict[Ref, Object] = field(default_factory=dict)
    chart: State | None = None
    listed: set[Ref] = field(default_factory=set)
    fresh: bool = False  # the HelmRelease was read again after the commit had been applied
    changed: bool = False  # it was seen with other values: those that it has now came with the commit
    since: dict[str, float] = field(default_factory=dict)
    signs: set[str] = field(default_factory=set)  # those of the judgement that is being made
    reached: dict[str, float] = field(default_factory=dict)
    asked: dict[Ref, tuple[str, float] | None] = field(default_factory=dict)
    rounds: int = 0  # requests that the source has answered without having the commit
    doubts: dict[Ref, float] = field(default_factory=dict)  # whose complaint has to be heard again, and when it was heard first
    _known: dict[str, Stands] = field(default_factory=dict)
    _unknown: dict[str, float] = field(default_factory=dict)

    def state(self, ref: Ref) -> State | None:
        found = self.objects.get(ref)
        return None if found is None else state(ref, found)

    def stands(self, revision: str, now: float) -> Stands:
        """How a revision of Flux's stands to the commit that is followed."""
        found = commit_of(revision)
        if found in ("", self.commit):
            return "same" if found else "none"
        if found not in self._known:
            if now - self._unknown.get(found, -AGAIN) < AGAIN:
                return "unknown"
            holds = self.is_ancestor(self.commit, found)
            before = None if holds is None else not holds and self.is_ancestor(found, self.commit)
            if holds is None or before is None:
                self._unknown[found] = now
                return "unknown"
            self._known[found] = "later" if holds else "older" if before else "other"
        return self._known[found]

    def has(self, revision: str, now: float) -> bool:
        """Whether a revision of Flux's holds the commit."""
        return self.stands(revision, now) in ("same", "later")

    def answered(self, ref: Ref) -> bool:
        """Whether the object's controller has followed the last request to look now."""
        asked, found = self.asked.get(ref), self.state(ref)
        return bool(asked and found and found.handled == asked[0])

    def lasts(self, sign: str, now: float, grace: float) -> bool:
        """Whether a sign has been there for longer than `grace` seconds; the first time it has not."""
        self.signs.add(sign)
        return now - self.since.setdefault(sign, now) > grace

    def confirmed(self, ref: Ref, sign: str, now: float) -> bool:
        """Whether a complaint still stands after its controller was asked to look again.

        A reconciliation that had begun with the spec before ends with a status that claims to be of the spec as it is.
        """
        first = self.since.setdefault(sign, now)
        self.signs.add(sign)
        asked = self.asked.get(ref, ("", 0.0))
        if asked is None or now - first > PATIENCE:
            return now - first > PATIENCE
        if self.answered(ref) and asked[1] > first:
            return True
        self.doubts[ref] = first
        return False

    def named(self, revision: str) -> str:
        """A revision as people know it: the short commit, and who made it where that is known."""
        found = commit_of(revision)
        who = self.author(found) if found and found != self.commit else ""
        return f"{found[:7]} ({who})" if who else found[:7] or revision or "nothing"

    def differing(self) -> str:
        """The first line below spec.values of the HelmRelease that is not what was committed, "" where all are."""
        found = (self.objects.get(self.target.helm) or {}).get("spec") or {}
        return differing(self.values, found.get("values") or {})


def differing(wanted: Any, found: Any, at: str = "") -> str:
    """Where `found` does not hold `wanted`, as "image.digest is a, b was committed"; what is not wanted may be anything."""
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            return f"{at or 'values'} is no mapping"
        lines = (differing(value, found.get(key), f"{at}.{key}" if at else str(key)) for key, value in wanted.items())
        return next(filter(None, lines), "")
    return "" if wanted == found else f"{at} is {found!r}, {wanted!r} was committed"
