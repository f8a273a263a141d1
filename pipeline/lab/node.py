"""The cluster's node: containerd, kubelet, kube-proxy, and the one image they cannot do without."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.lab import kubeapi
from pipeline.lab.keys import POD_NETWORK
from pipeline.lab.layout import NODE, Lab, write
from pipeline.lab.process import Service

if TYPE_CHECKING:
    from pipeline.lab.machine import Machine

PAUSE = "docker.io/lab/pause:1"

# restrict_oom_score_adj: without it runc dies with "can't get final child's PID from pipe: EOF" where root lacks CAP_SYS_RESOURCE
CONTAINERD = """version = 2
root = "{home}/root"
state = "{home}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{home}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{home}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "{pause}"
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{home}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{home}/certs.d"
"""

# where a k3s node has registries.yaml: this registry speaks plain HTTP
REGISTRY = """server = "http://{registry}"
[host."http://{registry}"]
  capabilities = ["pull", "resolve"]
"""

# cgroupsPerQOS and enforceNodeAllocatable off: a kernel may lack controllers they insist on, and pods lie flat (see cgroups.py);
# image garbage collection off: what was imported cannot be pulled again;
# clusterDNS: where no name server runs, the node refuses a lookup at once; nothing at all would bring a MissingClusterDNS event for
# every pod, and an address of the service network a lookup that hangs
KUBELET = """apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failSwapOn: false
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
containerRuntimeEndpoint: unix://{home}/containerd.sock
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {state}/pki/ca.crt}}}}
authorization: {{mode: Webhook}}
tlsCertFile: {state}/pki/kubelet.crt
tlsPrivateKeyFile: {state}/pki/kubelet.key
evictionHard: {{memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}}
imageGCHighThresholdPercent: 100
podLogsDir: {state}/podlogs
volumePluginDir: {state}/kubelet/plugins
resolvConf: {state}/etc/resolv.conf
clusterDNS: ["{address}"]
clusterDomain: cluster.local
serializeImagePulls: false
syncFrequency: 10s
fileCheckFrequency: 60s
shutdownGracePeriod: 0s
"""

PROXY = """apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {{kubeconfig: {state}/pki/proxy.kubeconfig}}
clusterCIDR: {pods}
hostnameOverride: {node}
conntrack: {{maxPerCore: 0}}
iptables: {{minSyncPeriod: 0s}}
"""


def containerd(lab: Lab, machine: Machine) -> Service:
    """The container runtime."""
    return Service(machine, "containerd", ("containerd", "--log-level", "warn", "-c", f"{lab.state}/etc/containerd.toml"))


def kubelet(lab: Lab, machine: Machine) -> Service:
    """The kubelet."""
    argv = (
        lab.bin("kubelab"), "kubelet", f"--config={lab.state}/etc/kubelet.yaml", f"--kubeconfig={lab.state}/pki/kubelet.kubeconfig",
        f"--root-dir={lab.state}/kubelet", f"--cert-dir={lab.state}/kubelet/pki", f"--hostname-override={NODE}", f"--node-ip={lab.address}",
    )  # fmt: skip
    return Service(machine, "kubelet", argv)


def proxy(lab: Lab, machine: Machine) -> Service:
    """kube-proxy: its iptables rules are in the node's network namespace and end with it."""
    return Service(machine, "kube-proxy", (lab.bin("kubelab"), "kube-proxy", f"--config={lab.state}/etc/proxy.yaml"))


def start_runtime(lab: Lab, machine: Machine) -> None:
    """Start containerd and give it the pause image. Raises PipelineError."""
    home = lab.state / "containerd"
    registry = home / "certs.d" / lab.registry_address
    for folder in (registry, home / "cni", lab.state / "podlogs", lab.state / "kubelet" / "plugins"):
        folder.mkdir(parents=True, exist_ok=True)
    write(lab.state / "etc" / "containerd.toml", CONTAINERD.format(home=home, pause=PAUSE))
    write(registry / "hosts.toml", REGISTRY.format(registry=lab.registry_address))
    write(home / "cni" / "10-lab.conflist", json.dumps(_network()))
    service = containerd(lab, machine)
    service.start()
    ctr = ("ctr", "-a", str(home / "containerd.sock"), "-n", "k8s.io")
    service.until(lambda: "" if _succeeds([*ctr, "version"]) else "its socket does not answer", 30)
    if not (home / "pause.tar").exists():
        part = home / "pause.tar.part"
        part.write_bytes(pause_image(Path("/bin/busybox").read_bytes()))
        done = subprocess.run([*ctr, "images", "import", str(part)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise PipelineError("the pause image could not be imported", cause=done.stderr, log=str(service.log))
        part.rename(home / "pause.tar")


def start(lab: Lab, machine: Machine) -> None:
    """Start kubelet and kube-proxy once the API answers, wait until the node is Ready. Raises PipelineError."""
    values = {"home": lab.state / "containerd", "state": lab.state, "pods": POD_NETWORK, "node": NODE, "address": lab.address}
    service, settings = kubelet(lab, machine), lab.state / "etc" / "kubelet.yaml"
    if settings.exists() and settings.read_text() != KUBELET.format(**values):
        service.stop()  # of an older lab; its pods live on
    write(settings, KUBELET.format(**values))
    write(lab.state / "etc" / "proxy.yaml", PROXY.format(**values))
    write(lab.state / "etc" / "resolv.conf", "")
    service.start()
    proxy(lab, machine).start()
    service.until(lambda: kubeapi.node_ready(lab), 90)


def pause_image(busybox: bytes) -> bytes:
    """A docker-archive of one layer: a static busybox that sleeps. The same bytes give the same image."""
    layer = _tar({"bin/sleep": (busybox, 0o755)})
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/bin/sleep", "2147483647"]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        },
        sort_keys=True,
    ).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]).encode()
    return _tar({"manifest.json": (manifest, 0o644), name: (config, 0o644), "layer.tar": (layer, 0o644)})


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (data, mode) in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _network() -> dict[str, object]:
    bridge = {
        "type": "bridge",
        "bridge": "pods0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": POD_NETWORK}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    return {"cniVersion": "0.4.0", "name": "lab", "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]}


def _succeeds(argv: list[str]) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0
