"""Judges what was seen of a commit in Flux: done, not to be done, or waiting for what."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.deploy.flux_diagnosis import absent, failure, first_line, not_there, short_of, silence, suspended, undone, went_back
from pipeline.deploy.flux_seen import Failure, Seen, Settled
from pipeline.tools.flux import State, commit_of
from pipeline.tools.flux_words import words
from pipeline.tools.unreleased import waits

GRACE = {"suspended": 4.0, "fetch": 2.0, "apply": 4.0, "back": 6.0, "release": 2.0, "absent": 4.0, "values": 3.0}  # seconds
ROUNDS = 2  # answers of source-controller without the commit: the first may be of a fetch that had begun before the push
ACTION = re.compile(r"Running '(?P<action>[\w-]+)' action with timeout of (?P<limit>\S+)")
BACK = ("rollback", "uninstall")  # what helm-controller runs after a failure
LASTING = ("values", "chart", "apply", "install", "upgrade")  # what helm's next try will not mend


def judge(seen: Seen, now: float) -> Failure | Settled | str:
    """What is to be said of it at `now` (monotonic seconds); text is what is waited for, in one line."""
    lines: list[str] = []
    seen.signs.clear()
    seen.doubts.clear()
    for judged in (_source(seen, now), _applied(seen, now), _released(seen, now)):
        for said in judged:
            if isinstance(said, Failure):
                return said
            lines.append(said)
    kept = seen.signs | {sign for sign in seen.since if sign.startswith("release ")}  # between two tries of Helm's nothing is wrong
    seen.since = {sign: since for sign, since in seen.since.items() if sign in kept}
    state, applied = seen.state(seen.target.helm), seen.state(seen.target.applier)
    if lines or state is None or applied is None:
        return lines[-1] if rolling(seen, now) else lines[0]
    newest = state.history[0] if state.history else None
    number, chart = (newest.number, newest.chart) if newest else (0, "")
    return Settled(applied.commit, number, chart, dict(seen.reached))


def _source(seen: Seen, now: float) -> Iterator[Failure | str]:
    """The GitRepository has the commit, or a later one."""
    ref = seen.target.git
    state = seen.state(ref)
    if state is None:
        yield absent(seen, ref, "inv flux.bootstrap")
        return
    stands, short = seen.stands(state.revision, now), seen.commit[:7]
    if stands in ("same", "later"):
        return
    if "fetched" in seen.reached and stands != "unknown":
        yield went_back(seen, state)
    elif said := suspended(state):
        yield said
    elif (why := words(state)) and (why.passing or state.ready.status == "False"):
        told = seen.answered(ref) or seen.asked.get(ref, ("", 0.0)) is None
        if not why.passing and told and seen.lasts("fetch", now, GRACE["fetch"]):
            yield failure(seen, why)
        yield f"{why.what}; it tries again by itself" if why.passing else f"{why.what}: {first_line(why.cause)}"
    elif why:
        yield failure(seen, why)
    elif seen.rounds >= ROUNDS and stands in ("older", "other", "none"):
        yield not_there(seen, state)
    else:
        yield silence(seen, ref, now) or f"source-controller fetches {short} (has {short_of(state.revision)})"


def _applied(seen: Seen, now: float) -> Iterator[Failure | str]:
    """The Kustomization has applied the commit, or a later one."""
    ref, git = seen.target.applier, seen.target.git
    state, source = seen.state(ref), seen.state(git)
    if state is None:
        yield absent(seen, ref, "inv flux.bootstrap")
        return
    short = seen.commit[:7]
    if state.about.get("source") != str(git):
        yield Failure("absent", f"{ref} does not follow {git}, but {state.about.get('source') or 'nothing'}",
                      mend="correct `source` or `kustomization` of the stage, or spec.sourceRef")  # fmt: skip
    stands = seen.stands(state.revision, now)
    if stands in ("same", "later"):
        return
    if said := suspended(state):
        yield said
    if "applied" in seen.reached and stands != "unknown":
        if seen.lasts("back", now, GRACE["back"]):
            yield went_back(seen, state)
        yield f"{ref} went back to {short_of(state.revision)}: an older reconciliation came last; it is asked to look again"
        return
    if source is None or not seen.has(source.revision, now):
        yield f"{ref} applies {short} once it is fetched"
        return
    why = words(state)
    ours = seen.has(state.attempted, now) or state.ready.since > source.since
    ours = ours or (state.ready.since == source.since and seen.answered(ref))  # whole seconds are all that is told
    if why and ours and why.kind != "health" and not why.passing:
        if why.kind in ("build", "stalled") or seen.lasts(f"apply {why.cause}", now, GRACE["apply"]):
            yield failure(seen, why)
        yield f"{why.what}: {first_line(why.cause)}"
    elif why and ours:
        if why.kind == "health" and _quiet(seen):
            yield failure(seen, why)
        yield f"{short} is fetched; {why.what}" + ("" if why.kind == "waiting" else "; it tries again by itself")
    else:
        yield silence(seen, ref, now) or f"{short} is fetched; kustomize-controller applies it"


def _released(seen: Seen, now: float) -> Iterator[Failure | str]:
    """The HelmRelease holds what was committed, with the chart as it is there, and is ready at that."""
    ref, applier = seen.target.helm, seen.state(seen.target.applier)
    state, short = seen.state(ref), seen.commit[:7]
    applied = applier is not None and seen.has(applier.revision, now) and seen.fresh
    if state is None:
        if applied and seen.lasts("absent", now, GRACE["absent"]):
            yield Failure("absent", f"{short} is applied, but there is no {ref}",
                          mend="is its file below `path` of the stage, and named by the kustomization.yaml there?")  # fmt: skip
        yield f"{ref} is to be made by kustomize-controller"
        return
    missing = seen.differing()
    first = bool(missing) and waits(seen.objects[ref])  # suspended, but by nobody: the commit lifts that
    if (said := suspended(state)) and not first and (applied or not missing or seen.lasts("suspended", now, GRACE["suspended"])):
        yield said
    if missing:
        seen.changed = True
        if applied and applier and seen.lasts("values", now, GRACE["values"]):
            yield undone(seen, applier, missing)
        yield f"{ref} does not hold the new values yet"
        return
    if applied and (failed := _chart_failed(seen, now)):
        yield failed
    if behind := _chart_behind(seen, state, now):
        yield behind
        return
    if ready := _ready(seen, state, now, taken=applied or seen.changed):
        yield ready


def _ready(seen: Seen, state: State, now: float, *, taken: bool) -> Failure | str:
    """`taken` says that the HelmRelease is the commit's: one that has the same values from before may complain of what that one mends."""
    why, ours = None if state.busy else words(state), max(state.ready.generation, state.stalled.generation) >= state.generation
    stalled, action = state.stalled.status == "True", ACTION.search(state.reconciling.message)
    more = state.reconciling.reason == "ProgressingWithRetry" and not stalled
    if why and ours and not taken:
        return f"{why.what}, as before; {seen.commit[:7]} is not applied yet"
    if why and ours and why.passing:
        return why.what
    if why and ours:
        if action and action["action"] in BACK and not stalled:
            return f"{why.what}; helm-controller runs {action['action']}"
        if (not more or why.kind in LASTING) and seen.confirmed(state.ref, f"release {state.generation} {why.cause}", now):
            return failure(seen, why)
        return f"{why.what}: {first_line(why.cause)}" + ("; helm-controller tries again" if more else "")
    if state.settled:
        return ""
    if action:
        limit = f"it gives up after {action['limit']}"
        return f"{seen.commit[:7]} is applied; helm-controller runs {action['action']} of {state.ref.name} ({limit})"
    return silence(seen, state.ref, now) or f"{seen.commit[:7]} is applied; helm-controller takes it up"


def _chart_failed(seen: Seen, now: float) -> Failure | None:
    """Why there will be no chart of this commit: the HelmRelease itself stays ready, with the chart before."""
    chart = seen.chart
    why = words(chart) if chart else None
    if chart is None or why is None or why.passing or (commit_of(chart.attempted) and not seen.has(chart.attempted, now)):
        return None
    return failure(seen, why) if seen.lasts(f"chart {why.cause}", now, GRACE["release"]) else None


def _chart_behind(seen: Seen, state: State, now: float) -> str:
    """What of the chart is not there yet: with strategy Revision each commit makes a chart of its own, and a release of it."""
    source, chart = seen.state(seen.target.git), seen.chart
    if state.about.get("strategy") != "Revision" or state.about.get("source", "") != str(seen.target.git):
        return ""
    if chart is None or source is None:
        return f"{state.ref} waits for its chart to be made"
    if not re.search(rf"\+{source.commit[:12]}(?:\.|$)", chart.revision):
        why = words(chart)
        return why.what if why else f"the chart is made anew from {short_of(source.revision)}"
    refused = state.ready.status == "False" and seen.lasts(f"attempt {chart.revision}", now, GRACE["absent"])
    if state.attempted != chart.revision and not refused:  # values that cannot be had are refused before the chart is tried
        return f"helm-controller takes up the chart of {short_of(source.revision)}"
    if state.settled and state.history and state.history[0].chart != chart.revision:  # ready with the chart before; this one is only tried
        return f"helm-controller releases the chart of {short_of(source.revision)}"
    return ""


def rolling(seen: Seen, now: float) -> bool:
    """Whether helm-controller is at work on the commit's values, so that the pods are to be looked at."""
    state = seen.state(seen.target.helm)
    if state is None or seen.differing() or state.ready.generation < state.generation or state.ready.status == "True":
        return False
    return not _chart_behind(seen, state, now) and bool(ACTION.search(state.reconciling.message))


def _quiet(seen: Seen) -> bool:
    """Whether the HelmRelease says nothing that would explain a failed health check better."""
    state = seen.state(seen.target.helm)
    return state is None or (words(state) is None and state.settled)
