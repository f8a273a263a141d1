"""Follows a commit through Flux by the API's watches, until the HelmRelease runs it, or shows that it will not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.clock import Clock
from pipeline.deploy import stored
from pipeline.deploy.flux_diagnosis import late
from pipeline.deploy.flux_judge import ROUNDS, judge, rolling
from pipeline.deploy.flux_seen import Failure, Seen, Settled, Target, differing
from pipeline.deploy.watching import Watched, drained, watching
from pipeline.errors import AuthError, PipelineError
from pipeline.tools import flux
from pipeline.tools.flux import Ref
from pipeline.tools.flux_words import words
from pipeline.tools.kube import Kube
from pipeline.tools.kube_objects import name
from pipeline.tools.unreleased import waits

__all__ = ["Failure", "Settled", "Target", "follow", "obstacles", "retry"]

PASSING = "release passing"  # a sign that is counted on while the release says something else for a moment
ASK = 5.0  # seconds after which Flux is asked again to look, where it failed for a reason that may have passed: it waits ever longer itself


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
    seen = Seen(target, commit, values or {}, is_ancestor, author)
    started, shown = clock.monotonic(), ""
    if absent := _absent(kube, seen):
        return absent
    ask(kube, clock, seen, target.git)
    with watching(kube, [Watched(ref.collection, fields=f"metadata.name={ref.name}") for ref in target.all]) as changes:
        while True:
            for kind, value in drained(changes):
                _take(seen, kind, value)
            if not seen.listed.issuperset(target.all):
                continue  # what is not known yet is no sign
            now = clock.monotonic()
            _reach(kube, clock, seen, now - started)
            found = judge(seen, now)
            if isinstance(found, Settled):
                if _holds(kube, seen, found.number):
                    return found
                found = f"helm-controller released what was there before, and takes up {commit[:7]}"
            if isinstance(found, str) and rolling(seen, now):
                found = pods() or found
            if isinstance(found, Failure):
                return found
            if found != shown:
                tell(shown := found)
            if now - started > deadline:
                return late(seen, found, now - started)
            _ask_again(kube, clock, seen)
            check()


def obstacles(kube: Kube, target: Target) -> tuple[Failure, ...]:
    """What would keep Flux from following a commit, seen before there is one: what is not there, suspended or stalled. Three requests.

    A HelmRelease that is not there, was never released, or gave up what it has, is none: the commit makes it, or is tried anew.
    """
    found = []
    for ref in target.all:
        value = kube.get(ref.path)
        why = None if value is None or (ref == target.helm and waits(value)) else words(flux.state(ref, value))
        if value is None and ref != target.helm:
            found.append(_no(kube, ref))
        elif why and (why.kind == "suspended" or (why.kind == "stalled" and ref != target.helm)):
            found.append(Failure(why.kind, why.what, why.cause, why.mend))
    return tuple(found)


def retry(kube: Kube, clock: Clock, target: Target) -> bool:
    """Let a HelmRelease that is out of retries try once more. False where this user may not."""
    return flux.retry(kube, target.helm, _token(clock))


def ask(kube: Kube, clock: Clock, seen: Seen, ref: Ref) -> None:
    """Ask Flux to look at an object now; where this user may not, it looks in its own interval."""
    token = _token(clock)
    seen.asked[ref] = (token, clock.monotonic()) if flux.poke(kube, ref, token) else None


def _absent(kube: Kube, seen: Seen) -> Failure | None:
    """What has to be there before anything can be watched."""
    for ref in (seen.target.git, seen.target.applier):
        if kube.get(ref.path) is None:
            return _no(kube, ref)
    return None if _served(kube, seen.target.helm) else _no(kube, seen.target.helm)


def _no(kube: Kube, ref: Ref) -> Failure:
    version = flux.KINDS[ref.kind][0]
    if not _served(kube, ref):
        return Failure("absent", f"the cluster does not know {ref.kind} in {version}", mend="inv flux.bootstrap installs Flux there")
    mend = "inv flux.bootstrap makes it; or correct `system`, `source` or `kustomization` of the stage"
    return Failure("absent", f"the cluster has no {ref}", mend=mend)


def _served(kube: Kube, ref: Ref) -> bool:
    version, plural = flux.KINDS[ref.kind]
    served = kube.get(f"/apis/{version}") or {}
    return any(each.get("name") == plural for each in served.get("resources") or [])


def _reach(kube: Kube, clock: Clock, seen: Seen, spent: float) -> None:
    """Note which steps are done, and nudge the next one; read what is not watched."""
    git, applier, helm = seen.target.all
    now = clock.monotonic()
    source, applied = seen.state(git), seen.state(applier)
    if source and seen.has(source.revision, now) and "fetched" not in seen.reached:
        seen.reached["fetched"] = spent
        if not (applied and seen.has(applied.revision, now)):
            ask(kube, clock, seen, applier)
    if applied and seen.has(applied.revision, now) and not seen.fresh:
        seen.reached.setdefault("applied", spent)
        if (value := kube.get(helm.path)) is not None:  # its own watch may be behind the Kustomization's
            seen.objects[helm] = value
        seen.fresh = True
    release = seen.state(helm)
    if release is None:
        return
    if built := _built(release):
        seen.chart = flux.read(kube, built)
    if "applied" in seen.reached and release.settled and not seen.differing():
        seen.reached.setdefault("released", spent)


def _built(release: flux.State) -> Ref | None:
    """The HelmChart or OCIRepository that the release is made from."""
    kind, _, where = release.about.get("built", "").partition(" ")
    namespace, _, called = where.partition("/")
    return Ref(kind, namespace, called) if kind in flux.KINDS else None


def _holds(kube: Kube, seen: Seen, number: int) -> bool:
    """Whether Helm's revision was made from the commit's values: only what Helm itself stored says so for certain.

    A reconciliation that had begun before the commit ends with a status that claims to be of it. Where the revision may not be read, that
    status has to do.
    """
    release = seen.state(seen.target.helm)
    if not seen.values or release is None or not release.history:
        return True
    namespace, called = release.about.get("storage") or seen.target.namespace, release.history[0].name or seen.target.release
    try:
        kept = stored.read(kube, namespace, called, number)
    except AuthError:
        return True
    return not kept or not differing(seen.values, kept.get("config") or {})


def _ask_again(kube: Kube, clock: Clock, seen: Seen) -> None:
    """Ask once more where the answer was not the commit, or a failure that may pass: Flux itself waits longer each time."""
    now = clock.monotonic()
    for ref, first in seen.doubts.items():
        asked = seen.asked.get(ref, ("", 0.0))
        if asked and asked[1] <= first:
            ask(kube, clock, seen, ref)
    git, applier, helm = seen.target.all
    for ref in (git, applier):
        asked, found = seen.asked.get(ref), seen.state(ref)
        if not asked or found is None or not seen.answered(ref) or seen.has(found.revision, now):
            continue
        why, overdue = words(found), now - asked[1] > ASK
        if ref == git and why is None and (seen.rounds < ROUNDS or overdue):
            seen.rounds += 1
            ask(kube, clock, seen, ref)
        elif overdue and (why is None or why.passing):
            ask(kube, clock, seen, ref)
    release = seen.state(helm)
    why = words(release) if release else None
    if why is None or not why.passing:
        seen.since.pop(PASSING, None)
    elif seen.lasts(PASSING, now, ASK) and seen.asked.get(helm, ()) is not None:
        seen.since[PASSING] = now
        ask(kube, clock, seen, helm)


def _take(seen: Seen, kind: str, value: Any) -> None:
    if isinstance(value, PipelineError):
        raise value
    plural, _, what = kind.partition(" ")
    ref = next(each for each in seen.target.all if flux.KINDS[each.kind][1] == plural)
    found = [item for item in (value if what == "LIST" else [value]) if name(item) == ref.name]
    if what == "LIST":
        seen.listed.add(ref)
        seen.objects.pop(ref, None)
    for item in found:
        if what == "DELETED":
            seen.objects.pop(ref, None)
        elif what != "BOOKMARK" and not _older(item, seen.objects.get(ref)):
            seen.objects[ref] = item


def _older(item: Mapping[str, Any], known: Mapping[str, Any] | None) -> bool:
    """Whether a watch tells what was read already: generations only grow, and the uid changes with a new object."""
    if known is None or item["metadata"].get("uid") != known["metadata"].get("uid"):
        return False
    return int(item["metadata"].get("generation") or 0) < int(known["metadata"].get("generation") or 0)


def _token(clock: Clock) -> str:
    """A request that was not made before, in the words of the flux command: the time."""
    import datetime

    return datetime.datetime.fromtimestamp(clock.now(), datetime.UTC).isoformat(timespec="microseconds")
