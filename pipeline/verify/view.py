"""What one look sees of the cluster: each list and each object asked for once, however many checks read it, at the same time or not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from pipeline.errors import Transient
from pipeline.tools import kube, kube_objects, manifest
from pipeline.tools.helm_stored import Kept
from pipeline.tools.kube_edits import Edited, edited
from pipeline.verify.web import Unreachable

Object = Mapping[str, Any]
# by what the tools of a release write its objects
MANAGERS = ("helm", "Helm", "helm-controller", "kustomize-controller", "kubecfg", "pipeline", "pipeline-verify")


class View:
    """The objects of a release's `namespace`, as they are at the first question. Those of the release are what its manifest names, which
    `stored` gives; or, if there is a `selector`, what carries that label.

    Every method raises Unreachable where the cluster does not answer, AuthError and ConfigError as its client does.
    """

    def __init__(self, client: Callable[[], kube.Kube], namespace: str, selector: str = "", stored: Callable[[], Kept] = Kept) -> None:
        self.client, self.namespace, self.selector, self.stored = client, namespace, selector, stored
        self._lock = threading.Lock()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._seen: dict[Hashable, Any] = {}

    def pods(self) -> Sequence[Object]:
        """The pods of the release: those of its workloads, by their own selectors."""
        if self.selector:
            return self.list("v1", "pods", self.selector)
        found: Sequence[Object] = self.once(("pods",), lambda: manifest.pods(self.client(), self.workloads()))
        return found

    def workloads(self) -> Sequence[manifest.Workload]:
        """What runs the release's pods."""
        return manifest.workloads(self.objects(), self.namespace)

    def objects(self) -> Sequence[Object]:
        """The objects of the release's manifest."""
        return self._kept().objects

    def of(self, version: str, plural: str, kind: str) -> dict[str, Object | None]:
        """The release's objects of a kind by their names, None for one that is not there."""
        if self.selector:
            return {kube_objects.name(each): each for each in self.list(version, plural, self.selector)}
        if kind == "Pod":
            return {kube_objects.name(each): each for each in self.pods()}
        named = [each for each in self.objects() if each.get("kind") == kind]
        places = [kube.path(version, plural, kube_objects.namespace(each) or self.namespace, kube_objects.name(each)) for each in named]
        if kind == "PersistentVolumeClaim":  # a StatefulSet's claims stand in no manifest
            places += [kube.path(version, plural, self.namespace, each) for pod in self.pods() for each in kube_objects.claims(pod)]
        found = self.once(("of", kind), lambda: manifest.read(self.client(), dict.fromkeys(places)))
        return {place.rpartition("/")[2]: found.get(place) for place in places}

    def edited(self) -> Edited:
        """What of the release's objects was deleted or edited by hand, and what its pods need that is gone."""

        def ask() -> Edited:
            wanted = manifest.places(self.client(), self.objects(), self.namespace)
            noted = {place: self._kept().stamps.get(place, "") for place in wanted}
            lasting = [pod for pod in self.pods() if not kube_objects.terminating(pod)]
            needed = list(dict.fromkeys(place for pod in lasting for place in kube_objects.needed(pod)))
            return edited(self.client(), noted, lambda: wanted, MANAGERS, needed=needed)

        found: Edited = self.once(("edited",), ask)
        return found

    def _kept(self) -> Kept:
        found: Kept = self.once(("stored",), self.stored)
        return found

    def list(self, version: str, kind: str, labels: str = "") -> Sequence[Object]:
        """The objects of a kind, narrowed by `labels`."""
        target = kube.path(version, kind, self.namespace)
        found: Sequence[Object] = self.once(("list", target, labels), lambda: self.client().list(target, labels).get("items") or [])
        return found

    def get(self, version: str, kind: str, name: str) -> Object | None:
        """One object, None where there is none."""
        target = kube.path(version, kind, self.namespace, name)
        found: Object | None = self.once(("get", target), lambda: self.client().get(target))
        return found

    def once(self, key: Hashable, ask: Callable[[], Any]) -> Any:
        """What `ask` gave or raised for the first who asked for `key`; whoever comes meanwhile waits for it."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._seen:
                try:
                    self._seen[key] = ask()
                except Transient as error:
                    what = f"the cluster could not be asked: {error.what}"
                    self._seen[key] = Unreachable(what, retry_after=getattr(error, "retry_after", 0.0))
                except Exception as error:
                    self._seen[key] = error
        found = self._seen[key]
        if isinstance(found, Exception):
            raise found
        return found
