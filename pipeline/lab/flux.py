"""Flux's controllers beside the cluster: what lies in a Git repository is applied, charts are released, images are looked up."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.lab import kubeapi
from pipeline.lab.layout import Lab
from pipeline.lab.process import Service, answers_http

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.lab.machine import Machine

NAMESPACE = "flux-system"
HEALTH = {"source-controller": 9441, "kustomize-controller": 9442, "helm-controller": 9443, "image-reflector-controller": 9444}
ARTIFACTS = 9790  # where the source controller hands out what it fetched
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
VERSIONS = (*(f"{group}.toolkit.fluxcd.io/v1" for group in ("source", "kustomize", "image")), "helm.toolkit.fluxcd.io/v2")
QUICK = ("--min-retry-delay=250ms", "--max-retry-delay=5s")  # by default they wait up to a quarter of an hour


def crds(lab: Lab) -> Path:
    """The folder with the definitions of Flux's objects, one YAML file each; it is there once the part `flux` was started."""
    return lab.state / "flux" / "crds"


def services(lab: Lab, machine: Machine) -> list[Service]:
    """The controllers."""
    home = lab.state / "flux"
    own = {
        "source-controller": (
            f"--storage-path={home}/artifacts", *(f"--storage-{kind}={lab.address}:{ARTIFACTS}" for kind in ("addr", "adv-addr")),
        ),
        "image-reflector-controller": (f"--storage-path={home}/tags", f"--storage-value-log-file-size={1 << 24}"),
    }  # fmt: skip
    env = {"KUBECONFIG": f"{lab.state}/pki/admin.kubeconfig", "RUNTIME_NAMESPACE": NAMESPACE, "GOMEMLIMIT": "192MiB"}
    return [
        Service(
            machine, name,
            (
                lab.bin(name), f"--health-addr={lab.address}:{port}", "--metrics-addr=0", "--enable-leader-election=false",
                "--watch-all-namespaces=true", "--requeue-dependency=2s", "--log-encoding=json", *QUICK, *own.get(name, ()),
            ),
            env=env,
        )
        for name, port in HEALTH.items()
    ]  # fmt: skip


def start(lab: Lab, machine: Machine, program: Path) -> None:
    """Define Flux's objects and start the controllers, from where they were built to. Raises PipelineError."""
    home, made = lab.state / "flux", lab.state / "run" / "flux-resources"
    for folder in ("artifacts", "tags"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    if not made.exists():
        shutil.copytree(program / "crds", crds(lab), dirs_exist_ok=True)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda file: kubeapi.create(lab, DEFINITIONS, file.read_text()), sorted(crds(lab).glob("*.yaml"))))
        kubeapi.create(lab, "/api/v1/namespaces", f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}")
        made.touch()
    controllers = services(lab, machine)
    missing, deadline = defined(lab), time.monotonic() + 30
    while missing:  # a controller that starts before its kinds are served looks for them again after 10 s only
        if time.monotonic() > deadline:
            raise PipelineError("the lab's cluster does not serve Flux's objects", cause=missing, log=str(lab.log("kube-apiserver")))
        time.sleep(0.05)
        missing = defined(lab)
    for controller in controllers:
        controller.start()
    for controller in controllers:
        controller.until(partial(healthy, lab, controller.name), 60)


def healthy(lab: Lab, name: str) -> str:
    """ "" if the controller of that name is ready, else what happened."""
    return answers_http(f"http://{lab.address}:{HEALTH[name]}/readyz")


def defined(lab: Lab) -> str:
    """ "" if the API server serves every kind of Flux's, else which it does not."""
    known = [file.stem.rpartition("_") for file in crds(lab).glob("*.yaml")]  # GROUP_PLURAL
    missing = []
    for version in VERSIONS:
        wanted = {plural for group, _, plural in known if version.startswith(group)}
        missing += sorted(f"{plural}.{version}" for plural in wanted - _served(lab, version))
    return ", ".join(missing)


def _served(lab: Lab, version: str) -> set[str]:
    try:
        status, text = kubeapi.ask(lab, "GET", f"/apis/{version}")
    except OSError:
        return set()
    return {kind["name"] for kind in json.loads(text)["resources"]} if status == 200 else set()
