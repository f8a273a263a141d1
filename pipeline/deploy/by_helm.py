"""Helm as the engine of a release: the program and its version, and how it goes back."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.deploy import process
from pipeline.deploy.data import holds_data
from pipeline.deploy.spec import Spec
from pipeline.deploy.work import LIMIT, STAGE, Work
from pipeline.errors import IntegrityError, NotRolledBack
from pipeline.events import What
from pipeline.stage import Site
from pipeline.tools import goyaml, helm, helm_stored, kubeconfig, manifest
from pipeline.tools.kube import Kube
from pipeline.tools.kube_objects import labels, name, notes

FAILED = "failed"  # how helm calls a revision that it could not finish
KEEP = "helm.sh/resource-policy"  # an annotation: with "keep" helm never deletes the object


@dataclass(frozen=True)
class ByHelm:
    """See `pipeline.deploy.work.Engine`. `by_hand` is what a person calls: without the tunnel and the private kubeconfig of this run."""

    target: helm.Target
    by_hand: helm.Target

    def go_back(self, work: Work, number: int) -> None:
        _spare(work, number)
        writing = process.Writing(work.lease, "helm rollback", work.revisions()[0].number + 1)
        process.call(work.site, helm.rollback(self.target, number, int(LIMIT)), LIMIT, writing)

    def take_away(self, work: Work, number: int, kept: Collection[str]) -> None:
        """helm goes by its stored manifest, not by the cluster: what is to stay is marked there."""
        secret = work.kube.get(work.secret(number))
        release = helm_stored.unpacked(secret or {})
        if secret is None or not release:
            raise IntegrityError(f"revision {number} cannot be read", mend=f"look: {self.listing}")
        objects = _objects(work, number)
        for place, each in manifest.places(work.kube, objects, work.spec.namespace).items():
            if place in kept:
                each["metadata"]["annotations"] = {**notes(each), KEEP: "keep"}
        packed = helm_stored.packed({**release, "manifest": goyaml.dump(objects)})
        work.kube.replace(work.secret(number), {**secret, "data": {"release": packed}})
        process.call(work.site, helm.uninstall(self.target, int(LIMIT)), LIMIT, process.Writing(work.lease, "helm uninstall", number))

    def give_up(self, work: Work, number: int) -> None:
        kept = work.kube.get(work.secret(number))
        release = helm_stored.unpacked(kept or {})
        if kept is None or not release:
            raise NotRolledBack(f"revision {number} cannot be read", mend=f"look: {self.listing}; inv release goes on once it is gone")
        failed = {**release, "info": {**(release.get("info") or {}), "status": FAILED, "description": "its helm was ended"}}
        marks = {**kept["metadata"], "labels": {**labels(kept), "status": FAILED}}
        work.kube.replace(work.secret(number), {**kept, "metadata": marks, "data": {"release": helm_stored.packed(failed)}})

    def words(self, number: int | None) -> str:
        own = self.by_hand
        return shlex.join(helm.uninstall(own, int(LIMIT)) if number is None else helm.rollback(own, number, int(LIMIT)))

    def settled(self, _work: Work, _number: int) -> None:
        """helm has deleted what the chart no longer makes."""

    @property
    def listing(self) -> str:
        return f"helm history {self.target.release} -n {self.target.namespace}"


def _spare(work: Work, number: int) -> None:
    """Tell helm to keep what holds data: it deletes all that revision `number` does not have."""
    goal = {_identity(each) for each in _objects(work, number)}
    now = [each for each in _objects(work, work.revisions()[0].number) if _identity(each) not in goal]
    spared = [each for each in now if each.get("kind") == "Secret" or holds_data(each)]  # a chart may have made up a password of the data
    for place, each in manifest.places(work.kube, spared, work.spec.namespace).items():
        if work.kube.get(place) is not None:
            work.kube.merge(place, {"metadata": {"annotations": {KEEP: "keep"}}})
            called = f"{each.get('kind')}/{name(each)}"
            work.site.tell(What.WARN, STAGE, f"{called} is not part of revision {number}, and is left: it may hold data")


def _objects(work: Work, number: int) -> list[dict[str, Any]]:
    return list(helm_stored.parsed(str(work.stored(number).get("manifest") or "")))


def _identity(value: Mapping[str, Any]) -> tuple[str, ...]:
    """What makes two objects the same for helm (isMatchingInfo in helm.sh/helm/v4/pkg/kube/resource.go)."""
    metadata = value.get("metadata") or {}
    return str(value.get("apiVersion")).rpartition("/")[0], str(value.get("kind")), str(metadata.get("namespace") or ""), name(value)


def target_of(work: Work) -> helm.Target:
    """The helm of this work."""
    if not isinstance(work.engine, ByHelm):
        raise TypeError(f"{work.engine} is not helm")
    return work.engine.target


def engine(spec: Spec, site: Site, kube: Kube) -> ByHelm:
    """The helm to call, its version asked once and remembered by the program's size and time."""
    program = site.tool("helm")
    stamp = ""
    with contextlib.suppress(OSError):
        facts = os.stat(program)  # noqa: PTH116  # a name without a folder is found on PATH by the system
        stamp = f"helm {program} {facts.st_size} {facts.st_mtime_ns}"
    known = site.records.hint(stamp) if stamp else None
    version = helm.read_version(known or process.call(site, helm.version(program), 30.0))
    if stamp and not known:
        site.records.remember(stamp, f"v{version[0]}.{version[1]}")
    access = kube.access
    tunnel = bool(site.cluster(spec.cluster).tunnel)
    target = helm.Target(
        program, version, spec.release, spec.namespace, kube.kubeconfig(), access.context,
        f"https://{kube.address}{access.prefix}" if tunnel else "", access.server_name if tunnel else "",
    )  # fmt: skip
    file = kubeconfig.file_of(site, spec.cluster)
    context = "" if site.cluster(spec.cluster).kubeconfig == kubeconfig.IN_CLUSTER else access.context
    return ByHelm(target, replace(target, kubeconfig=file, context=context, server="", server_name=""))
