"""One cable between the workstation and the cluster's node; everything else of the network lives and dies inside the node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.lab import local
from pipeline.lab.keys import SERVICE_NETWORK

if TYPE_CHECKING:
    from pipeline.lab.layout import Lab
    from pipeline.lab.machine import Machine


def connect(lab: Lab, node: Machine) -> None:
    """Lay the cable (a veth pair) where it does not lie yet, give both ends their addresses. Raises PipelineError.

    The node has no default route: what runs there reaches the lab and nothing else.
    """
    if not connected(lab):
        _ip("link", "add", lab.interface, "type", "veth", "peer", "name", "eth0", "netns", str(node.pid))
        _ip("addr", "add", f"{lab.host}/30", "dev", lab.interface)
        _ip("link", "set", lab.interface, "up")
        node.run(["ip", "link", "set", "lo", "up"])
        node.run(["ip", "addr", "add", f"{lab.address}/30", "dev", "eth0"])
        node.run(["ip", "link", "set", "eth0", "up"])
        node.run(["ip", "route", "add", SERVICE_NETWORK, "dev", "eth0", "src", lab.address])  # a route for kube-proxy to rewrite
    node.run(["tee", "/proc/sys/net/ipv4/icmp_ratelimit"], stdin="0")  # a lookup is refused at once, each of them, not the first six


def connected(lab: Lab) -> bool:
    """Whether the workstation's end has its address."""
    done = local.run("ip", "-4", "addr", "show", "dev", lab.interface)
    return f"inet {lab.host}/" in done.stdout


def disconnect(lab: Lab) -> None:
    """Take the cable away, should it have outlived the node."""
    if Path(f"/sys/class/net/{lab.interface}").exists():
        local.run("ip", "link", "del", lab.interface)


def _ip(*words: str) -> None:
    done = local.run("ip", *words)
    if done.returncode:
        raise PipelineError("the lab's network could not be made", cause=f"ip {' '.join(words)}: {done.stderr.strip()}")
