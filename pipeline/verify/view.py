"""What one look sees of the cluster: each list and each object asked for once, however many checks read it, at the same time or not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from pipeline.errors import Transient
from pipeline.tools import kube
from pipeline.verify.web import Unreachable

Object = Mapping[str, Any]


class View:
    """The objects of a release's `namespace`, as they are at the first question; `selector` names those of the release.

    Every method raises Unreachable where the cluster does not answer, AuthError and ConfigError as its client does.
    """

    def __init__(self, client: Callable[[], kube.Kube], namespace: str, selector: str) -> None:
        self.client, self.namespace, self.selector = client, namespace, selector
        self._lock = threading.Lock()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._seen: dict[Hashable, Any] = {}

    def pods(self) -> Sequence[Object]:
        """The pods of the release."""
        return self.list("v1", "pods", self.selector)

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
