"""kubectl or kubecfg as the engine of a release: applies what was rendered, goes back to what was applied before, prunes the rest."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pipeline.deploy import history, manifest_store, process, stored
from pipeline.deploy.data import holds_data
from pipeline.deploy.manifest_spec import Manifests
from pipeline.deploy.spec import Spec
from pipeline.deploy.work import LIMIT, STAGE, Work
from pipeline.errors import NotRolledBack
from pipeline.events import What
from pipeline.stage import Site
from pipeline.tools import kubecfg, kubectl
from pipeline.tools.kube import Kube
from pipeline.tools.kube_objects import INSTANCE, labels, notes, selector

KEEP = "kubecfg.ksonnet.io/garbage-collect-strategy"  # an object with this annotation set to "ignore" is never deleted, as with kubecfg
KUBECTL = process.Program("kubectl", kubectl.INSTALL, kubectl.environment)
KUBECFG = process.Program("kubecfg", kubecfg.INSTALL, kubecfg.environment)


@dataclass(frozen=True)
class ByManifests:
    """See `pipeline.deploy.work.Engine`."""

    spec: Manifests
    target: kubectl.Target

    def writing(self, work: Work, number: int) -> process.Writing:
        """What applying revision `number` is called in the lock."""
        return process.Writing(work.lease, "kubecfg update" if self.spec.program == "kubecfg" else "kubectl apply", number)

    def apply(self, work: Work, manifest: str, number: int) -> None:
        """Write the objects of revision `number`. Raises what the tool's output means."""
        spec, site = self.spec, work.site
        file, writing = self.written(site, manifest), self.writing(work, number)
        if spec.program == "kubecfg":
            argv = kubecfg.update(self.target, file, f"pipeline-{spec.namespace}-{spec.release}"[:63].strip("-"))
            process.call(site, argv, LIMIT, writing, meaning=kubecfg.TOOL.failure, program=KUBECFG)
        else:
            argv = kubectl.apply(self.target, file, spec.managers[0])
            process.call(site, argv, LIMIT, writing, meaning=kubectl.TOOL.failure, program=KUBECTL)

    def written(self, site: Site, manifest: str) -> str:
        """The objects in a private file, by a name that lets a person run the same command again."""
        folder = site.root / ".pipeline" / "deploy" / self.spec.cluster / self.spec.namespace
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = folder / f"{self.spec.release}.yaml"
        file.unlink(missing_ok=True)
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:  # noqa: PTH123  # the mode counts from the first byte
            stream.write(manifest)
        return str(file)

    def go_back(self, work: Work, number: int) -> None:
        release = work.stored(number)
        manifest, places = str(release.get("manifest") or ""), manifest_store.places(release)
        if not manifest or not places:
            raise NotRolledBack(f"revision {number} is not kept any more", mend="release its commit again: inv release")
        revisions = work.revisions()
        marks = next(one.labels for one in revisions if one.number == number)
        after = revisions[0].number + 1
        self.writing(work, after).begin()
        own = {"rollout": history.STARTED, "run": work.lease.holder.run}
        manifest_store.begin(work, after, manifest, places, {**marks, **own}, f"Rollback to {number}")
        self.apply(work, manifest, after)
        manifest_store.finish(work, after)

    def take_away(self, work: Work, number: int, kept: Collection[str]) -> None:
        known = manifest_store.inventory(work)
        for place in sorted({place for those in known.values() for place in those} - set(kept)):
            live = work.kube.get(place)
            if live is not None and labels(live).get(INSTANCE) == self.spec.release:
                work.lease.assert_held()
                work.kube.delete(place)
        manifest_store.forget(work, sorted(known, key=lambda one: (one == number, one)))  # the newest last: it says what there was

    def give_up(self, work: Work, number: int) -> None:
        manifest_store.give_up(work, number)

    def words(self, number: int | None) -> str:
        if number is not None:
            return f"inv rollback --to {number}"
        kinds = "deployments,statefulsets,daemonsets,services,configmaps"
        return f"kubectl delete {kinds} -n {self.spec.namespace} -l {selector(self.spec.release)}"

    @property
    def listing(self) -> str:
        which = f"owner={self.spec.keeper.owner},name={self.spec.release}"
        return f"kubectl get secrets -n {self.spec.namespace} -L version,status,rollout,commit -l {which}"

    def settled(self, work: Work, number: int) -> None:
        """Delete what former revisions had and this one does not, and forget the oldest of them."""
        kept = manifest_store.inventory(work)
        revisions = work.revisions()
        if self.spec.prune:
            since = {one.number: one.since for one in revisions}
            named: dict[str, str] = {}  # when a revision named each object first
            for one, places in sorted(kept.items()):
                named = {**dict.fromkeys(places, since.get(one, "")), **named}
            left = {place: first for place, first in named.items() if place not in kept.get(number, ())}
            self._delete(work, left, made_only=stored.repeats(work.stored(number)) > 0)
        good = history.good(revisions, number)
        old = sorted((one.number for one in revisions), reverse=True)[manifest_store.KEPT :]
        manifest_store.forget(work, [one for one in old if good is None or one != good.number])

    def _delete(self, work: Work, left: Mapping[str, str], *, made_only: bool) -> None:
        """Delete the objects of `left` that are still this release's own and hold no data. With `made_only`, as on a way back, one that was
        there before a revision named it first stays too: it was adopted, not made."""
        for place, first in sorted(left.items()):
            live = work.kube.get(place)
            if live is None or labels(live).get(INSTANCE) != self.spec.release or notes(live).get(KEEP) == "ignore":
                continue
            kind, name = place.split("/")[-2:]
            made = str(live["metadata"].get("creationTimestamp") or "")
            why = "it may hold data" if holds_data(live) else "it was there before" if made_only and not made >= first > "" else ""
            if why:
                work.site.tell(What.WARN, STAGE, f"{kind}/{name} is no longer part of the release, and is left: {why}")
                continue
            work.lease.assert_held()
            work.site.tell(What.LOG, STAGE, f"{kind}/{name} is no longer part of the release: deleted")
            work.kube.delete(place)


def engine(spec: Spec, site: Site, kube: Kube) -> ByManifests:
    """The tool that the spec names, on its cluster."""
    if not isinstance(spec, Manifests):
        raise TypeError(f"{spec} is of no manifests")
    access = kube.access
    tunnel = bool(site.cluster(spec.cluster).tunnel)
    return ByManifests(spec, kubectl.Target(
        site.tool(spec.program), spec.namespace, kube.kubeconfig(), access.context,
        f"https://{kube.address}{access.prefix}" if tunnel else "", access.server_name if tunnel else "",
    ))  # fmt: skip


def of(work: Work) -> ByManifests:
    """The engine of this work."""
    if not isinstance(work.engine, ByManifests):
        raise TypeError(f"{work.engine} does not apply manifests")
    return work.engine
