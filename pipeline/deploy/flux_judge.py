"""Judges what was seen of a commit in Flux: done, not to be done, or waiting for what."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.deploy.flux_seen import Failure, Seen, Settled
from pipeline.tools.flux import Ref, State, commit_of
from pipeline.tools.flux_words import Words, again, resume, words
from pipeline.tools.unreleased import waits

GRACE = {"suspended": 4.0, "fetch": 2.0, "apply": 4.0, "back": 6.0, "release": 2.0, "absent": 4.0, "silent": 10.0, "values": 3.0}  # seconds
ROUNDS = 2  # answers of source-controller without the commit: the first may be of a fetch that had begun before the push
ACTION = re.compile(r"Running '(?P<action>[\w-]+)' action with timeout of (?P<limit>\S+)")
BACK = ("rollback", "uninstall")  # what helm-controller runs after a failure
LASTING = ("values", "chart", "apply", "install", "upgrade")  # what helm's next try will not mend


def judge(seen: Seen, now: float) -> Failure | Settled | str:
    """What is to be said of it at `now` (monotonic seconds); text is what is waited for, in one line."""
    lines: list[str] = []
    seen.signs.clear()
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


def late(seen: Seen, line: str, spent: float) -> Failure:
    """What is to be said where the time is up: what was waited for, and the first complaint there is."""
    complaints = (found for ref in seen.target.all if (state := seen.state(ref)) and (found := words(state)))
    why = next(complaints, Words("waiting", "", mend="raise `deadline`, if it is only slow"))
    cause = "\n".join(dict.fromkeys(filter(None, (why.what, why.cause))))
    return _failure(seen, Words(why.kind, f"not done after {spent:.0f} s: {line}", cause, why.mend))


def _source(seen: Seen, now: float) -> Iterator[Failure | str]:
    """The GitRepository has the commit, or a later one."""
    ref = seen.target.git
    state = seen.state(ref)
    if state is None:
        yield _absent(seen, ref, "inv flux.bootstrap")
        return
    stands, short = seen.stands(state.revision, now), seen.commit[:7]
    if stands in ("same", "later"):
        return
    if "fetched" in seen.reached and stands != "unknown":
        yield _went_back(seen, state)
    elif said := _suspended(state):
        yield said
    elif (why := words(state)) and (why.passing or state.ready.status == "False"):
        told = seen.answered(ref) or seen.asked.get(ref, ("", 0.0)) is None
        if not why.passing and told and seen.lasts("fetch", now, GRACE["fetch"]):
            yield _failure(seen, why)
        yield f"{why.what}; it tries again by itself" if why.passing else f"{why.what}: {_line(why.cause)}"
    elif why:
        yield _failure(seen, why)
    elif seen.rounds >= ROUNDS and stands in ("older", "other", "none"):
        yield _not_there(seen, state)
    else:
        yield _silence(seen, ref, now) or f"source-controller fetches {short} (has {_short(state.revision)})"


def _applied(seen: Seen, now: float) -> Iterator[Failure | str]:
    """The Kustomization has applied the commit, or a later one."""
    ref, git = seen.target.applier, seen.target.git
    state, source = seen.state(ref), seen.state(git)
    if state is None:
        yield _absent(seen, ref, "inv flux.bootstrap")
        return
    short = seen.commit[:7]
    if state.about.get("source") != str(git):
        yield Failure("absent", f"{ref} does not follow {git}, but {state.about.get('source') or 'nothing'}",
                      mend="correct `source` or `kustomization` of the stage, or spec.sourceRef")  # fmt: skip
    stands = seen.stands(state.revision, now)
    if stands in ("same", "later"):
        return
    if said := _suspended(state):
        yield said
    if "applied" in seen.reached and stands != "unknown":
        if seen.lasts("back", now, GRACE["back"]):
            yield _went_back(seen, state)
        yield f"{ref} went back to {_short(state.revision)}: an older reconciliation came last; it is asked to look again"
        return
    if source is None or not seen.has(source.revision, now):
        yield f"{ref} applies {short} once it is fetched"
        return
    why = words(state)
    ours = seen.has(state.attempted, now) or state.ready.since > source.since
    ours = ours or (state.ready.since == source.since and seen.answered(ref))  # whole seconds are all that is told
    if why and ours and why.kind != "health" and not why.passing:
        if why.kind in ("build", "stalled") or seen.lasts(f"apply {why.cause}", now, GRACE["apply"]):
            yield _failure(seen, why)
        yield f"{why.what}: {_line(why.cause)}"
    elif why and ours:
        if why.kind == "health" and _quiet(seen):
            yield _failure(seen, why)
        yield f"{short} is fetched; {why.what}" + ("" if why.kind == "waiting" else "; it tries again by itself")
    else:
        yield _silence(seen, ref, now) or f"{short} is fetched; kustomize-controller applies it"


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
    if (said := _suspended(state)) and not first and (applied or not missing or seen.lasts("suspended", now, GRACE["suspended"])):
        yield said
    if missing:
        if applied and applier and seen.lasts("values", now, GRACE["values"]):
            yield _undone(seen, applier, missing)
        yield f"{ref} does not hold the new values yet"
        return
    if seen.chart and (failed := words(seen.chart)) and not failed.passing and applied and seen.lasts("chart", now, GRACE["release"]):
        yield _failure(seen, failed)
    if behind := _chart_behind(seen, state, now):
        yield behind
        return
    if ready := _ready(seen, state, now):
        yield ready


def _ready(seen: Seen, state: State, now: float) -> Failure | str:
    why, ours = words(state), max(state.ready.generation, state.stalled.generation) >= state.generation
    stalled, action = state.stalled.status == "True", ACTION.search(state.reconciling.message)
    more = state.reconciling.reason == "ProgressingWithRetry" and not stalled
    if why and ours and why.passing:
        return why.what
    if why and ours:
        if action and action["action"] in BACK and not stalled:
            return f"{why.what}; helm-controller runs {action['action']}"
        if (not more or why.kind in LASTING) and seen.lasts(f"release {state.generation} {why.kind}", now, GRACE["release"]):
            return _failure(seen, why)
        return f"{why.what}: {_line(why.cause)}" + ("; helm-controller tries again" if more else "")
    if state.settled:
        return ""
    if action:
        limit = f"it gives up after {action['limit']}"
        return f"{seen.commit[:7]} is applied; helm-controller runs {action['action']} of {state.ref.name} ({limit})"
    return _silence(seen, state.ref, now) or f"{seen.commit[:7]} is applied; helm-controller takes it up"


def _chart_behind(seen: Seen, state: State, now: float) -> str:
    """What of the chart is not there yet: with strategy Revision each commit makes a chart of its own, and a release of it."""
    source, chart = seen.state(seen.target.git), seen.chart
    if state.about.get("strategy") != "Revision" or state.about.get("source", "") != str(seen.target.git):
        return ""
    if chart is None or source is None:
        return f"{state.ref} waits for its chart to be made"
    if not re.search(rf"\+{source.commit[:12]}(?:\.|$)", chart.revision):
        why = words(chart)
        return why.what if why else f"the chart is made anew from {_short(source.revision)}"
    refused = state.ready.status == "False" and seen.lasts(f"attempt {chart.revision}", now, GRACE["absent"])
    if state.attempted != chart.revision and not refused:  # values that cannot be had are refused before the chart is tried
        return f"helm-controller takes up the chart of {_short(source.revision)}"
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


def _failure(seen: Seen, why: Words) -> Failure:
    state = seen.state(seen.target.helm)
    tried = state is not None and not seen.differing() and bool(state.config)
    touched = state is not None and tried and any(each.config == state.config for each in state.history)
    remediated = state is not None and state.remediated.status == "True" and state.remediated.generation >= state.generation
    return Failure(why.kind, why.what, why.cause, why.mend, touched, touched and remediated)


def _suspended(state: State) -> Failure | None:
    return Failure("suspended", f"{state.ref} is suspended: Flux leaves it as it is", mend=resume(state.ref)) if state.suspended else None


def _absent(seen: Seen, ref: Ref, mend: str) -> Failure | str:
    return Failure("absent", f"the cluster has no {ref}", mend=mend) if ref in seen.listed else f"asking for {ref}"


def _went_back(seen: Seen, state: State) -> Failure:
    verb = "has applied" if state.ref.kind == "Kustomization" else "has"
    return Failure(
        "older",
        f"{state.ref} went back: it {verb} {_short(state.revision)}, which does not hold {seen.commit[:7]}",
        f"it had {seen.commit[:7]} before; now {state.revision}" + _by(seen, state),
        "the branch was set back or rewritten: see what `git log` of it says, then release again, which commits anew",
    )


def _not_there(seen: Seen, state: State) -> Failure:
    branch, url = state.about.get("branch") or "its branch", state.about.get("url") or "its repository"
    return Failure(
        "older",
        f"{state.ref} looked at {branch} of {url} and found {_short(state.revision)}, which does not hold {seen.commit[:7]}",
        f"it has {state.revision or 'nothing'}" + _by(seen, state),
        f"either spec.url and spec.ref of {state.ref} are not the repository and the branch that the release is committed to,\n"
        f"or the branch was set back: then release again, which commits anew; {again(state.ref)}",
    )


def _undone(seen: Seen, applier: State, missing: str) -> Failure:
    if applier.commit == seen.commit:
        return Failure("undone", f"{seen.target.helm} does not hold what was committed", missing,
                       "is it another file that makes it, or does a patch of the Kustomization, or somebody by kubectl, set these values? "
                       f"kubectl get {seen.target.helm.kubectl} -o yaml --show-managed-fields")  # fmt: skip
    return Failure("undone", f"commit {seen.named(applier.revision)} took back what {seen.commit[:7]} had set", missing,
                   "ask who made it; then release again, which commits anew")  # fmt: skip


def _by(seen: Seen, state: State) -> str:
    who = seen.author(commit_of(state.revision)) if state.commit else ""
    return f", by {who}" if who else ""


def _silence(seen: Seen, ref: Ref, now: float) -> str:
    """That a controller was asked long ago and has said nothing."""
    asked = seen.asked.get(ref)
    if not asked or seen.answered(ref) or now - asked[1] < GRACE["silent"]:
        return ""
    controller = {"GitRepository": "source-controller", "Kustomization": "kustomize-controller"}.get(ref.kind, "helm-controller")
    return f"{controller} has not looked at {ref} for {now - asked[1]:.0f} s: is it running? kubectl get pods -n {seen.target.system}"


def _short(revision: str) -> str:
    return commit_of(revision)[:7] or revision or "nothing"


def _line(text: str) -> str:
    first = text.strip().splitlines()[0] if text.strip() else ""
    return first if len(first) <= 200 else first[:199] + "…"
