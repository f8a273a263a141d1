"""Flux for the driver's tests: controllers that follow a real Git repository on the API of this process, and a Helm that keeps releases."""

from __future__ import annotations

import base64
import copy
import gzip
import json
from collections.abc import Callable
from typing import Any

import yaml

from pipeline.deploy.flux_spec import Flux
from pipeline.tools.flux import REQUESTED, RESET, Ref
from pipeline.tools.kube import path
from tests.deploy.cluster import NAMESPACE, RELEASE, WEB, Cluster, workload
from tests.tools.gitserver import Server

FILE = f"clusters/production/{RELEASE}/release.yaml"
SOURCE, APPLIER = Ref("GitRepository", "flux-system", "flux-system"), Ref("Kustomization", "flux-system", "flux-system")
HELM = Ref("HelmRelease", NAMESPACE, RELEASE)
FIRST = f"""# a person's comment
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata:
  name: {RELEASE}
  namespace: {NAMESPACE}
spec:
  suspend: true # until the first release
  interval: 5m
  timeout: 2s
  values:
    image: # written by the pipeline
      repository: unreleased.invalid/web
      digest: sha256:{"0" * 64}
    commit: "{"0" * 40}"
"""


def spec(**options: Any) -> Flux:
    values = {"image": {"repository": "{repository}", "digest": "{digest}"}, "commit": "{commit}"}
    return Flux(
        **{"cluster": "lab", "remote": "gitops", "namespace": NAMESPACE, "release": RELEASE, "values": values, "deadline": 10.0, **options}
    )


class FakeFlux:
    """Fetches, applies and releases as soon as it is asked. `behaviour` of the cluster says which digests do not come up; `helm` which make
    helm-controller say that the upgrade failed ("failed"), or put back what was before by itself ("remediated")."""

    def __init__(self, cluster: Cluster, server: Server) -> None:
        self.cluster, self.server, self.fake = cluster, server, cluster.fake
        self.helm: dict[str, str] = {}
        self.asleep = False  # nothing is fetched while it is
        self.unreachable = ""  # why source-controller cannot fetch
        self.before_fetch: Callable[[], None] = lambda: None
        self.handled: set[tuple[str, str]] = set()
        for ref in (SOURCE, APPLIER, HELM):
            version = ref.path.split("/namespaces/")[0]
            self.fake.put(version, {"metadata": {"name": version}, "resources": [{"name": ref.collection.rpartition("/")[2]}]})
        self.fake.put(path("v1", "namespaces", name="flux-system"), {"metadata": {"name": "flux-system"}})
        pods = self.fake.changed
        server.person({FILE: FIRST}, "The layout")
        self._put(SOURCE, {"url": "x", "ref": {"branch": "main"}}, {"artifact": self._artifact(server.head)})
        self._put(APPLIER, {"sourceRef": {"kind": "GitRepository", "name": "flux-system"}}, {})
        self._apply(server.head)

        def changed(kind: str, where: str, value: dict[str, Any]) -> None:
            pods(kind, where, value)
            if kind != "DELETED":
                self._asked(where, value)

        self.fake.changed = changed

    def resume(self) -> None:
        """Fetch and apply what is there now."""
        self.asleep = False
        self._fetch("")

    def release(self) -> dict[str, Any]:
        return copy.deepcopy(self.fake.objects[HELM.path])

    def suspend(self, ref: Ref, value: bool = True) -> None:
        found = copy.deepcopy(self.fake.objects[ref.path])
        self._put(ref, {**found["spec"], "suspend": value}, found["status"])

    def _asked(self, where: str, value: dict[str, Any]) -> None:
        at = (value["metadata"].get("annotations") or {}).get(REQUESTED, "")
        if self.asleep or not at or (where, at) in self.handled or value.get("spec", {}).get("suspend"):
            return
        if where in (SOURCE.path, APPLIER.path, HELM.path):
            self.handled.add((where, at))
        if where == SOURCE.path:
            self._fetch(at)
        elif where == APPLIER.path:
            self._apply(self.fake.objects[SOURCE.path]["status"]["artifact"]["revision"].rpartition(":")[2], at)
        elif where == HELM.path:
            again = (value["metadata"].get("annotations") or {}).get(RESET) == at
            self._reconcile(at, again=again)

    def _fetch(self, at: str) -> None:
        if self.unreachable:
            said = {"type": "Ready", "status": "False", "reason": "GitOperationFailed", "message": self.unreachable}
            self._put(SOURCE, None, self.fake.objects[SOURCE.path]["status"], at, conditions=[said])
            return
        self.before_fetch()
        self._put(SOURCE, None, {"artifact": self._artifact(self.server.head)}, at)
        if not at:
            self._apply(self.server.head)

    def _apply(self, commit: str, at: str = "") -> None:
        found = yaml.safe_load(self.server.git("show", f"{commit}:{FILE}"))
        old = self.fake.objects.get(HELM.path)
        if old is None or old["spec"] != found["spec"]:
            self._put(HELM, found["spec"], (old or {}).get("status", {}), ready=False)
            self._reconcile("")
        self._put(APPLIER, None, {"lastAppliedRevision": f"main@sha1:{commit}", "lastAttemptedRevision": f"main@sha1:{commit}"}, at)

    def _reconcile(self, at: str, *, again: bool = False) -> None:
        """What helm-controller does with the HelmRelease as it is."""
        value = self.release()
        if value["spec"].get("suspend"):
            return
        generation = value["metadata"]["generation"]
        history = value["status"].get("history", [])
        done = value["status"].get("lastAttemptedGeneration") == generation and not again
        if done:
            self._put(HELM, None, value["status"], at, conditions=value["status"]["conditions"])
            return
        image = f"{value['spec']['values']['image']['repository']}@{value['spec']['values']['image']['digest']}"
        kind = self.helm.get(value["spec"]["values"]["image"]["digest"], "deployed")
        number = (history[0]["version"] if history else 0) + 1
        self._keep(number, value["spec"]["values"], image, "deployed" if kind != "failed" else "failed")
        entry = {"version": number, "status": "deployed" if kind != "failed" else "failed", "chartVersion": "0.1.0", "configDigest": image}
        status = {
            "history": [entry, *history][:5],
            "lastAttemptedGeneration": generation,
            "lastAttemptedRevision": "0.1.0",
            "lastAttemptedConfigDigest": image,
        }
        said = None
        if kind != "deployed":
            said = [
                {"type": "Stalled", "status": "True", "reason": "RetriesExceeded", "message": "Failed to upgrade after 1 attempt(s)"},
                {"type": "Ready", "status": "False", "reason": "UpgradeFailed", "message": "Helm upgrade failed for release shop/web"},
            ]
        if kind == "remediated":
            before = self._stored(number - 1)
            self._keep(number + 1, before["config"], before["image"], "deployed")
            status["history"] = [{**entry, "version": number + 1}, {**entry, "status": "failed"}, *history][:5]
            said = [*(said or []), {"type": "Remediated", "status": "True", "reason": "RollbackSucceeded", "message": "rolled back"}]
        self._put(HELM, None, status, at, conditions=said)

    def _keep(self, number: int, config: dict[str, Any], image: str, status: str) -> None:
        secrets = path("v1", "secrets", NAMESPACE)
        for each in self.fake.listed(secrets, f"owner=helm,name={RELEASE}"):
            if each["metadata"]["labels"]["status"] == "deployed" and status == "deployed":
                each["metadata"]["labels"]["status"] = "superseded"
                self.fake.put(f"{secrets}/{each['metadata']['name']}", each)
        manifest = workload().replace("IMAGE", image)
        stored = {"config": config, "image": image, "manifest": manifest, "info": {"description": "Upgrade complete"}}
        packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(stored).encode()))).decode()
        labels = {"owner": "helm", "name": RELEASE, "version": str(number), "status": status}
        name = f"sh.helm.release.v1.{RELEASE}.v{number}"
        self.fake.put(f"{secrets}/{name}", {"metadata": {"name": name, "labels": labels}, "data": {"release": packed}})
        old = self.fake.objects.get(WEB, {})
        self.fake.put(WEB, {**yaml.safe_load(manifest), "status": old.get("status", {})})

    def _stored(self, number: int) -> dict[str, Any]:
        found = self.fake.objects[path("v1", "secrets", NAMESPACE, f"sh.helm.release.v1.{RELEASE}.v{number}")]
        value: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(found["data"]["release"]))))
        return value

    def _put(
        self, ref: Ref, spec: dict[str, Any] | None, status: dict[str, Any], at: str = "", *, ready: bool = True,
        conditions: list[dict[str, Any]] | None = None,
    ) -> None:  # fmt: skip
        """Write the object as its controller leaves it: settled at its spec, where no conditions say otherwise."""
        old = copy.deepcopy(self.fake.objects.get(ref.path, {}))
        meta = {"name": ref.name, "namespace": ref.namespace, "annotations": (old.get("metadata") or {}).get("annotations") or {}}
        wanted = spec if spec is not None else old["spec"]
        before = (old.get("metadata") or {}).get("generation", 0)
        generation = before + (not old or wanted != old["spec"])
        said = conditions or [{"type": "Ready", "status": "True" if ready else "Unknown", "reason": "Done", "message": ""}]
        said = [{**each, "observedGeneration": generation} for each in said]
        handled = at or (old.get("status") or {}).get("lastHandledReconcileAt", "")
        whole = {**status, "conditions": said, "observedGeneration": generation if ready else before, "lastHandledReconcileAt": handled}
        self.fake.put(ref.path, {"kind": ref.kind, "metadata": meta, "spec": wanted, "status": whole})

    def _artifact(self, commit: str) -> dict[str, str]:
        return {"revision": f"main@sha1:{commit}", "lastUpdateTime": "2026-01-02T03:04:05Z"}
