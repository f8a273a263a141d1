"""A replicated service played in this process: three pods of a StatefulSet on the fake API, each a small server with a store of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.host import Address
from pipeline.tools.kube import path
from tests.verify.releases import pod
from tests.verify.servers import Server, answer, serving
from tests.verify.worlds import LABELS, SPACE, Shop, shop

NAMES = ("node-0", "node-1", "node-2")
OWN = {**LABELS, "app": "node"}


@dataclass
class Mesh:
    """The nodes' stores by name. `late` is how many seconds a copy takes, `deaf` are those that get none, `away` how long a deleted pod
    is gone, `blank` whether it comes back without what its peers have, `mean` whether nodes refuse to be written to."""

    late: float = 0.0
    deaf: set[str] = field(default_factory=set)
    away: float = 0.3
    blank: bool = False
    mean: bool = False
    only_here: bool = False
    stores: dict[str, dict[str, bytes]] = field(default_factory=lambda: {name: {} for name in NAMES})
    heads: list[str] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def serve(self, name: str, peer: socket.socket, head: str) -> None:
        first, _, body = head.partition("\r\n\r\n")
        self.heads.append(first)
        method, target, _ = first.split(" ", 2)
        length = next((int(line.partition(":")[2]) for line in first.split("\r\n") if line.lower().startswith("content-length:")), 0)
        content = body.encode()
        while len(content) < length:
            content += peer.recv(65536)
        store = self.stores[name]
        if method == "PUT" and not self.mean:
            store[target] = content
            self.copy(name, target, content)
            peer.sendall(answer(b"taken", "201 Created"))
        elif method == "DELETE":
            for each in self.stores.values():
                each.pop(target, None)
            peer.sendall(answer())
        elif method == "GET" and target in store:
            peer.sendall(answer(store[target]))
        else:
            peer.sendall(answer(b"no such thing", "404 Not Found" if method == "GET" else "503 Service Unavailable"))

    def copy(self, name: str, target: str, content: bytes) -> None:
        def copied() -> None:
            time.sleep(self.late)
            for other in NAMES:
                if other != name and other not in self.deaf:
                    self.stores[other][target] = content

        if self.only_here:
            return
        self.threads.append(threading.Thread(target=copied, daemon=True))
        self.threads[-1].start()

    def returned(self, name: str) -> None:
        self.stores[name] = {} if self.blank else dict(self.stores[next(each for each in NAMES if each != name)])


def node(name: str, owner: str) -> dict[str, Any]:
    value = pod(name)
    value["metadata"] |= {"namespace": SPACE, "labels": OWN, "ownerReferences": [{"uid": owner, "controller": True}]}
    value["spec"] = {"containers": [{"name": "node", "ports": [{"name": "http", "containerPort": 8080}]}]}
    return value


@contextlib.contextmanager
def playing(folder: Path, mesh: Mesh, ingress: str = "") -> Iterator[Shop]:
    """The nodes on the fake API: a pod that is deleted is put back as a StatefulSet's controller and a node would."""
    with contextlib.ExitStack() as stack:
        at = stack.enter_context(shop(folder, ingress))
        owner = at.put("StatefulSet", "node", spec={"replicas": 3, "selector": {"matchLabels": {"app": "node"}}})
        uid = at.fake.objects[owner]["metadata"]["uid"]
        places: dict[str, Server] = {}
        for name in NAMES:
            places[name] = stack.enter_context(serving(lambda peer, head, name=name: mesh.serve(name, peer, head)))  # type: ignore[misc]
            at.fake.ports[f"{name}:8080"] = Address(places[name].address, places[name].port)
            at.fake.put(path("v1", "pods", SPACE, name), node(name, uid))

        def back(name: str, where: str) -> None:
            time.sleep(mesh.away)
            mesh.returned(name)
            at.fake.ports[f"{name}:8080"] = Address(places[name].address, places[name].port)
            at.fake.put(where, node(name, uid))

        def changed(kind: str, where: str, _value: dict[str, Any]) -> None:
            name = where.rpartition("/")[2]
            if kind == "DELETED" and name in NAMES:
                mesh.stores[name] = {}
                mesh.threads.append(threading.Thread(target=back, args=(name, where), daemon=True))
                mesh.threads[-1].start()

        at.fake.changed = changed
        yield at
        for thread in mesh.threads:
            thread.join(5)
