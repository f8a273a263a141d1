"""The site file: where the blueprint's nodes are in this lab, in the form the plan reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.lab import engine, hub
from pipeline.lab.layout import APP_OWNER, INGRESS, NODE, NODE_SSH, Lab

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet


def site(lab: Lab, parts: AbstractSet[str], ca: str = "") -> dict[str, Any]:
    """The site of a lab that runs `parts`; `ca` is the cluster's identity. Secrets are named by file, never written in."""
    state = str(lab.state)
    login = {"identity_file": f"{state}/client_key", "known_hosts": f"{state}/known_hosts"}
    hosts: dict[str, Any] = {}
    result: dict[str, Any] = {"hosts": hosts}
    if "host" in parts:
        hosts["haskelseed"] = {"address": lab.host, "port": lab.ssh, "user": "root", **login, "state": f"{state}/host"}
    if "registry" in parts:
        owner = f"ssh://git@{lab.host}:{lab.git}/{APP_OWNER}"
        result["remotes"] = {
            "coulombcore": {"url": f"{owner}/{{app}}.git", **login},
            "gitops": {"url": f"{owner}/{{app}}-gitops.git", **login},
        }
        result["registries"] = {
            "coulombcore": {
                "address": lab.registry_address, "scheme": "http", "realm": "own",
                "username": APP_OWNER, "password": f"file:{state}/gitea-password",
            }
        }  # fmt: skip
    if "cluster" in parts:
        hosts[NODE] = {"address": lab.address, "port": NODE_SSH, "user": "root", **login, "state": f"{state}/node"}
        socket = f"{state}/containerd/containerd.sock"
        result["clusters"] = {
            NODE: {
                "kubeconfig": f"{state}/kubeconfig", "context": "lab", "identity": ca,
                "ingress": f"http://{lab.address}:{INGRESS}", "node": NODE,
                "crictl": [lab.bin("crictl"), "--runtime-endpoint", f"unix://{socket}"],
                "ctr": ["ctr", "-a", socket, "-n", "k8s.io"],
            }
        }  # fmt: skip
        result["tools"] = {"helm": lab.bin("helm"), "kubectl": lab.bin("kubectl")}
    if "hub" in parts:
        for face in hub.SERVICES:
            result.setdefault("registries", {})[face] = {
                "address": lab.ghcr_address if face == "ghcr" else lab.hub_address, "scheme": "http",
                "realm": "follow" if face == "ghcr" else hub.realm(lab, face),
                "username": "lab", "password": f"file:{state}/{hub.password_file('lab')}",
            }  # fmt: skip
    if "docker" in parts:
        result.setdefault("tools", {})["buildx"] = lab.bin("buildx")
        result["builders"] = {"lab": {"address": f"unix://{engine.buildkit_socket(lab)}", "platforms": ["linux/amd64", "linux/arm64"]}}
        result["dockers"] = {NODE: {"address": f"unix://{engine.docker_socket(lab)}", "host": lab.address}}
    if "kubecfg" in parts:
        result.setdefault("tools", {})["kubecfg"] = lab.bin("kubecfg")
    values = {"session_secret": f"file:{state}/session-secret"}
    if "database" in parts:
        values["database_url"] = f"file:{state}/database-url"
    result["values"] = values
    return result
