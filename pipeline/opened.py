"""What a site opens by name and on first use: its hosts, and clusters whose kubeconfig is an output of the infrastructure."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from pipeline.clock import Clock
from pipeline.errors import ConfigError
from pipeline.stage import Cluster, HostSpec

if TYPE_CHECKING:
    from pipeline.host import Host
    from pipeline.provision.handover import Handover
    from pipeline.provision.root import Root

OUTPUT = "output:"  # a kubeconfig that is the output of that name


class Clusters(Mapping[str, Cluster]):
    """Clusters by name; a kubeconfig that is an output of the infrastructure is fetched when its cluster is first asked for."""

    def __init__(self, found: Mapping[str, Cluster]) -> None:
        self._found = found
        self._handover: Handover | None = None
        self._lock = threading.Lock()
        self.infra: Callable[[], Root | None] = lambda: None

    def __getitem__(self, name: str) -> Cluster:
        cluster = self._found[name]
        if not cluster.kubeconfig.startswith(OUTPUT):
            return cluster
        with self._lock:  # stages are looked at side by side: one folder all the same
            if self._handover is None:
                self._handover = self._open(name)
        return dataclasses.replace(cluster, kubeconfig=self._handover.kubeconfig(cluster.kubeconfig.removeprefix(OUTPUT)))

    def _open(self, name: str) -> Handover:
        root = self.infra()
        if root is None:
            raise ConfigError(
                f"cluster {name} takes its kubeconfig from the outputs of an infrastructure, and this blueprint has none",
                mend="infra: {driver: terraform, folder: terraform/…} in the blueprint, or name a file as kubeconfig",
            )
        from pipeline.provision.handover import Handover

        return Handover(root)

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def close(self) -> None:
        if self._handover:
            self._handover.close()


class Hosts(Mapping[str, "Host"]):
    """Hosts by name, opened on first use: Fabric is not loaded by a run that needs no host."""

    def __init__(self, specs: Mapping[str, HostSpec], clock: Clock) -> None:
        self._specs = specs
        self._clock = clock
        self._open: dict[str, Host] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Host:
        with self._lock:  # stages are looked at side by side: one connection all the same
            return self._get(name)

    def _get(self, name: str) -> Host:
        if name not in self._open:
            from pipeline.host.ssh import SshHost

            spec = self._specs[name]
            self._open[name] = SshHost(
                name,
                address=spec.address,
                port=spec.port,
                user=spec.user,
                identity_file=spec.identity_file,
                known_hosts=spec.known_hosts,
                state=spec.state,
                clock=self._clock,
            )
        return self._open[name]

    def __contains__(self, name: object) -> bool:
        return name in self._specs

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def close(self) -> None:
        for host in self._open.values():
            host.close()
        self._open.clear()
