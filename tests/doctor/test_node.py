"""The node's own view: mirror entries in each of the places they live, the realm, the runtime."""

from __future__ import annotations

import base64
import socket
import subprocess
import time
from pathlib import Path

import pytest

from pipeline.doctor import node
from pipeline.doctor.build_host import script
from pipeline.doctor.node import Seen, mirror, read, realm, runtime, way
from pipeline.doctor.registry import Realm
from pipeline.errors import Transient
from pipeline.host import Output
from pipeline.stage import Cluster, Registry
from pipeline.testing import FakeHost
from pipeline.testing.registry import FakeRegistry

from .parts import SHELLS, by_name, program, site

REGISTRY = Registry("10.0.0.1:32166", "http", "own")
HOSTS = 'server = "http://10.0.0.1:32166"\n[host."http://10.0.0.1:32166"]\n  capabilities = ["pull", "resolve"]\n'
MIRRORS = 'mirrors:\n  "10.0.0.1:32166":\n    endpoint:\n      - "http://10.0.0.1:32166"\n'
BROKEN = Realm("http://gitea.coulomb.social/v2/token")


def seen(facts: dict[str, str] | None = None, *, registries: str = "", hosts: str = "", named: tuple[str, ...] = ()) -> Seen:
    return Seen(
        facts or {},
        (),
        (("/etc/rancher/k3s/registries.yaml", registries),) if registries else (),
        (("/etc/containerd/certs.d/10.0.0.1:32166/hosts.toml", hosts),) if hosts else (),
        named,
    )


@pytest.fixture
def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def look(shell: tuple[str, ...], *words: str) -> Seen:
    done = subprocess.run([*shell, "-c", script("node"), "look", *words], capture_output=True, check=False)
    assert done.stderr == b""
    return read(done.stdout.decode())


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_connects_and_asks_the_runtime(shell: tuple[str, ...], tmp_path: Path, listener: socket.socket) -> None:
    crictl = program(tmp_path, "crictl", 'echo "E1120 noise" >&2; echo "rpc error: desc = no runtime" >&2; exit 1')
    with listener:
        open_, before = f"127.0.0.1:{listener.getsockname()[1]}", time.time()
        found = look(shell, open_, "localhost:1", str(crictl), "--any")
    assert found.facts["registry"] == "answers"
    assert found.facts["realm"] == "silent"
    assert found.facts["resolved"] in ("127.0.0.1", "::1")
    assert found.facts["crictl"] == "1"
    assert found.said == ("E1120 noise", "rpc error: desc = no runtime")
    assert int(before) <= int(found.facts["now"]) <= time.time()


def test_the_script_without_a_registry_asks_the_runtime_alone(tmp_path: Path) -> None:
    found = look(("sh",), "-", "-", str(program(tmp_path, "crictl", "echo IMAGE")))
    assert found.facts["crictl"] == "0"
    assert "registry" not in found.facts
    assert "realm" not in found.facts


def test_a_name_that_does_not_resolve_has_no_address(tmp_path: Path) -> None:
    found = look(("sh",), "127.0.0.1:1", "nowhere.invalid:80", str(program(tmp_path, "crictl", "")))
    assert found.facts["resolved"] == ""
    assert found.facts["realm"] == "silent"


def test_passwords_of_registries_yaml_stay_on_the_node(tmp_path: Path) -> None:
    """The part of the script that reads the file, run on one."""
    text = MIRRORS + 'configs:\n  "10.0.0.1:32166":\n    auth:\n      username: anna\n      password: "s3cret, really"\n'
    text += "  other: {auth: {username: bob, password: s3cret2, identity_token: s3cret3}}\n  third:\n    auth: {auth: s3cret4}\n"
    (tmp_path / "registries.yaml").write_text(text)
    body = script("node")
    function = body[body.index("whole() {") : body.index("for file in /etc/rancher")]
    done = subprocess.run(
        ["sh", "-c", f'{function}\nwhole registries "$1"', "x", str(tmp_path / "registries.yaml")], capture_output=True, check=True
    )
    ((_, kept),) = read(done.stdout.decode()).registries
    assert "s3cret" not in kept
    assert mirror("node", REGISTRY, seen(registries=kept)).status == "ok"


@pytest.mark.parametrize(
    ("there", "status"),
    [
        (seen(hosts=HOSTS), "ok"),
        (seen(registries=MIRRORS), "ok"),
        (seen(named=("named /etc/containerd/config.toml",)), "ok"),
        (seen({"folder": "/var/lib/rancher/k3s/agent/etc/containerd/certs.d"}, registries=MIRRORS), "warn"),
        (seen(), "fail"),
        (seen(hosts=HOSTS.replace("http:", "https:")), "fail"),
        (seen(hosts="not toml ["), "fail"),
        (seen(registries="mirrors: {docker.io: {endpoint: [http://10.0.0.1:32166]}}"), "fail"),
        (seen(registries="- ["), "fail"),
        (seen({"closed": "/etc/rancher/k3s/registries.yaml"}), "unknown"),
    ],
)
def test_a_registry_without_tls_needs_an_entry_on_the_node(there: Seen, status: str) -> None:
    verdict = mirror("node", REGISTRY, there)
    assert verdict.status == status
    if status == "fail":
        assert verdict.code == 2
        assert 'endpoint:\n        - "http://10.0.0.1:32166"' in verdict.mend


def test_a_registry_with_tls_needs_none() -> None:
    assert mirror("node", Registry("registry.example:443"), seen()).status == "ok"


def test_a_realm_that_does_not_answer_the_node_is_named_with_its_mend() -> None:
    silent = realm("node", REGISTRY, BROKEN, seen({"resolved": "10.0.0.9", "realm": "silent"}))
    assert (silent.status, silent.code) == ("fail", 2)
    assert "gitea.coulomb.social:80" in silent.evidence
    assert "10.0.0.1 gitea.coulomb.social" in silent.mend
    nameless = realm("node", REGISTRY, BROKEN, seen({"resolved": "", "realm": "silent"}))
    assert "has no address there" in nameless.evidence
    assert realm("node", REGISTRY, BROKEN, seen({"resolved": "127.0.0.1", "realm": "answers"})).status == "ok"
    assert realm("node", REGISTRY, Realm("http://10.0.0.1:32166/v2/token"), seen()).status == "ok"
    assert realm("node", REGISTRY, None, seen()).status == "unknown"


def test_a_runtime_that_is_not_there_is_a_matter_of_the_site_file() -> None:
    absent = runtime("node", "node", Seen({"crictl": "127"}, ("sh: k3s: not found",), (), (), ()))
    assert (absent.status, absent.code) == ("fail", 2)
    assert "correct `crictl`" in absent.mend
    assert runtime("node", "node", seen({"crictl": "0"})).status == "ok"


def test_a_registry_that_does_not_answer_the_node_may_come_back() -> None:
    assert way("node", "node", REGISTRY, seen({"registry": "silent"})).code == 10
    assert way("node", "node", REGISTRY, seen({"registry": "untried"})).status == "unknown"


def test_a_cluster_without_a_node_says_so(tmp_path: Path) -> None:
    with site(tmp_path, clusters={"k3s": Cluster("kubeconfig")}) as there:
        (verdict,) = node.look("k3s", [], there)
    assert verdict.status == "unknown"
    assert "by a pod" in verdict.evidence


def test_the_node_is_asked_once_for_each_registry_and_only_for_a_realm_that_is_elsewhere(tmp_path: Path) -> None:
    packed = base64.b64encode(HOSTS.encode()).decode()
    answer = (
        f"now {int(time.time())}\nsystem Linux x86_64\ndisk 99999999 /var/lib\ncrictl 0\nregistry answers\nhosts /c/hosts.toml {packed}\n"
    )
    host = FakeHost("n1").on(("sh",), Output(0, answer.encode()))
    with FakeRegistry() as fake:
        registries = {"lab": Registry(fake.address, "http", "own")}
        with site(tmp_path, hosts={"n1": host}, registries=registries, clusters={"k3s": Cluster("x", node="n1")}) as there:
            found = by_name(list(node.look("k3s", ["lab"], there)))
    assert host.calls[0].argv[4:7] == (fake.address, "-", "k3s")
    assert host.calls[0].secret
    assert found["realm"].status == "ok"
    assert found["mirror"].status == "fail"  # the entry is for another registry


def test_a_node_that_cannot_be_reached_raises_what_it_says(tmp_path: Path) -> None:
    host = FakeHost("n1").on(("sh",), Transient("no route"))
    with site(tmp_path, hosts={"n1": host}, clusters={"k3s": Cluster("x", node="n1")}) as there, pytest.raises(Transient):
        list(node.look("k3s", [], there))
