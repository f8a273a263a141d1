"""Flux's objects: where the API keeps each kind, what its status says, and how Flux is asked to look now.

Sources: the CRDs of source-controller 1.7, kustomize-controller 1.7 and helm-controller 1.4, and the code that writes their status.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import AuthError, ConfigError
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_objects import condition, labels

Object = Mapping[str, Any]
KINDS = {
    "GitRepository": ("source.toolkit.fluxcd.io/v1", "gitrepositories"),
    "OCIRepository": ("source.toolkit.fluxcd.io/v1", "ocirepositories"),
    "HelmRepository": ("source.toolkit.fluxcd.io/v1", "helmrepositories"),
    "HelmChart": ("source.toolkit.fluxcd.io/v1", "helmcharts"),
    "Kustomization": ("kustomize.toolkit.fluxcd.io/v1", "kustomizations"),
    "HelmRelease": ("helm.toolkit.fluxcd.io/v2", "helmreleases"),
    "ImageRepository": ("image.toolkit.fluxcd.io/v1", "imagerepositories"),
    "ImagePolicy": ("image.toolkit.fluxcd.io/v1", "imagepolicies"),
    "ImageUpdateAutomation": ("image.toolkit.fluxcd.io/v1", "imageupdateautomations"),
}
MANAGER = "flux-client-side-apply"  # as the flux command writes; what kubectl writes, kustomize-controller takes for drift
REQUESTED, FORCED, RESET = (f"reconcile.fluxcd.io/{word}At" for word in ("requested", "force", "reset"))
ORIGINS = ("helm.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/name")  # labels that its controllers put on all that they make
COMMIT = re.compile(r"\bsha(?:1:[0-9a-f]{40}|256:[0-9a-f]{64})$")


def keeps(value: Object) -> bool:
    """Whether Flux made an object, and so may put it back if it is edited."""
    return any(each in labels(value) for each in ORIGINS)


@dataclass(frozen=True)
class Ref:
    """One object of Flux's: a `kind` of KINDS."""

    kind: str
    namespace: str
    name: str

    @property
    def path(self) -> str:
        version, plural = KINDS[self.kind]
        return path(version, plural, self.namespace, self.name)

    @property
    def collection(self) -> str:
        version, plural = KINDS[self.kind]
        return path(version, plural, self.namespace)

    @property
    def kubectl(self) -> str:
        """How kubectl is told which object is meant, whatever other groups have a kind of that name."""
        version, plural = KINDS[self.kind]
        return f"-n {self.namespace} {plural}.{version.partition('/')[0]}/{self.name}"

    @property
    def flux(self) -> str:
        """The same in the words of the flux command: source git NAME -n NAMESPACE."""
        words = {"GitRepository": "source git", "OCIRepository": "source oci", "HelmRepository": "source helm", "HelmChart": "source chart",
                 "ImageRepository": "image repository", "ImagePolicy": "image policy",
                 "ImageUpdateAutomation": "image update"}.get(self.kind, self.kind.lower())  # fmt: skip
        return f"{words} {self.name} -n {self.namespace}"

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Sign:
    """A condition: its `status` (True, False, Unknown, or "" where there is none), and `generation`, the version of the spec it is about.

    `since` is when it became so, as the controller's clock had it (ISO 8601, whole seconds).
    """

    status: str = ""
    reason: str = ""
    message: str = ""
    generation: int = 0
    since: str = ""


@dataclass(frozen=True)
class Snapshot:
    """One entry of a HelmRelease's history: Helm's revision number, what was released by it, and what Helm calls the release."""

    number: int
    status: str
    chart: str
    config: str
    name: str = ""


@dataclass(frozen=True)
class State:
    """What an object of Flux's says of itself.

    `revision` is what it has: a source's artifact ("main@sha1:<40>", a chart's version), the revision a Kustomization applied, the chart
    version a HelmRelease released. `attempted` is what was tried last (of a HelmChart the commit it was made from), `handled` the last
    request to look now that was followed, `since` when the artifact was stored. `config` is the digest of the values that were tried last,
    `failures` how often the spec as it is has failed. `about` is what its spec names, where it does: url, branch, secret, path, source,
    chart, strategy, depends; and of a HelmRelease built (the HelmChart or OCIRepository that it is made from) and storage (the namespace
    where Helm keeps its revisions).
    """

    ref: Ref
    generation: int = 0
    observed: int = 0
    suspended: bool = False
    ready: Sign = Sign()
    reconciling: Sign = Sign()
    stalled: Sign = Sign()
    released: Sign = Sign()
    remediated: Sign = Sign()
    revision: str = ""
    attempted: str = ""
    handled: str = ""
    since: str = ""
    interval: str = ""
    history: tuple[Snapshot, ...] = ()
    config: str = ""
    failures: int = 0
    inventory: tuple[str, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        """The commit it has, "" where its revision is none."""
        return commit_of(self.revision)

    @property
    def busy(self) -> bool:
        """Whether its controller is at work on it at this moment. Ready alone does not tell: of a HelmRelease that gave up it is Unknown
        for good, once it was looked at again."""
        return self.ready.status == "Unknown" and self.reconciling.status == "True"

    @property
    def settled(self) -> bool:
        """Whether its controller has seen the spec as it is, and says that it holds."""
        return self.observed >= self.generation and self.ready.status == "True" and self.ready.generation >= self.generation


def commit_of(revision: str) -> str:
    """The commit in a revision as Flux writes it ("main@sha1:…", "refs/tags/v1@sha1:…", "sha1:…"); "" where it names none."""
    found = COMMIT.search(revision)
    return found[0].partition(":")[2] if found else ""


def state(ref: Ref, value: Object) -> State:
    """What the object `value` at `ref` says."""
    meta, spec, status = value.get("metadata", {}), value.get("spec") or {}, value.get("status") or {}
    history = tuple(map(_snapshot, status.get("history") or [])) if ref.kind == "HelmRelease" else ()
    artifact = status.get("artifact") or {}
    revision = artifact.get("revision") or status.get("lastAppliedRevision") or (history[0].chart if history else "")
    return State(
        ref,
        generation=int(meta.get("generation") or 0),
        observed=int(status.get("observedGeneration") or 0),
        suspended=bool(spec.get("suspend")),
        ready=_sign(value, "Ready"),
        reconciling=_sign(value, "Reconciling"),
        stalled=_sign(value, "Stalled"),
        released=_sign(value, "Released"),
        remediated=_sign(value, "Remediated"),
        revision=str(revision),
        attempted=str(status.get("lastAttemptedRevision") or status.get("observedSourceArtifactRevision") or ""),
        handled=str(status.get("lastHandledReconcileAt") or ""),
        since=str(artifact.get("lastUpdateTime") or ""),
        interval=str(spec.get("interval") or ""),
        history=history,
        config=str(status.get("lastAttemptedConfigDigest") or ""),
        failures=int(status.get("failures") or 0),
        inventory=tuple(str(entry.get("id")) for entry in (status.get("inventory") or {}).get("entries") or []),
        about={key: str(word) for key, word in _about(ref, spec, status).items() if word},
    )


def read(kube: Kube, ref: Ref) -> State | None:
    """What the API has at `ref`; None where there is no such object, or the cluster has no such kind."""
    found = kube.get(ref.path)
    return None if found is None else state(ref, found)


def poke(kube: Kube, ref: Ref, at: str) -> bool:
    """Ask Flux to look at the object now, as `flux reconcile` does; it is done once `State.handled` is `at`, which has to be new.

    False where this user may not, or the object is not there: then Flux looks in its own interval.
    """
    return _annotated(kube, ref, {REQUESTED: at})


def retry(kube: Kube, ref: Ref, at: str) -> bool:
    """Let a HelmRelease that is out of retries try once more, its count of failures set back. False as for `poke`."""
    return _annotated(kube, ref, {REQUESTED: at, FORCED: at, RESET: at})


def _annotated(kube: Kube, ref: Ref, notes: Mapping[str, str]) -> bool:
    try:
        kube.merge(ref.path, {"metadata": {"annotations": dict(notes)}}, MANAGER)
    except (AuthError, ConfigError):
        return False
    return True


def _sign(value: Object, kind: str) -> Sign:
    found = condition(value, kind)
    return Sign(
        str(found.get("status") or ""), str(found.get("reason") or ""), str(found.get("message") or ""),
        int(found.get("observedGeneration") or 0), str(found.get("lastTransitionTime") or ""),
    )  # fmt: skip


def _named(value: Object, ref: Ref) -> str:
    """An object that `ref` names in its spec, as its Ref is written."""
    return f"{value.get('kind')} {value.get('namespace') or ref.namespace}/{value.get('name')}" if value else ""


def _about(ref: Ref, spec: Object, status: Object) -> dict[str, Any]:
    template = spec.get("chart") if isinstance(spec.get("chart"), Mapping) else {"spec": {"chart": spec.get("chart")}}
    chart = spec.get("chartRef") or (template or {}).get("spec") or {}
    source = spec.get("sourceRef") or chart.get("sourceRef") or {}
    depends = (f"{each.get('namespace') or ref.namespace}/{each.get('name')}" for each in spec.get("dependsOn") or [])
    return {
        "url": spec.get("url"),
        "branch": (spec.get("ref") or {}).get("branch"),
        "secret": (spec.get("secretRef") or {}).get("name"),
        "path": spec.get("path"),
        "source": _named(source, ref),
        "chart": chart.get("chart") or chart.get("name"),
        "strategy": chart.get("reconcileStrategy") or spec.get("reconcileStrategy"),
        "built": f"HelmChart {status['helmChart']}" if status.get("helmChart") else _named(spec.get("chartRef") or {}, ref),
        "storage": status.get("storageNamespace"),
        "depends": ", ".join(depends),
    }


def _snapshot(entry: Object) -> Snapshot:
    return Snapshot(
        int(entry.get("version") or 0), str(entry.get("status") or ""), str(entry.get("chartVersion") or ""),
        str(entry.get("configDigest") or ""), str(entry.get("name") or ""),
    )  # fmt: skip
