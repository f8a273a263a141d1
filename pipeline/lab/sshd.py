"""An SSH server with keys of its own: the door to the nix build host and to the cluster's node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.lab.layout import NODE_SSH, Lab, write
from pipeline.lab.process import Service

if TYPE_CHECKING:
    from pipeline.lab.machine import Machine

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NIX = """# what Debian's nix needs to build as root, without a daemon, without a binary cache
experimental-features = nix-command flakes
build-users-group =
sandbox = false
substituters =
warn-dirty = false
"""


def build_host(lab: Lab, machine: Machine) -> Service:
    """The nix build host's server; `nix`, `git` and `skopeo` are on its PATH and nix needs no flags.

    The store is the machine's own /nix/store: what is built there stays after `down`, the roots that hold it do not.
    """
    for folder in ("host", "host/cache", "host/nix"):
        (lab.state / folder).mkdir(exist_ok=True)
    write(lab.state / "host" / "nix" / "nix.conf", NIX)
    env = {"NIX_CONF_DIR": str(lab.state / "host" / "nix"), "XDG_CACHE_HOME": str(lab.state / "host" / "cache"), "PATH": PATH}
    return _server(lab, machine, "sshd-haskelseed", "haskelseed", lab.host, lab.ssh, env)


def node(lab: Lab, machine: Machine) -> Service:
    """The cluster node's server; `crictl` and `ctr` on its PATH speak to the node's runtime."""
    (lab.state / "node").mkdir(exist_ok=True)
    env = {"PATH": f"{lab.state / 'bin'}:{PATH}", "CONTAINER_RUNTIME_ENDPOINT": f"unix://{lab.state}/containerd/containerd.sock"}
    return _server(lab, machine, "sshd-node", "node", lab.address, NODE_SSH, env)


def _server(lab: Lab, machine: Machine, name: str, key: str, address: str, port: int, env: dict[str, str]) -> Service:
    lines = [
        f"ListenAddress {address}:{port}",
        f"HostKey {lab.state}/etc/{key}_host_key",
        f"AuthorizedKeysFile {lab.state}/client_key.pub",
        "PidFile none",
        "PermitRootLogin prohibit-password",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
        "StrictModes no",  # the key's folder belongs to the lab, and only root can write there
        "UseDNS no",
        "PrintMotd no",
        "MaxSessions 200",
        "MaxStartups 200:30:400",
        "ClientAliveInterval 15",
        "AllowTcpForwarding yes",
        "AllowStreamLocalForwarding yes",
        "Subsystem sftp internal-sftp",
        "SetEnv " + " ".join(f"{variable}={value}" for variable, value in env.items()),
    ]
    config = write(lab.state / "etc" / f"{name}.conf", "".join(line + "\n" for line in lines))
    return Service(machine, name, ("/usr/sbin/sshd", "-D", "-e", "-f", str(config)))
