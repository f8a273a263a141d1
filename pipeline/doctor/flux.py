"""Flux itself and the objects that keep a release: is it installed and at work, and does it follow what releases are committed to."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from pipeline.deploy.flux_spec import Flux
from pipeline.doctor.verdict import Check, Verdict, ask_all, fail, ok, unknown, warn
from pipeline.errors import AuthError
from pipeline.gitops.spec import Gitops
from pipeline.stage import Site
from pipeline.tools import flux, flux_words, references, unreleased
from pipeline.tools.flux import KINDS, Ref, State
from pipeline.tools.kube import Kube, connect, path
from pipeline.tools.kube_objects import condition, notes
from pipeline.tools.kube_objects import name as name_of

PART = "app.kubernetes.io/part-of=flux"  # as `flux install` labels its Deployments
CONTROLLERS = {"source-controller": "GitRepository", "kustomize-controller": "Kustomization", "helm-controller": "HelmRelease"}
OF_IMAGES = {"image-reflector-controller": "ImagePolicy", "image-automation-controller": "ImageUpdateAutomation"}
EXTRA = "flux install, or inv flux.bootstrap, with --components-extra=image-reflector-controller,image-automation-controller"
SLOW = 60.0  # seconds in which a controller that is at work has looked at what changed
LAZY = 3.0  # intervals of a Kustomization
DURATION = re.compile(r"([0-9.]+)(ms|s|m|h)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def name(spec: Flux) -> str:
    """How the verdicts call it."""
    return f"{spec.cluster} (flux)"


def look(spec: Flux, gitops: Gitops, site: Site) -> Iterator[Verdict]:
    """Every verdict on Flux and on the objects of this release. Raises what the client raises where the API does not answer."""
    where, kube = name(spec), connect(site, spec.cluster)
    missing = list(_installed(where, kube, gitops.automation is not None))
    yield from missing or [ok(where, "kinds", ", ".join(sorted({KINDS[kind][0] for kind in CONTROLLERS.values()})))]
    if any(verdict.status == "fail" for verdict in missing):
        return
    refs = (Ref("GitRepository", spec.system, spec.source), Ref("Kustomization", spec.system, spec.kustomization),
            Ref("HelmRelease", spec.namespace, spec.release))  # fmt: skip
    found = {ref: kube.get(ref.path) for ref in refs}
    states = {ref: flux.state(ref, value) for ref, value in found.items() if value is not None}
    yield from ask_all([Check(where, "controllers", partial(_controllers, where, spec, gitops, kube, found, site.clock.now()))])
    for ref in refs:
        yield _object(where, ref, found[ref], states)
    yield from _follows(where, spec, states)


def _installed(where: str, kube: Kube, images: bool) -> Iterator[Verdict]:
    """A verdict on each kind that the cluster lacks, or has in another version than this pipeline speaks."""
    kinds = [*CONTROLLERS.values(), *(OF_IMAGES.values() if images else ())]
    for kind in kinds:
        version, plural = KINDS[kind]
        if _serves(kube, version, plural):
            continue
        group = version.partition("/")[0]
        versions = [f"{group}/{each.get('version')}" for each in (kube.get(f"/apis/{group}") or {}).get("versions") or []]
        old = [each for each in versions if _serves(kube, each, plural)]
        if old:
            said = f"the cluster has {kind} in {', '.join(old)} alone, not in {version}"
            yield fail(where, "kinds", said, "install a newer Flux: flux install, or inv flux.bootstrap --components FILE")
        elif kind in OF_IMAGES.values():
            controller = next(each for each, of in OF_IMAGES.items() if of == kind)
            yield fail(where, "kinds", f"the cluster has no {kind}: {controller} is not installed", EXTRA)
        else:
            yield fail(where, "kinds", f"the cluster has no {kind}: Flux is not installed", "inv flux.bootstrap")
            return


def _serves(kube: Kube, version: str, plural: str) -> bool:
    resources = (kube.get(f"/apis/{version}") or {}).get("resources") or []
    return any(each.get("name") == plural for each in resources)


def _controllers(
    where: str, spec: Flux, gitops: Gitops, kube: Kube, found: Mapping[Ref, Mapping[str, Any] | None], now: float
) -> Iterator[Verdict]:
    """Whether somebody handles the objects: Deployments that are ready, or, where there are none, what the objects themselves tell."""
    try:
        deployments = {name_of(each): each for each in kube.list(path("apps/v1", "deployments", spec.system), PART)["items"]}
    except AuthError:
        deployments = {}
    if not deployments:
        yield _handled(where, spec, found, now)
        return
    wanted = [*CONTROLLERS, *(OF_IMAGES if gitops.automation else ())]
    absent = [each for each in wanted if each not in deployments]
    if absent:
        mend = EXTRA if set(absent) <= OF_IMAGES.keys() else "inv flux.bootstrap"
        yield fail(where, "controllers", f"{', '.join(absent)} not there, in namespace {spec.system}", mend)
        return
    ill = [each for each in wanted if condition(deployments[each], "Available").get("status") != "True"]
    if ill:
        log = f"kubectl -n {spec.system} describe deployment {ill[0]}; kubectl -n {spec.system} logs deployment/{ill[0]}"
        yield fail(where, "controllers", f"{', '.join(ill)} not available", log)
        return
    yield ok(where, "controllers", ", ".join(f"{each} {_version(deployments[each])}".strip() for each in wanted))


def _handled(where: str, spec: Flux, found: Mapping[Ref, Mapping[str, Any] | None], now: float) -> Verdict:
    """What the objects tell of controllers that run elsewhere than in Flux's namespace, or not at all."""
    here = {ref: value for ref, value in found.items() if value is not None}
    none = f"no Deployment in {spec.system} says that it is Flux's"
    if not here:
        return unknown(where, "controllers", f"{none}, and there is no object that they would handle", "inv flux.bootstrap")
    mend = f"start Flux's controllers: kubectl -n {spec.system} get deployments; inv flux.bootstrap where they are not there"
    for ref, value in here.items():
        state = flux.state(ref, value)
        if state.suspended:
            continue
        asked = notes(value).get(flux.REQUESTED, "")
        waits = asked and asked != state.handled
        age = now - (_moment(asked) if waits else _written(value))
        if (waits or state.observed < state.generation) and age > SLOW:
            what = "a request to look at it" if waits else "its spec"
            return fail(where, "controllers", f"{none}, and {what} waits for {_long(age)}: {ref}", mend)
        often = _seconds(state.interval) if ref.kind == "Kustomization" else 0.0
        quiet = now - _moment(state.ready.since)
        if often and quiet > LAZY * often + SLOW:
            return warn(where, "controllers", f"{none}, and {ref} was last reconciled {_long(quiet)} ago (interval {state.interval})", mend)
    return ok(where, "controllers", f"{none}; all the same what was asked of {len(here)} objects was handled")


def _object(where: str, ref: Ref, value: Mapping[str, Any] | None, states: Mapping[Ref, State]) -> Verdict:
    kind = ref.kind
    if value is None:
        mend = "inv flux.init writes it into the repository" if kind == "HelmRelease" else "inv flux.bootstrap"
        return fail(where, kind, f"{ref} is not there", f"{mend}; Flux makes it from there" if kind == "HelmRelease" else mend)
    state = states[ref]
    if kind == "HelmRelease" and unreleased.waits(value):
        return ok(where, kind, f"{ref} waits for its first release")
    said = flux_words.words(state)
    if said is None and not state.settled:
        return warn(where, kind, f"{ref} is being reconciled: {state.reconciling.message or state.ready.message or 'not seen yet'}",
                    f"wait, then run again; at once: {flux_words.again(ref)}")  # fmt: skip
    if said is None:
        number = f", Helm's revision {state.history[0].number}" if state.history else ""
        return ok(where, kind, f"{ref.name} has {_short(state)}{number}")
    evidence = "\n".join(filter(None, (said.what, said.cause if said.cause not in said.what else "")))
    return (warn if said.passing else fail)(where, kind, evidence, said.mend)


def _follows(where: str, spec: Flux, states: Mapping[Ref, State]) -> Iterator[Verdict]:
    """Whether the objects lead from the branch that is written to, to the file that is written."""
    source, applier, release = (next((state for ref, state in states.items() if ref.kind == kind), None) for kind in CONTROLLERS.values())
    if source and (branch := source.about.get("branch", "")) != spec.branch:
        said = f"{source.ref} follows {f'branch {branch}' if branch else 'no branch'}, and a release is committed to {spec.branch}"
        yield fail(
            where, "follows", said, "correct `branch` in the deploy stage, or spec.ref.branch of the GitRepository (inv flux.bootstrap)"
        )
    if applier:
        folder = applier.about.get("path", "").removeprefix(".").strip("/")
        if folder and not f"{spec.written}/".startswith(f"{folder}/"):
            said = f"{applier.ref} applies {folder}, and {spec.written} is not in it"
            yield fail(where, "path", said, "correct `path` in the deploy stage, or spec.path of the Kustomization")
        if source and applier.settled and source.settled and applier.commit != source.commit:
            said = f"{applier.ref} has {applier.commit[:7]}, its source {source.commit[:7]}"
            yield warn(where, "applied", said, f"it may be on its way; at once: {flux_words.again(applier.ref)}")
    if release and release.about.get("strategy") == "ChartVersion" and "GitRepository" in release.about.get("source", ""):
        yield warn(where, "chart", "reconcileStrategy ChartVersion: a changed chart counts only with another version in its Chart.yaml",
                   "set spec.chart.spec.reconcileStrategy: Revision in the HelmRelease: inv flux.init")  # fmt: skip


def _short(state: State) -> str:
    return f"{state.commit[:7]} of {state.revision.partition('@')[0]}" if state.commit else state.revision or "nothing yet"


def _version(deployment: Mapping[str, Any]) -> str:
    containers = ((deployment.get("spec") or {}).get("template") or {}).get("spec", {}).get("containers") or [{}]
    return references.read(str(containers[0].get("image", ""))).tag


def _moment(text: str) -> float:
    """When, in seconds since 1970, as people and `flux reconcile` write it; now where it cannot be read."""
    try:
        return float(text) if text.replace(".", "", 1).isdigit() else datetime.datetime.fromisoformat(text[:19] + "+00:00").timestamp()
    except ValueError:
        return float("inf")


def _written(value: Mapping[str, Any]) -> float:
    """When the object was last changed by somebody who is not its controller."""
    fields = value.get("metadata", {}).get("managedFields") or []
    return max((_moment(str(each.get("time"))) for each in fields if each.get("subresource") != "status"), default=float("inf"))


def _seconds(interval: str) -> float:
    return sum(float(number) * SECONDS[unit] for number, unit in DURATION.findall(interval))


def _long(seconds: float) -> str:
    return f"{seconds / 3600:.0f} h" if seconds >= 7200 else f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
