"""The objects of a release are those of its manifest: where each lies, which of them run pods, and which pods are theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_kinds import BUILT_IN, kinds
from pipeline.tools.kube_objects import labels, name, namespace

Object = Mapping[str, Any]
WORKLOADS = BUILT_IN["apps/v1"]  # kind -> plural
KIND = {plural: kind for kind, plural in WORKLOADS.items()}


@dataclass(frozen=True)
class Workload:
    """What runs pods of a release: as its manifest names it, with its spec.selector."""

    kind: str
    namespace: str
    name: str
    selector: Mapping[str, Any] = field(default_factory=dict)

    @property
    def collection(self) -> str:
        return path("apps/v1", WORKLOADS[self.kind], self.namespace)

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.name}"

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def has(self, pod: Object) -> bool:
        """Whether a pod is this workload's: its labels fit the selector, and it belongs to nobody else."""
        if namespace(pod) not in ("", self.namespace) or not selects(self.selector, labels(pod)):
            return False
        owners = [owner for owner in pod.get("metadata", {}).get("ownerReferences") or [] if owner.get("kind")]
        return not owners or any(self._owns(owner) for owner in owners)

    def _owns(self, owner: Object) -> bool:
        """A ReplicaSet is called as its Deployment, with the hash of its template behind it.

        Source: k8s.io/kubernetes/pkg/controller/deployment/sync.go, getNewReplicaSet
        """
        called = str(owner.get("name") or "")
        if self.kind == "Deployment":
            return owner.get("kind") == "ReplicaSet" and called.rpartition("-")[0] == self.name
        return (owner.get("kind"), called) == (self.kind, self.name)


def workloads(objects: Iterable[Object], space: str) -> list[Workload]:
    """The workloads among the objects of a manifest; one that names no namespace lies in `space`."""
    return [
        Workload(str(each["kind"]), namespace(each) or space, name(each), (each.get("spec") or {}).get("selector") or {})
        for each in objects
        if each.get("kind") in WORKLOADS and str(each.get("apiVersion", "apps/v1")).startswith("apps/")
    ]


def selects(selector: Object, marks: Mapping[str, str]) -> bool:
    """Whether a selector (matchLabels, matchExpressions) fits these labels; one that says nothing fits none.

    Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#resources-that-support-set-based-requirements
    """
    wanted, rules = selector.get("matchLabels") or {}, selector.get("matchExpressions") or []
    fits = {
        "In": lambda rule: marks.get(rule["key"]) in rule["values"],
        "NotIn": lambda rule: marks.get(rule["key"]) not in rule["values"],
        "Exists": lambda rule: rule["key"] in marks,
        "DoesNotExist": lambda rule: rule["key"] not in marks,
    }
    return bool(wanted or rules) and wanted.items() <= marks.items() and all(fits[rule["operator"]](rule) for rule in rules)


def shared_labels(of: Sequence[Workload]) -> str:
    """The label selector of what the pods of all these workloads have in common, "" where that is nothing."""
    pairs = [set((each.selector.get("matchLabels") or {}).items()) for each in of]
    return ",".join(f"{key}={value}" for key, value in sorted(set.intersection(*pairs))) if pairs else ""


def by_namespace(of: Iterable[Workload]) -> dict[str, list[Workload]]:
    found: dict[str, list[Workload]] = {}
    for each in of:
        found.setdefault(each.namespace, []).append(each)
    return found


def pods(kube: Kube, of: Sequence[Workload]) -> list[dict[str, Any]]:
    """The pods of these workloads: one request for each namespace."""
    return [
        pod
        for space, those in by_namespace(of).items()
        for pod in kube.list(path("v1", "pods", space), shared_labels(those))["items"]
        if any(each.has(pod) for each in those)
    ]


def read(kube: Kube, places: Iterable[str], *, metadata: bool = False) -> dict[str, dict[str, Any]]:
    """The objects at these paths that are there, workloads with their kind, which a list leaves out: one request for each collection."""
    found = {}
    for collection, those in sorted(by_collection(places).items()):
        names = [each.rpartition("/")[2] for each in those]
        fields = f"metadata.name={names[0]}" if len(names) == 1 else ""
        for item in kube.list(collection, fields=fields, metadata=metadata)["items"]:
            if name(item) in names:
                place = f"{collection}/{name(item)}"
                found[place] = {**item, "kind": KIND[place.split("/")[-2]]} if is_workload(place) else item
    return found


def by_collection(places: Iterable[str]) -> dict[str, list[str]]:
    """The paths by the collection that they are in."""
    found: dict[str, list[str]] = {}
    for place in places:
        found.setdefault(place.rpartition("/")[0], []).append(place)
    return found


def place_of(workload: Object) -> str:
    """The path of a workload that was read."""
    return path("apps/v1", WORKLOADS[str(workload["kind"])], namespace(workload), name(workload))


def is_workload(place: str) -> bool:
    """Whether an object at this path runs pods."""
    return place.startswith("/apis/apps/v1/") and place.split("/")[-2] in KIND


def places(kube: Kube, objects: Iterable[Object], space: str) -> dict[str, Object]:
    """The objects of a manifest by their paths, in `space` where they name no namespace; without those of a kind that the cluster does
    not know (any more)."""
    known: dict[str, Mapping[str, tuple[str, bool]]] = {}
    found = {}
    for each in objects:
        version, kind = str(each.get("apiVersion")), str(each.get("kind"))
        if plural := BUILT_IN.get(version, {}).get(kind):
            found[path(version, plural, namespace(each) or space, name(each))] = each
            continue
        if version not in known:
            known[version] = kinds(kube, version)
        if kind in known[version]:
            plural, namespaced = known[version][kind]
            found[path(version, plural, (namespace(each) or space) if namespaced else "", name(each))] = each
    return found
