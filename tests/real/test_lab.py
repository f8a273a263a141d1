"""The lab itself: quick twice, side by side, and gone without a trace, also after SIGKILL. Each test has labs of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline import lab
from pipeline.lab import cgroups, kubeapi, layout, node
from pipeline.lab.layout import Lab
from pipeline.lab.machine import machines
from pipeline.lab.process import answers_tcp

pytestmark = [pytest.mark.real, pytest.mark.alone]
SMALL = frozenset({"host", "registry"})
UP = "import sys; from pathlib import Path; from pipeline import lab; lab.up(Path(sys.argv[1]), say=print)"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A working copy with a lab of its own, taken down whatever happens."""
    (tmp_path / "copy").mkdir()
    yield tmp_path / "copy"
    lab.down(tmp_path / "copy", say=print)


def traces(known: Lab) -> list[str]:
    """Everything on this machine that still speaks of the lab."""
    found = [str(path) for path in (known.state, Path(known.root) / ".pipeline") if path.exists()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if str(known.state).encode() in words or f"PIPELINE_LAB={known.id}".encode() in words:
            found.append(f"process {process.name}: {words[:200]!r}")
    for argv in (["ip", "link"], ["ip", "netns"], ["ip", "route"], ["iptables-save"]):
        out = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
        found += [line for line in out.splitlines() if known.interface in line or known.host in line or known.address in line]
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if known.id in line]
    gcroots = Path("/nix/var/nix/gcroots/auto")
    found += [str(link) for link in gcroots.glob("*") if link.is_symlink() and str(known.state) in str(link.readlink())]
    return found


def the(root: Path) -> Lab:
    known = layout.load(root)
    assert known is not None
    return known


def rules() -> list[str]:
    """The workstation's own firewall, without counters and time stamps."""
    argv = ["iptables-save"]
    out = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    return [line for line in out.splitlines() if line.startswith("-A")]


def outside() -> set[str]:
    """Folders that kubelet, containerd and CNI plugins are known to leave things in, as they are on the workstation."""
    fixed = ("/var/lib/kubelet", "/var/lib/cni", "/var/log/pods", "/var/log/containers", "/run/containerd", "/run/netns", "/opt/containerd")
    return {str(path) for folder in fixed for path in [Path(folder), *Path(folder).glob("*")] if path.exists()}


def test_up_twice_then_down(root: Path) -> None:
    rules_before, outside_before = rules(), outside()
    path = lab.up(root, say=print)
    numbers = {item.name: item.pid for item in lab.status(root)}
    assert lab.up(root, say=print) == path
    assert {item.name: item.pid for item in lab.status(root)} == numbers, "the second up starts nothing"
    assert (root / ".pipeline" / "lab" / "site.yml").read_text() == path.read_text()
    assert set(yaml.safe_load(path.read_text())) == {"hosts", "remotes", "registries", "clusters", "tools", "values"}
    states = {item.name: item.state for item in lab.status(root)}
    assert len(states) == 13
    assert set(states.values()) == {"running"}, states
    assert lab.logs(root, "gitea").exists()

    known = the(root)
    _the_realm_is_broken_but_for_the_node(known)
    _run_a_pod(known)
    pods = cgroups.folders(known)
    assert pods, "a pod's sandbox and container have cgroups"

    lab.down(root, say=print)
    assert traces(known) == []
    assert [path for path in pods if path.exists()] == []
    assert [rule for rule in rules() if rule not in rules_before] == []
    assert outside() == outside_before, "unless somebody else started a cluster on this machine meanwhile"
    lab.down(root, say=print)


def _the_realm_is_broken_but_for_the_node(known: Lab) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://{known.registry_address}/v2/", timeout=5)
    with caught.value:
        assert 'realm="http://gitea.coulomb.social/v2/token"' in caught.value.headers["WWW-Authenticate"]
    _, _, kube = machines(known)
    ask = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5", "http://gitea.coulomb.social:80/v2/"]
    assert kube.run(ask) == "401"
    lab.break_realm(known.state)
    assert subprocess.run(kube.argv(ask), capture_output=True, check=False).returncode == 7, "connection refused"
    crictl = [known.bin("crictl"), "--runtime-endpoint", f"unix://{known.state}/containerd/containerd.sock"]
    pull = subprocess.run([*crictl, "pull", f"{known.registry_address}/coulomb/none:1"], capture_output=True, text=True, check=False)
    assert pull.returncode != 0
    assert "gitea.coulomb.social" in pull.stderr
    lab.mend_realm(known.state)
    images = subprocess.run([*crictl, "images", "-o", "json"], capture_output=True, text=True, check=True).stdout
    assert node.PAUSE in images


def _run_a_pod(known: Lab) -> None:
    spec = f"{{containers: [{{name: pause, image: '{node.PAUSE}', imagePullPolicy: Never}}]}}"
    kubeapi.create(known, "/api/v1/namespaces/coulomb/pods", f"{{apiVersion: v1, kind: Pod, metadata: {{name: pause}}, spec: {spec}}}")
    deadline = time.monotonic() + 30
    while '"phase":"Running"' not in kubeapi.ask(known, "GET", "/api/v1/namespaces/coulomb/pods/pause")[1]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    events = kubeapi.ask(known, "GET", "/api/v1/namespaces/coulomb/events")[1]
    assert "pause" in events
    assert "MissingClusterDNS" not in events


def test_two_labs_side_by_side(root: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    try:
        one = yaml.safe_load(lab.up(root, parts=SMALL, say=print).read_text())
        two = yaml.safe_load(lab.up(tmp_path / "other", parts=SMALL, say=print).read_text())
        assert one["registries"]["coulombcore"]["address"] != two["registries"]["coulombcore"]["address"]
        lab.down(tmp_path / "other", say=print)
        assert {item.state for item in lab.status(root)} == {"running"}, "the first one did not notice"
    finally:
        lab.down(tmp_path / "other", say=print)


def test_a_program_that_died_is_started_again(root: Path) -> None:
    lab.up(root, parts=SMALL, say=print)
    known = the(root)
    build, shared, _ = machines(known)
    build.kill()
    states = {item.name: item.state for item in lab.status(root)}
    assert states == {"sshd-haskelseed": "stopped", "gitea": "running"}
    pid = shared.pid
    lab.up(root, parts=SMALL, say=print)
    assert {item.state for item in lab.status(root)} == {"running"}
    assert shared.pid == pid
    _the_number_in_status_is_the_program_itself(root)


def _the_number_in_status_is_the_program_itself(root: Path) -> None:
    """It was that of the nsenter in front of it: with that gone, status said stopped, the registry served on, and up had no remedy."""
    gitea = {item.name: item.pid for item in lab.status(root)}["gitea"]
    assert b"nsenter" not in Path(f"/proc/{gitea}/cmdline").read_bytes()
    os.kill(gitea, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while lab.status(root)[1].state != "stopped" or answers_tcp(the(root).host, the(root).registry) == "":
        assert time.monotonic() < deadline, "what is stopped does not answer"
        time.sleep(0.02)
    lab.up(root, parts=SMALL, say=print)
    assert {item.state for item in lab.status(root)} == {"running"}


@pytest.mark.parametrize("after", [0.3, 2.5, 5.0])
def test_down_after_a_start_that_was_killed(root: Path, after: float) -> None:
    process = subprocess.Popen([sys.executable, "-c", UP, str(root)], cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL)
    time.sleep(after)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    known = layout.load(root)
    lab.down(root, say=print)
    if known is None:  # killed before it had chosen anything
        known = Lab(layout.identity(root), str(root), "10.211.255.252/30", 0, 0, 0, 0)
    assert traces(known) == []
    with socket.socket() as probe, pytest.raises(OSError):
        probe.bind((known.host, 0))  # the address is gone with its interface
