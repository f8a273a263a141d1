"""CRDs as small as they can be that say what Flux's say: enough to tell a good object from a bad one."""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string"}
DURATION = {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"}
REFERENCE = {
    "type": "object", "required": ["kind", "name"],
    "properties": {"kind": {"type": "string", "enum": ["GitRepository", "OCIRepository"]}, "name": TEXT, "namespace": TEXT},
}  # fmt: skip
REMEDIATION = {"type": "object", "properties": {"retries": {"type": "integer"}, "remediateLastFailure": {"type": "boolean"}}}
ACTION = {"type": "object", "properties": {"disableWait": {"type": "boolean"}, "remediation": REMEDIATION}}
RELEASE = {
    "type": "object",
    "required": ["interval"],
    "properties": {
        "suspend": {"type": "boolean"}, "interval": DURATION, "timeout": DURATION, "releaseName": TEXT, "chartRef": REFERENCE,
        "chart": {
            "type": "object", "required": ["spec"],
            "properties": {"spec": {
                "type": "object", "required": ["chart", "sourceRef"],
                "properties": {"chart": TEXT, "sourceRef": REFERENCE, "reconcileStrategy": {"enum": ["ChartVersion", "Revision"]},
                               "valuesFiles": {"type": "array", "items": TEXT}},
            }},
        },
        "install": ACTION, "upgrade": ACTION,
        "driftDetection": {"type": "object", "properties": {"mode": {"type": "string", "enum": ["enabled", "warn", "disabled"]}}},
        "valuesFrom": {"type": "array", "items": {"type": "object", "required": ["kind"], "properties": {"kind": TEXT, "name": TEXT}}},
        "values": {"x-kubernetes-preserve-unknown-fields": True},
    },
}  # fmt: skip
KUSTOMIZATION = {
    "type": "object",
    "required": ["interval", "prune", "sourceRef"],
    "properties": {
        "interval": DURATION, "retryInterval": DURATION, "timeout": DURATION, "path": TEXT, "prune": {"type": "boolean"},
        "sourceRef": REFERENCE, "suspend": {"type": "boolean"},
        "postBuild": {"type": "object", "properties": {"substitute": {"type": "object", "additionalProperties": TEXT}}},
    },
}  # fmt: skip
SOURCE = {
    "type": "object",
    "required": ["interval", "url"],
    "properties": {
        "interval": DURATION, "url": TEXT, "insecure": {"type": "boolean"},
        "ref": {"type": "object", "properties": dict.fromkeys(("branch", "tag", "semver", "digest"), TEXT)},
        "secretRef": {"type": "object", "required": ["name"], "properties": {"name": TEXT}},
        "layerSelector": {"type": "object", "properties": {"mediaType": TEXT, "operation": {"enum": ["extract", "copy"]}}},
    },
}  # fmt: skip


def crd(group: str, kind: str, spec: Any, *versions: str) -> dict[str, Any]:
    """The definition of a kind, served in these versions, the newest first."""
    plain = {"type": "string"}
    schema = {"type": "object", "properties": {"apiVersion": plain, "kind": plain, "metadata": {"type": "object"}, "spec": spec}}
    served = [{"name": name, "served": True, "schema": {"openAPIV3Schema": schema}} for name in reversed(versions)]
    gone = {"name": "v1alpha1", "served": False, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "spec": {"group": f"{group}.toolkit.fluxcd.io", "names": {"kind": kind, "plural": f"{kind.lower()}s"}, "versions": [gone, *served]},
    }  # fmt: skip


CRDS = [
    crd("helm", "HelmRelease", RELEASE, "v2", "v2beta2"),
    crd("kustomize", "Kustomization", KUSTOMIZATION, "v1"),
    crd("source", "GitRepository", SOURCE, "v1"),
    crd("source", "OCIRepository", SOURCE, "v1"),
]
