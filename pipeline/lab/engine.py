"""BuildKit on the build host and Docker on the cluster's node: both with folders, sockets and control groups of the lab's own.

Docker's bridge, addresses and the one rule that lets its containers out are in the node's network and end with it.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from pipeline.lab import cgroups, local
from pipeline.lab.layout import Lab, write
from pipeline.lab.process import Service

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.lab.machine import Machine

BRIDGE, BRIDGED = "172.31.211.1/24", "172.31.211.0/24"  # on the node only

BUILDKIT = """root = "{home}"
[grpc]
  address = ["unix://{socket}"]
[worker.oci]
  platforms = ["linux/amd64", "linux/arm64"]
  networkMode = "host"
  defaultCgroupParent = "{cgroup}"
  gc = true
  reservedSpace = "1GB"
[worker.containerd]
  enabled = false
[registry."docker.io"]
  mirrors = ["{hub}"]
"""
PLAIN = '[registry."{0}"]\n  http = true\n'


def buildkit_socket(lab: Lab) -> Path:
    """Where BuildKit listens; only root may connect."""
    return lab.state / "buildkit" / "buildkitd.sock"


def docker_socket(lab: Lab) -> Path:
    """Where Docker listens; only root may connect."""
    return lab.state / "docker" / "docker.sock"


def cgroup(lab: Lab) -> str:
    """The control group above all that these two run."""
    return cgroups.OWN.format(lab.id)


def buildkitd(lab: Lab, machine: Machine) -> Service:
    """BuildKit's daemon."""
    return Service(machine, "buildkitd", (lab.bin("buildkitd"), "--config", f"{lab.state}/etc/buildkitd.toml"))


def dockerd(lab: Lab, machine: Machine) -> Service:
    """Docker's daemon. Its own iptables rules would forbid the node to forward for pods, so it makes none."""
    return Service(machine, "dockerd", ("dockerd", "--config-file", f"{lab.state}/etc/docker.json"))


def start_buildkit(lab: Lab, machine: Machine) -> None:
    """Start BuildKit; `docker.io` is the lab's hub to it. Raises PipelineError."""
    socket = buildkit_socket(lab)
    socket.parent.mkdir(mode=0o700, exist_ok=True)
    text = BUILDKIT.format(home=lab.state / "buildkit", socket=socket, cgroup=cgroup(lab), hub=lab.hub_address)
    write(lab.state / "etc" / "buildkitd.toml", text + "".join(PLAIN.format(address) for address in _plain(lab)))
    service = buildkitd(lab, machine)
    service.start()
    service.until(lambda: buildkit_answers(lab), 30)


def start_docker(lab: Lab, machine: Machine) -> None:
    """Start Docker on the node. Raises PipelineError."""
    socket = docker_socket(lab)
    socket.parent.mkdir(mode=0o700, exist_ok=True)
    config = {
        "hosts": [f"unix://{socket}"], "data-root": f"{lab.state}/docker/root", "exec-root": "/run/docker", "pidfile": "/run/docker.pid",
        "bip": BRIDGE, "iptables": False, "ip6tables": False, "cgroup-parent": f"/{cgroup(lab)}", "storage-driver": "overlay2",
        "group": "root", "insecure-registries": _plain(lab), "registry-mirrors": [f"http://{lab.hub_address}"], "log-level": "warn",
    }  # fmt: skip
    write(lab.state / "etc" / "docker.json", json.dumps(config))
    rule = ["POSTROUTING", "-s", BRIDGED, "!", "-d", BRIDGED, "-j", "MASQUERADE"]
    if subprocess.run(machine.argv(["iptables", "-t", "nat", "-C", *rule]), capture_output=True, check=False).returncode:
        machine.run(["iptables", "-t", "nat", "-A", *rule])
    service = dockerd(lab, machine)
    service.start()
    service.until(lambda: docker_answers(lab), 60)


def buildkit_answers(lab: Lab) -> str:
    """ "" if BuildKit accepts connections, else what happened."""
    return _connects(buildkit_socket(lab))


def docker_answers(lab: Lab) -> str:
    """ "" if Docker answers, else what happened."""
    done = local.run("docker", "--host", f"unix://{docker_socket(lab)}", "version", "--format", "{{.Server.Version}}")
    return "" if done.returncode == 0 else done.stderr.strip()


def _connects(path: Path) -> str:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        try:
            peer.connect(str(path))
        except OSError as error:
            return f"{path}: {error.strerror or error}"
    return ""


def _plain(lab: Lab) -> list[str]:
    """The registries that speak plain HTTP."""
    return [lab.registry_address, lab.ghcr_address, lab.hub_address]
