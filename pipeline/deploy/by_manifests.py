"""kubectl or kubecfg as the engine of a release: applies what was rendered, goes back to what was applied before, prunes the rest."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.deploy import history, manifest_state, manifest_store, process
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
HOLDERS = ("persistentvolumeclaims", "customresourcedefinitions", "namespaces")  # deleting one deletes data
KUBECTL = process.Program("kubectl", kubectl.INSTALL, kubectl.environment)
KUBECFG = process.Program("kubecfg", kubecfg.INSTALL, kubecfg.environment)


@dataclass(frozen=True)
class ByManifests:
    """See `pipeline.deploy.work.Engine`."""

    spec: Manifests
    target: kubectl.Target

    def apply(self, work: Work, manifest: str) -> None:
        """Write the objects. Raises what the tool's output means."""
        spec, site = self.spec, work.site
        file = self.written(site, manifest)
        work.lease.assert_held()
        if spec.program == "kubecfg":
            argv = kubecfg.update(self.target, file, f"pipeline-{spec.namespace}-{spec.release}"[:63].strip("-"))
            process.call(site, argv, LIMIT, work.lease.check, meaning=kubecfg.failure, program=KUBECFG)
        else:
            argv = kubectl.apply(self.target, file, spec.managers[0])
            process.call(site, argv, LIMIT, work.lease.check, meaning=kubectl.failure, program=KUBECTL)

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
        manifest_store.begin(work, after, manifest, places, {**marks, "rollout": history.STARTED}, f"Rollback to {number}")
        self.apply(work, manifest)
        manifest_store.finish(work, after)

    def remove(self, work: Work) -> None:
        kept = manifest_store.inventory(work)
        self._delete(work, {place for places in kept.values() for place in places})
        manifest_store.forget(work, list(kept))

    def words(self, number: int | None) -> str:
        if number is not None:
            return f"inv rollback --to {number}"
        return f"kubectl delete deployments,services,configmaps -n {self.spec.namespace} -l {selector(self.spec.release)}"

    @property
    def listing(self) -> str:
        which = f"owner={self.spec.keeper.owner},name={self.spec.release}"
        return f"kubectl get secrets -n {self.spec.namespace} -L version,status,rollout,commit -l {which}"

    def settled(self, work: Work, number: int) -> None:
        """Delete what former revisions had and this one does not, and forget the oldest of them."""
        kept = manifest_store.inventory(work)
        if self.spec.prune:
            left = {place for one, places in kept.items() if one != number for place in places} - set(kept.get(number, ()))
            self._delete(work, left)
        revisions = work.revisions()
        good = history.good(revisions, number)
        old = sorted((one.number for one in revisions), reverse=True)[manifest_store.KEPT :]
        manifest_store.forget(work, [one for one in old if good is None or one != good.number])

    def stamps(self, work: Work, number: int) -> Mapping[str, str]:
        places = manifest_store.places(work.stored(number))
        return manifest_state.stamps(manifest_state.seen(work.kube, self.spec.release, places), places, self.spec.managers)

    def _delete(self, work: Work, places: Iterable[str]) -> None:
        """Delete the objects that are still this release's own."""
        for place in sorted(places):
            live = work.kube.get(place)
            if live is None or labels(live).get(INSTANCE) != self.spec.release or notes(live).get(KEEP) == "ignore":
                continue
            kind, name = place.split("/")[-2:]
            if kind in HOLDERS:
                work.site.tell(What.WARN, STAGE, f"{kind}/{name} is no longer part of the release, and is left: it holds data")
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
        site.tool(spec.program), spec.namespace, access.path, access.context,
        f"https://{kube.address}{access.prefix}" if tunnel else "", access.server_name if tunnel else "",
    ))  # fmt: skip


def of(work: Work) -> ByManifests:
    """The engine of this work."""
    if not isinstance(work.engine, ByManifests):
        raise TypeError(f"{work.engine} does not apply manifests")
    return work.engine
