"""What a Kustomization of Flux's has applied, object by object, and which fields of it somebody has written over since.

Source: the inventory in its status, github.com/fluxcd/cli-utils/pkg/object/objmetadata.go: NAMESPACE_NAME_GROUP_KIND.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pipeline.errors import Transient
from pipeline.tools.flux import Ref
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_drift import Drifted
from pipeline.tools.kube_fields import taken, writer
from pipeline.tools.kube_kinds import kinds
from pipeline.verify.kept import Keeper, all_of
from pipeline.verify.parallel import a_few_at_once
from pipeline.verify.view import View

Object = Mapping[str, Any]
MANAGER = "kustomize-controller"
LEFT_ALONE = "kustomize.toolkit.fluxcd.io/ssa"  # an annotation: Ignore and IfNotPresent take an object out of its hands
WORDS = ("Ignore", "IfNotPresent")


def of_kustomization(ref: Ref, view: View) -> Keeper:
    """What it has applied last. Raises Transient where there is no such Kustomization, or it has applied nothing yet."""
    value = view.once(("get", ref.path), lambda: view.client().get(ref.path))
    if value is None:
        raise Transient(f"there is no {ref}")
    revision = str((value.get("status") or {}).get("lastAppliedRevision") or "")
    if not revision:
        raise Transient(f"{ref} has applied nothing yet")
    return Keeper(f"{ref.name} at {revision}", ref.namespace, 0, ref.namespace, ref, value)


def drifted(keeper: Keeper, view: View, seconds: float) -> list[Drifted]:
    """Every object of it that is gone or that somebody wrote over by hand. Raises Unreachable where the cluster does not answer."""
    status = (keeper.value or {}).get("status") or {}
    entries = (status.get("inventory") or {}).get("entries") or []
    found: list[Drifted] = view.once(("taken", keeper.name), lambda: _all(view.client(), entries, seconds))
    return found


def _all(kube: Kube, entries: Sequence[Object], seconds: float) -> list[Drifted]:
    known: dict[str, Mapping[str, tuple[str, bool]]] = {}
    objects = [_named(str(each.get("id")), str(each.get("v"))) for each in entries]
    versions = list(dict.fromkeys(version for version, _, _, _ in objects))
    known = dict(zip(versions, all_of(a_few_at_once([partial(kinds, kube, each) for each in versions], seconds)), strict=True))
    asks = [partial(_one, kube, each, known[each[0]]) for each in objects]
    return [each for each in all_of(a_few_at_once(asks, seconds)) if each.why or each.fields]


def _one(kube: Kube, of: tuple[str, str, str, str], known: Mapping[str, tuple[str, bool]]) -> Drifted:
    version, kind, namespace, name = of
    what = f"{kind} {name}"
    if kind not in known:
        return Drifted(what, why=f"is of a kind that the cluster does not know any more ({version})")
    live = kube.get(path(version, known[kind][0], namespace, name))
    if live is None:
        return Drifted(what, why="is not there")
    if (live.get("metadata", {}).get("annotations") or {}).get(LEFT_ALONE) in WORDS:
        return Drifted(what)
    fields = tuple(taken(live, MANAGER))
    return Drifted(what, fields, {each.path: writer(live, each.steps) for each in fields}, secret=kind == "Secret", how="taken")


def _named(entry: str, version: str) -> tuple[str, str, str, str]:
    """(apiVersion, kind, namespace, name) of an entry of an inventory, where a colon of a name is written as two underscores."""
    rest, group, kind = entry.rsplit("_", 2)
    namespace, _, name = rest.partition("_")
    return f"{group}/{version}" if group else version, kind, namespace, name.replace("__", ":")
