"""Flux's objects as its controllers leave them, for tests that run none."""

from __future__ import annotations

from typing import Any

from pipeline.deploy.flux_seen import Seen, Target
from pipeline.tools.flux import Ref

TARGET = Target("flux-system", "fade", "fade", "shop", "web")
OLD, COMMIT, LATER, STRANGE = (digit * 40 for digit in "0123")
VALUES = {"image": {"digest": "sha256:b2"}}
KNOWN = {(OLD, COMMIT): True, (COMMIT, LATER): True, (COMMIT, OLD): False, (COMMIT, STRANGE): False, (STRANGE, COMMIT): False}
EARLY, STORED, AFTER = "2026-01-02T03:04:05Z", "2026-01-02T03:04:10Z", "2026-01-02T03:04:12Z"
Object = dict[str, Any]


def is_ancestor(old: str, new: str) -> bool | None:
    return KNOWN.get((old, new))


def author(commit: str) -> str:
    return {OLD: "Olga <o@x>", LATER: "Lea <l@x>", STRANGE: "Max <m@x>"}.get(commit, "")


def ready(status: str, reason: str = "", message: str = "", generation: int = 1, since: str = AFTER, kind: str = "Ready") -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": generation,
            "lastTransitionTime": since}  # fmt: skip


def made(ref: Ref, spec: Object, status: Object, generation: int = 1) -> Object:
    return {"kind": ref.kind, "metadata": {"name": ref.name, "namespace": ref.namespace, "generation": generation, "uid": ref.kind},
            "spec": spec, "status": status}  # fmt: skip


def git(commit: str = COMMIT, *conditions: Object, suspend: bool = False, handled: str = "") -> Object:
    """The GitRepository with an artifact of that commit; ready, where no condition says otherwise."""
    spec = {"url": "ssh://git@git.example/fade.git", "ref": {"branch": "main"}, "secretRef": {"name": "key"}, "suspend": suspend}
    artifact = {"artifact": {"revision": f"main@sha1:{commit}", "lastUpdateTime": STORED}} if commit else {}
    status = {"observedGeneration": 1, "conditions": list(conditions) or [ready("True")], "lastHandledReconcileAt": handled, **artifact}
    return made(TARGET.git, spec, status)


def kustomization(
    commit: str = COMMIT, *conditions: Object, suspend: bool = False, attempted: str = "", follows: str = "fade", handled: str = ""
) -> Object:
    """The Kustomization that has applied that commit, and tried `attempted`."""
    spec = {"path": "./clusters/production", "sourceRef": {"kind": "GitRepository", "name": follows}, "suspend": suspend}
    status = {"observedGeneration": 1, "conditions": list(conditions) or [ready("True")], "lastHandledReconcileAt": handled,
              "lastAppliedRevision": f"main@sha1:{commit}", "lastAttemptedRevision": f"main@sha1:{attempted or commit}"}  # fmt: skip
    return made(TARGET.applier, spec, status)


def release(
    *conditions: Object, generation: int = 2, observed: int = 2, values: Object | None = None, suspend: bool = False, number: int = 4,
    strategy: str = "ChartVersion", attempted: str = "0.1.0", config: str = "sha256:new", handled: str = "",
) -> Object:  # fmt: skip
    """The HelmRelease that holds what was committed; ready at it, where no condition says otherwise."""
    source = {"kind": "GitRepository", "namespace": "flux-system", "name": "fade"}
    spec = {"chart": {"spec": {"chart": "./helm/web", "sourceRef": source, "reconcileStrategy": strategy}}, "suspend": suspend,
            "values": VALUES if values is None else values}  # fmt: skip
    history = [{"version": number, "status": "deployed", "chartVersion": attempted, "configDigest": "sha256:new"}]
    status = {"observedGeneration": observed, "conditions": list(conditions) or [ready("True", generation=generation)],
              "history": history, "lastAttemptedRevision": attempted, "lastAttemptedConfigDigest": config,
              "helmChart": "flux-system/shop-web", "lastHandledReconcileAt": handled}  # fmt: skip
    return made(TARGET.helm, spec, status, generation)


def seen(*objects: Object, fresh: bool = True, reached: tuple[str, ...] = ()) -> Seen:
    """What a follower has seen, given these objects."""
    refs = {ref.kind: ref for ref in TARGET.all}
    found = Seen(TARGET, COMMIT, VALUES, is_ancestor, author, {refs[each["kind"]]: each for each in objects}, fresh=fresh)
    found.listed.update(TARGET.all)
    found.reached.update(dict.fromkeys(reached, 1.0))
    return found
