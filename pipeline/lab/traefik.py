"""Traefik beside the cluster as its ingress controller: IngressRoute and Ingress, on the node's own address."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pipeline.lab import kubeapi
from pipeline.lab.layout import INGRESS, INGRESS_PING, Lab
from pipeline.lab.process import Service, answers_http

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.lab.machine import Machine

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CLASSES = "/apis/networking.k8s.io/v1/ingressclasses"
CLASS = """apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: traefik}
spec: {controller: traefik.io/ingress-controller}
"""  # as the k3s that it stands for has it


def service(lab: Lab, machine: Machine) -> Service:
    """The proxy."""
    argv = (
        lab.bin("traefik"), f"--entryPoints.web.address={lab.address}:{INGRESS}",
        f"--entryPoints.traefik.address={lab.address}:{INGRESS_PING}", "--ping=true", "--log.level=INFO", "--log.noColor=true",
        "--providers.kubernetescrd=true", "--providers.kubernetescrd.allowCrossNamespace=true", "--providers.kubernetesingress=true",
        f"--providers.kubernetesingress.ingressEndpoint.ip={lab.address}",
        "--providers.providersThrottleDuration=200ms", "--global.checkNewVersion=false", "--global.sendAnonymousUsage=false",
    )  # fmt: skip
    return Service(machine, "traefik", argv, env={"KUBECONFIG": f"{lab.state}/pki/admin.kubeconfig"})


def start(lab: Lab, machine: Machine, program: Path) -> None:
    """Apply the definitions of its resources and the class of its ingresses, and start it from `program`. Raises PipelineError."""
    made = lab.state / "run" / "traefik-resources"
    if not made.exists():
        documents = [text for text in (program / "crds.yml").read_text().split("\n---\n") if text.strip(" -\n")]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda text: kubeapi.create(lab, CRDS, text), documents))
        kubeapi.create(lab, CLASSES, CLASS)
        made.touch()
    proxy = service(lab, machine)
    proxy.start()
    proxy.until(lambda: healthy(lab), 60)


def healthy(lab: Lab) -> str:
    """ "" if Traefik answers, else what happened."""
    return answers_http(f"http://{lab.address}:{INGRESS_PING}/ping")
