"""Kubernetes' control plane on the lab's node: etcd, apiserver, controller-manager, scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.lab import kubeapi
from pipeline.lab.keys import POD_NETWORK, SERVICE_NETWORK
from pipeline.lab.layout import API, APP_OWNER, Lab
from pipeline.lab.process import Service

if TYPE_CHECKING:
    from pipeline.lab.machine import Machine

ETCD, ETCD_PEER = "127.0.0.1:2379", "127.0.0.1:2380"


def etcd(lab: Lab, machine: Machine) -> Service:
    """The store. Unsafe without fsync where power fails, and the lab is thrown away anyway."""
    options = {
        "name": "lab", "data-dir": f"{lab.state}/etcd", "listen-client-urls": f"http://{ETCD}", "advertise-client-urls": f"http://{ETCD}",
        "listen-peer-urls": f"http://{ETCD_PEER}", "initial-advertise-peer-urls": f"http://{ETCD_PEER}",
        "initial-cluster": f"lab=http://{ETCD_PEER}", "log-level": "warn",
    }  # fmt: skip
    return Service(machine, "etcd", (lab.bin("kubelab"), "etcd", *_flags(options), "--unsafe-no-fsync"))


def apiserver(lab: Lab, machine: Machine) -> Service:
    """The API server, on the node's address, with certificates of the lab's authority."""
    pki = f"{lab.state}/pki"
    options = {
        "etcd-servers": f"http://{ETCD}", "secure-port": str(API), "advertise-address": lab.address,
        "tls-cert-file": f"{pki}/server.crt", "tls-private-key-file": f"{pki}/server.key", "client-ca-file": f"{pki}/ca.crt",
        "kubelet-client-certificate": f"{pki}/admin.crt", "kubelet-client-key": f"{pki}/admin.key",
        "kubelet-certificate-authority": f"{pki}/ca.crt",
        "service-account-key-file": f"{pki}/accounts.key", "service-account-signing-key-file": f"{pki}/accounts.key",
        "service-account-issuer": "https://kubernetes.default.svc", "service-cluster-ip-range": SERVICE_NETWORK,
        "authorization-mode": "Node,RBAC", "allow-privileged": "true", "profiling": "false",
    }  # fmt: skip
    return Service(machine, "kube-apiserver", (lab.bin("kubelab"), "kube-apiserver", *_flags(options)))


def controllers(lab: Lab, machine: Machine) -> Service:
    """The controller manager."""
    pki = f"{lab.state}/pki"
    options = {
        "kubeconfig": f"{pki}/controllers.kubeconfig", "service-account-private-key-file": f"{pki}/accounts.key",
        "use-service-account-credentials": "true", "cluster-cidr": POD_NETWORK, "service-cluster-ip-range": SERVICE_NETWORK,
        "leader-elect": "false", "root-ca-file": f"{pki}/ca.crt", "profiling": "false",
    }  # fmt: skip
    return Service(machine, "kube-controller-manager", (lab.bin("kubelab"), "kube-controller-manager", *_flags(options)))


def scheduler(lab: Lab, machine: Machine) -> Service:
    """The scheduler."""
    options = {"kubeconfig": f"{lab.state}/pki/scheduler.kubeconfig", "leader-elect": "false", "profiling": "false"}
    return Service(machine, "kube-scheduler", (lab.bin("kubelab"), "kube-scheduler", *_flags(options)))


def start(lab: Lab, machine: Machine) -> None:
    """Start the control plane and wait until the API is ready; makes the application's namespace. Raises PipelineError."""
    etcd(lab, machine).start()
    server = apiserver(lab, machine)
    server.start()  # it waits for etcd by itself
    server.until(lambda: kubeapi.ready(lab), 90)
    controllers(lab, machine).start()
    scheduler(lab, machine).start()
    kubeapi.create(lab, "/api/v1/namespaces", f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {APP_OWNER}}}}}")


def _flags(options: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]
