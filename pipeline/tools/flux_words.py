"""Why an object of Flux's does not go on, in words people understand, with the exact lines that mend it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.tools.flux import FORCED, MANAGER, REQUESTED, RESET, Ref, Sign, State
from pipeline.tools.flux_rules import CHART, HELM, KUSTOMIZE, LATER, SOURCE, meaning

FOLDER = re.compile(r"/\w[\w./-]*/(?:kustomization|gitrepository|helmchart|ocirepository|untar|chart)-[\w.-]*/")  # a controller's own
LENGTH = 1200  # characters of a controller's message that are told
PREFIX = re.compile(r"^Helm (?:install|upgrade) failed for release \S+ with chart (?P<chart>\S+): ")


@dataclass(frozen=True)
class Words:
    """Why an object of Flux's does not go on: `what`, the controller's own `cause`, and what mends it.

    `kind` is one of suspended, stalled, retries, absent, fetch, build, apply, health, chart, values, install, upgrade, waiting. What is
    `passing` may mend itself: the controller tries again.
    """

    kind: str
    what: str
    cause: str = ""
    mend: str = ""
    passing: bool = False


RULES = {"HelmChart": CHART + SOURCE, "Kustomization": KUSTOMIZE, "HelmRelease": HELM}
USUAL = {"GitRepository": "fetch", "OCIRepository": "fetch", "HelmRepository": "fetch", "HelmChart": "chart", "Kustomization": "apply"}
WAITS = ("DependencyNotReady", "SourceNotReady")
FAILED = {"BuildFailed": "build", "HealthCheckFailed": "health", "InstallFailed": "install", "UpgradeFailed": "upgrade"}


def words(state: State) -> Words | None:
    """What keeps the object from going on; None where nothing does."""
    if state.suspended:
        return suspended(state.ref)
    if state.stalled.status == "True" and state.stalled.generation >= state.generation:
        return _stalled(state)
    if state.ready.status == "False":
        return _failed(state, _first(state))
    return None


def suspended(ref: Ref) -> Words:
    """What is said of an object that somebody suspended."""
    return Words("suspended", f"{ref} is suspended: Flux leaves it as it is", mend=resume(ref))


def resume(ref: Ref) -> str:
    """How a person lets Flux go on with a suspended object."""
    patch = '{"spec":{"suspend":false}}'
    return (
        f"flux resume {ref.flux}\nwithout flux: kubectl patch {ref.kubectl} --type merge -p '{patch}'\n"
        "where `suspend: true` stands in the repository, take it out there"
    )


def again(ref: Ref) -> str:
    """How a person asks Flux to look at an object now."""
    return f"flux reconcile {ref.flux}, or {_annotate(ref, REQUESTED)}"


def once_more(ref: Ref) -> str:
    """How a person lets a HelmRelease that is out of retries try again."""
    return f"flux reconcile {ref.flux} --force --reset\nwithout flux: {_annotate(ref, REQUESTED, FORCED, RESET)}"


def tidy(message: str) -> str:
    """A controller's message without its own temporary folders, cut to what a person reads."""
    text = FOLDER.sub("", message.strip())
    return text if len(text) <= LENGTH else text[: LENGTH - 2] + " …"


def _annotate(ref: Ref, *keys: str) -> str:
    notes = " ".join(f"{key}=$at" for key in keys)
    return f"at=$(date +%s); kubectl annotate --overwrite --field-manager={MANAGER} {ref.kubectl} {notes}"


def _stalled(state: State) -> Words:
    ref, stalled = state.ref, state.stalled
    if stalled.reason in ("RetriesExceeded", "MissingRollbackTarget"):
        inner = _failed(state, _first(state))
        tries = stalled.message[:1].lower() + stalled.message[1:]
        mend = f"{inner.mend}\na release with other values is tried anew; as it is, once more by: {once_more(ref)}"
        return Words("retries", f"{ref} gave up ({tries}): {inner.what}", inner.cause, mend)
    inner = _failed(state, stalled)
    mend = inner.mend or f"correct what the cause names in its spec, and commit; then: {again(ref)}"
    if inner.kind == "chart":
        return inner
    return Words("stalled", f"{ref} has stalled ({stalled.reason}): {inner.what}", inner.cause, mend)


def _first(state: State) -> Sign:
    """The failure itself, where the newest word is what helm-controller did about it."""
    told = state.ready.reason.startswith(("Rollback", "Uninstall")) or state.stalled.status == "True"
    return state.released if told and state.released.status == "False" else state.ready


def _remedied(state: State) -> str:
    """What helm-controller did about a failure, in its own words."""
    now = state.remediated.status and state.remediated.generation >= state.generation
    return tidy(state.remediated.message) if now else ""


def _failed(state: State, sign: Sign) -> Words:
    ref, message = state.ref, sign.message
    cause = "\n".join(filter(None, (tidy(PREFIX.sub("", message)), _remedied(state))))
    if sign.reason in WAITS and not (ref.kind == "HelmRelease" and meaning(CHART + SOURCE, message)):
        return Words("waiting", f"{ref} waits: {cause}", cause, filled(LATER, state, {}), passing=True)
    if sign.reason == "HealthCheckFailed":
        return Words("health", f"{ref}: what was applied does not become ready", cause,
                     "look at the objects that the cause names; more time: spec.timeout")  # fmt: skip
    rules = RULES.get(ref.kind, SOURCE)
    if sign.reason == "SourceNotReady":
        rules = CHART + SOURCE
    found = meaning(rules, message)
    if found is None:
        return _unknown(state, sign, cause)
    rule, groups = found
    kind = FAILED.get(sign.reason, rule.kind) if rule.kind in ("install", "upgrade") else rule.kind
    return Words(kind, filled(rule.what, state, groups), cause, filled(rule.mend, state, groups), rule.passing)


def _unknown(state: State, sign: Sign, cause: str) -> Words:
    kind = FAILED.get(sign.reason) or USUAL.get(state.ref.kind, "upgrade")
    if sign.reason == "BuildFailed":
        mend = "correct the file that the cause names, and commit: kustomize build shows the same"
        return Words("build", f"{state.ref} cannot build what was committed", cause, mend)
    if sign.reason in ("ProgressingWithRetry", "RetryAfterInterval", "Progressing"):
        return Words(kind, f"{state.ref} tries again", cause, filled(LATER, state, {}), passing=True)
    verb = {"fetch": "fetch", "apply": "apply what was committed", "chart": "make the chart", "install": "install the release"}
    mend = f"correct what the cause names; then: {again(state.ref)}"
    return Words(kind, f"{state.ref} cannot {verb.get(kind, 'upgrade the release')}", cause, mend)


def filled(text: str, state: State, groups: dict[str, str]) -> str:
    """A rule's `text` with the object's names and what the rule's `groups` found."""
    ref = state.ref
    known = {
        "url": str(ref), "branch": "main", "secret": ref.name, "path": "", "chart": "", "source": "", "text": "", **state.about,
        "object": str(ref), "name": ref.name, "namespace": ref.namespace, "again": again(ref),
    }  # fmt: skip
    return text.format_map({**known, **groups})
