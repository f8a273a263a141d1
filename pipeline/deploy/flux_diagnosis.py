"""Why a commit does not arrive in Flux, as failures that say what happened and what mends it."""

from __future__ import annotations

from pipeline.deploy.flux_seen import Failure, Seen
from pipeline.tools.flux import Ref, State, commit_of
from pipeline.tools.flux_words import Words, again, resume, words

SILENT = 10.0  # seconds after which a controller that was asked to look and has not is told of


def late(seen: Seen, line: str, spent: float) -> Failure:
    """What is to be said where the time is up: what was waited for, and the first complaint there is."""
    complaints = (found for ref in seen.target.all if (state := seen.state(ref)) and (found := words(state)))
    why = next(complaints, Words("waiting", "", mend="raise `deadline`, if it is only slow"))
    cause = "\n".join(dict.fromkeys(filter(None, (why.what, why.cause))))
    return failure(seen, Words(why.kind, f"not done after {spent:.0f} s: {line}", cause, why.mend))


def failure(seen: Seen, why: Words) -> Failure:
    state = seen.state(seen.target.helm)
    tried = state is not None and not seen.differing() and bool(state.config)
    touched = state is not None and tried and any(each.config == state.config for each in state.history)
    remediated = state is not None and state.remediated.status == "True" and state.remediated.generation >= state.generation
    return Failure(why.kind, why.what, why.cause, why.mend, touched, touched and remediated)


def suspended(state: State) -> Failure | None:
    return Failure("suspended", f"{state.ref} is suspended: Flux leaves it as it is", mend=resume(state.ref)) if state.suspended else None


def absent(seen: Seen, ref: Ref, mend: str) -> Failure | str:
    return Failure("absent", f"the cluster has no {ref}", mend=mend) if ref in seen.listed else f"asking for {ref}"


def went_back(seen: Seen, state: State) -> Failure:
    verb = "has applied" if state.ref.kind == "Kustomization" else "has"
    return Failure(
        "older",
        f"{state.ref} went back: it {verb} {short_of(state.revision)}, which does not hold {seen.commit[:7]}",
        f"it had {seen.commit[:7]} before; now {state.revision}" + _by(seen, state),
        "the branch was set back or rewritten: see what `git log` of it says, then release again, which commits anew",
    )


def not_there(seen: Seen, state: State) -> Failure:
    branch, url = state.about.get("branch") or "its branch", state.about.get("url") or "its repository"
    return Failure(
        "older",
        f"{state.ref} looked at {branch} of {url} and found {short_of(state.revision)}, which does not hold {seen.commit[:7]}",
        f"it has {state.revision or 'nothing'}" + _by(seen, state),
        f"either spec.url and spec.ref of {state.ref} are not the repository and the branch that the release is committed to,\n"
        f"or the branch was set back: then release again, which commits anew; {again(state.ref)}",
    )


def undone(seen: Seen, applier: State, missing: str) -> Failure:
    if applier.commit == seen.commit:
        return Failure("undone", f"{seen.target.helm} does not hold what was committed", missing,
                       "is it another file that makes it, or does a patch of the Kustomization, or somebody by kubectl, set these values? "
                       f"kubectl get {seen.target.helm.kubectl} -o yaml --show-managed-fields")  # fmt: skip
    return Failure("undone", f"commit {seen.named(applier.revision)} took back what {seen.commit[:7]} had set", missing,
                   "ask who made it; then release again, which commits anew")  # fmt: skip


def _by(seen: Seen, state: State) -> str:
    who = seen.author(commit_of(state.revision)) if state.commit else ""
    return f", by {who}" if who else ""


def silence(seen: Seen, ref: Ref, now: float) -> str:
    """That a controller was asked long ago and has said nothing."""
    asked = seen.asked.get(ref)
    if not asked or seen.answered(ref) or now - asked[1] < SILENT:
        return ""
    controller = {"GitRepository": "source-controller", "Kustomization": "kustomize-controller"}.get(ref.kind, "helm-controller")
    return f"{controller} has not looked at {ref} for more than {SILENT:.0f} s: is it running? kubectl get pods -n {seen.target.system}"


def short_of(revision: str) -> str:
    return commit_of(revision)[:7] or revision or "nothing"


def first_line(text: str) -> str:
    first = text.strip().splitlines()[0] if text.strip() else ""
    return first if len(first) <= 200 else first[:199] + "…"
