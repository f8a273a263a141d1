"""A cluster with Flux in it, as its API shows it: one release that is kept, all well until a test changes something."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from pipeline.deploy.flux_spec import Flux
from pipeline.testing.kube import FakeKube
from pipeline.tools.flux import KINDS, Ref

SPEC = Flux("k3s", "gitops", "fade", "fade", {"image": {"digest": "{digest}"}})
SOURCE = Ref("GitRepository", "flux-system", "flux-system")
APPLIER = Ref("Kustomization", "flux-system", "flux-system")
RELEASE = Ref("HelmRelease", "fade", "fade")
COMMIT = "1a2b3c4d" * 5
READY = {"type": "Ready", "status": "True", "reason": "Succeeded", "message": "fine", "observedGeneration": 1}
Object = dict[str, Any]


@dataclass
class World:
    """`objects` are Flux's own, by their place; `install` puts the kinds that the API serves."""

    kube: FakeKube
    objects: dict[Ref, Object] = field(default_factory=dict)

    def put(self, ref: Ref, spec: Object, status: Object | None = None, **meta: Any) -> None:
        shown = {"observedGeneration": 1, "conditions": [copy.deepcopy(READY)]} | (status or {})
        metadata = {"name": ref.name, "namespace": ref.namespace} | meta
        self.kube.drop(ref.path)
        self.objects[ref] = self.kube.put(ref.path, {"kind": ref.kind, "metadata": metadata, "spec": spec, "status": shown})

    def condition(self, ref: Ref, kind: str, status: str, reason: str, message: str) -> None:
        """One more condition, in place of that of its type."""
        value = self.objects[ref]
        told = {"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 1}
        rest = [each for each in value["status"]["conditions"] if each["type"] != kind]
        self.put(ref, value["spec"], value["status"] | {"conditions": [*rest, told]})

    def install(self, *kinds: str) -> None:
        for kind in kinds:
            version, plural = KINDS[kind]
            group = version.partition("/")[0]
            served = self.kube.objects.setdefault(f"/apis/{version}", {"kind": "APIResourceList", "resources": []})
            served["resources"].append({"name": plural})
            self.kube.objects[f"/apis/{group}"] = {"kind": "APIGroup", "versions": [{"version": version.partition("/")[2]}]}

    def deployment(self, name: str, version: str = "v1.7.3", available: str = "True") -> None:
        spec = {"template": {"spec": {"containers": [{"name": "manager", "image": f"ghcr.io/fluxcd/{name}:{version}"}]}}}
        metadata = {"name": name, "namespace": "flux-system", "labels": {"app.kubernetes.io/part-of": "flux"}}
        status = {"conditions": [{"type": "Available", "status": available}]}
        self.kube.put(f"/apis/apps/v1/namespaces/flux-system/deployments/{name}", {"metadata": metadata, "spec": spec, "status": status})


def world(kube: FakeKube) -> World:
    """Flux installed, and fade released by it at COMMIT."""
    found = World(kube)
    found.install("GitRepository", "Kustomization", "HelmRelease", "HelmChart")
    for name in ("source-controller", "kustomize-controller", "helm-controller"):
        found.deployment(name)
    revision = f"main@sha1:{COMMIT}"
    found.put(SOURCE, {"url": "ssh://git@git.example/fade-gitops.git", "ref": {"branch": "main"}, "interval": "1m"},
              {"artifact": {"revision": revision}})  # fmt: skip
    found.put(APPLIER, {"path": "./clusters/production", "interval": "10m"}, {"lastAppliedRevision": revision})
    chart = {"chart": "./helm/fade", "reconcileStrategy": "Revision",
             "sourceRef": {"kind": "GitRepository", "name": "flux-system", "namespace": "flux-system"}}  # fmt: skip
    found.put(
        RELEASE, {"chart": {"spec": chart}, "interval": "5m"}, {"history": [{"version": 7, "status": "deployed", "chartVersion": "0.1.0"}]}
    )
    return found
