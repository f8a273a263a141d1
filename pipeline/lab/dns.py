"""CoreDNS beside the cluster as its name server: what services and the pods behind them are called, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.lab.layout import Lab, write
from pipeline.lab.process import Service, answers_http

if TYPE_CHECKING:
    from pipeline.lab.machine import Machine

HEALTH = 8091

# ttl: a pod that came back has another address, and whoever asks again is told; what is not of the cluster does not exist
CONFIG = """.:53 {{
    errors
    ready {address}:{health}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {state}/pki/admin.kubeconfig lab
        ttl 1
    }}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def service(lab: Lab, machine: Machine) -> Service:
    """The name server: it has the node's network to itself."""
    return Service(machine, "coredns", (lab.bin("coredns"), "-conf", f"{lab.state}/etc/Corefile"), env={"GOMEMLIMIT": "64MiB"})


def start(lab: Lab, machine: Machine) -> None:
    """Start it and wait until it knows the cluster's services. Raises PipelineError."""
    write(lab.state / "etc" / "Corefile", CONFIG.format(address=lab.address, health=HEALTH, state=lab.state))
    server = service(lab, machine)
    server.start()
    server.until(lambda: healthy(lab), 30)


def healthy(lab: Lab) -> str:
    """ "" if it knows the cluster's services, else what happened."""
    return answers_http(f"http://{lab.address}:{HEALTH}/ready")
