"""Look at a lab without changing it: which programs run, whether they answer, where their logs are."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError
from pipeline.lab import NodeStatus, dns, engine, flux, gitea, hub, kubeapi, layout, traefik
from pipeline.lab.layout import API, INGRESS, NODE_SSH
from pipeline.lab.machine import recorded
from pipeline.lab.process import answers_ssh, answers_tcp
from pipeline.yamlfile import keys_like

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.lab.layout import Lab


def status(root: Path) -> list[NodeStatus]:
    """See `pipeline.lab.status`."""
    lab = layout.load(root)
    if lab is None:
        return []
    found = []
    for name, (what, address, ask) in _programs(lab).items():
        record = lab.state / "run" / f"{name}.pid"
        if not record.exists():
            continue
        pid = recorded(record)
        state = ("silent" if ask() else "running") if pid else "stopped"
        found.append(NodeStatus(name, what, state, address, pid, str(lab.log(name))))
    return found


def logged(root: Path) -> list[str]:
    """See `pipeline.lab.logged`."""
    return sorted(path.stem for path in (_lab(root).state / "log").glob("*.log"))


def logs(root: Path, node: str) -> Path:
    """See `pipeline.lab.logs`."""
    known = logged(root)
    if node not in known:
        raise ConfigError(f"the lab has no log of {node!r}{keys_like(node, known)}", mend="it has " + ", ".join(known))
    return _lab(root).log(node)


def _lab(root: Path) -> Lab:
    lab = layout.load(root)
    if lab is None:
        raise ConfigError(f"there is no lab for {root}", mend="inv lab.up")
    return lab


def _programs(lab: Lab) -> dict[str, tuple[str, str, Callable[[], str]]]:
    def alive() -> str:
        return ""

    node = lab.address
    return {
        "sshd-haskelseed": ("build host: sshd + nix", f"{lab.host}:{lab.ssh}", lambda: answers_ssh(lab.host, lab.ssh)),
        "gitea": ("git over ssh, OCI registry", f"{lab.host}:{lab.git}, {lab.registry_address}", lambda: gitea.healthy(lab)),
        "postgres": ("shared database", f"{lab.host}:{lab.database}", lambda: answers_tcp(lab.host, lab.database)),
        "sshd-node": ("cluster node: sshd", f"{node}:{NODE_SSH}", lambda: answers_ssh(node, NODE_SSH)),
        "realm": ("the node's way to the token realm", "on the node", alive),
        "etcd": ("the cluster's store", "on the node", alive),
        "kube-apiserver": ("Kubernetes API", f"https://{node}:{API}", lambda: kubeapi.ready(lab)),
        "kube-controller-manager": ("controllers", "on the node", alive),
        "kube-scheduler": ("scheduler", "on the node", alive),
        "containerd": ("container runtime", "on the node", alive),
        "kubelet": ("kubelet", f"{node}:10250", lambda: kubeapi.node_ready(lab)),
        "kube-proxy": ("services", "on the node", alive),
        "hub": ("registries with tokens (ghcr, hub)", f"{lab.ghcr_address}, {lab.hub_address}", lambda: hub.healthy(lab)),
        "registry-ghcr": ("what ghcr stores", "behind hub", alive),
        "registry-hub": ("what hub stores", "behind hub", alive),
        "buildkitd": ("BuildKit", str(engine.buildkit_socket(lab)), lambda: engine.buildkit_answers(lab)),
        "dockerd": ("Docker on the node", str(engine.docker_socket(lab)), lambda: engine.docker_answers(lab)),
        "coredns": ("the cluster's name server", f"{node}:53", lambda: dns.healthy(lab)),
        **{name: ("Flux", f"{node}:{port}", partial(flux.healthy, lab, name)) for name, port in flux.HEALTH.items()},
        "traefik": ("ingress", f"http://{node}:{INGRESS}", lambda: traefik.healthy(lab)),
    }
