"""The lab's registries with tokens, its BuildKit and its Docker: they refuse as those they stand for, and go without a trace."""

from __future__ import annotations

import base64
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import lab
from pipeline.lab import base, cgroups, engine, hub, layout
from pipeline.lab.layout import Lab
from tests.real.test_lab import outside, rules, traces

pytestmark = pytest.mark.real
PULL_AND_PUSH = "repository:{}:pull,push"


@pytest.fixture
def known(lab_site_file: Path) -> Lab:
    """The lab, with both parts. A test that needs them fails where they are not there."""
    found = layout.read(lab_site_file.resolve().parent)
    if found is None or "hub" not in (found.state / "parts").read_text().split():
        pytest.fail("these tests need the lab's hub and docker: inv lab.up --with docker,hub", pytrace=False)
    return found


def ask(
    url: str, user: str = "", password: str = "", *, token: str = "", method: str = "GET", body: bytes | None = None
) -> tuple[int, Any]:
    """Status and JSON of the answer."""
    request = urllib.request.Request(url, method=method, data=body, headers={"Accept": base.INDEX})  # noqa: S310  # the lab's own
    if user:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            text, status = answer.read(), answer.status
    except urllib.error.HTTPError as error:
        text, status = error.read(), error.code
    return status, json.loads(text) if text.startswith(b"{") else text


def token_for(known: Lab, face: str, user: str, scope: str) -> tuple[int, Any]:
    password = (known.state / hub.password_file(user)).read_text() if user in hub.ACCOUNTS else "wrong"
    return ask(f"{hub.realm(known, face)}?service={hub.SERVICES[face]}&scope={scope}", user, password)


@pytest.mark.parametrize("face", ["ghcr", "hub"])
def test_each_names_its_realm_and_the_realm_answers(known: Lab, face: str) -> None:
    address = known.ghcr_address if face == "ghcr" else known.hub_address
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{address}/v2/", timeout=5)
    with caught.value:
        assert caught.value.headers["WWW-Authenticate"] == f'Bearer realm="{hub.realm(known, face)}",service="{hub.SERVICES[face]}"'
    assert (hub.realm(known, face) == f"http://{address}/token") is (face == "ghcr"), "Docker Hub gives its tokens elsewhere"
    status, answer = token_for(known, face, "lab", PULL_AND_PUSH.format("some/thing"))
    assert status == 200
    assert answer["token"] == answer["access_token"]
    assert ask(f"http://{address}/v2/some/thing/tags/list", token=answer["token"])[0] == 404


def test_a_wrong_password_is_refused_as_each_does(known: Lab) -> None:
    assert token_for(known, "ghcr", "nobody", "repository:a/b:pull")[0] == 403
    assert token_for(known, "hub", "nobody", "repository:a/b:pull")[0] == 401


@pytest.mark.parametrize(("face", "status", "code"), [("ghcr", 403, "DENIED"), ("hub", 401, "UNAUTHORIZED")])
def test_a_token_that_lacks_the_scope_is_refused_as_each_does(known: Lab, face: str, status: int, code: str) -> None:
    address = known.ghcr_address if face == "ghcr" else known.hub_address
    _, answer = token_for(known, face, "reader", PULL_AND_PUSH.format("some/thing"))
    got, said = ask(f"http://{address}/v2/some/thing/blobs/uploads/", token=answer["token"], method="POST", body=b"")
    assert (got, said["errors"][0]["code"]) == (status, code)


def test_a_token_for_one_repository_opens_no_other(known: Lab) -> None:
    _, answer = token_for(known, "hub", "lab", "repository:one/thing:pull")
    assert ask(f"http://{known.hub_address}/v2/other/thing/tags/list", token=answer["token"])[0] == 401


def test_whoever_has_no_name_may_pull_what_is_not_private(known: Lab) -> None:
    realm = f"{hub.realm(known, 'hub')}?service={hub.SERVICES['hub']}&scope=repository:"
    public, private = (ask(f"{realm}{name}:pull")[1]["token"] for name in (base.NAME, "private/thing"))
    status, index = ask(f"http://{known.hub_address}/v2/{base.NAME}/manifests/{base.TAG}", token=public)
    assert status == 200
    assert {entry["platform"]["architecture"] for entry in index["manifests"]} == set(base.ARCHITECTURES)
    assert ask(f"http://{known.hub_address}/v2/private/thing/tags/list", token=private)[0] == 401


def test_helm_keeps_a_chart_in_it(known: Lab, tmp_path: Path) -> None:
    (tmp_path / "chart").mkdir()
    (tmp_path / "chart/Chart.yaml").write_text("apiVersion: v2\nname: tiny\nversion: 1.0.0\n")
    login = base64.b64encode(f"lab:{(known.state / hub.password_file('lab')).read_text()}".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {known.ghcr_address: {"auth": login}}}))
    common = ["--plain-http", "--registry-config", str(tmp_path / "config.json")]

    def helm(*words: str) -> None:
        subprocess.run([known.bin("helm"), *words], cwd=tmp_path, check=True, capture_output=True, text=True)

    helm("package", "chart")
    helm("push", "tiny-1.0.0.tgz", f"oci://{known.ghcr_address}/charts", *common)
    (tmp_path / "tiny-1.0.0.tgz").unlink()
    helm("pull", f"oci://{known.ghcr_address}/charts/tiny", "--version", "1.0.0", *common)
    assert (tmp_path / "tiny-1.0.0.tgz").exists()


def test_the_node_pulls_from_it(known: Lab) -> None:
    crictl = [known.bin("crictl"), "--runtime-endpoint", f"unix://{known.state}/containerd/containerd.sock"]
    done = subprocess.run([*crictl, "pull", f"{known.hub_address}/{base.NAME}:{base.TAG}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_docker_runs_a_container_whose_port_answers_here(known: Lab) -> None:
    name = f"test-{time.monotonic_ns()}"
    docker = ["docker", "--host", f"unix://{engine.docker_socket(known)}"]
    served = ["python:" + base.TAG, "python3", "-m", "http.server", "8000"]
    try:
        subprocess.run([*docker, "run", "--detach", "--name", name, "--publish", "18431:8000", *served], check=True, capture_output=True)
        deadline = time.monotonic() + 20
        while True:
            try:
                assert ask(f"http://{known.address}:18431/")[0] == 200
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
    finally:
        subprocess.run([*docker, "rm", "--force", name], check=False, capture_output=True)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A working copy with a lab of its own, taken down whatever happens."""
    (tmp_path / "copy").mkdir()
    yield tmp_path / "copy"
    lab.down(tmp_path / "copy", say=print)


@pytest.mark.alone
def test_both_parts_come_when_they_are_asked_for_and_leave_nothing(root: Path) -> None:
    rules_before, outside_before = rules(), outside()
    begun = time.monotonic()
    site = yaml.safe_load(lab.up(root, parts=frozenset({"docker", "hub"}), say=print).read_text())
    print(f"up {time.monotonic() - begun:.1f} s")
    found = layout.load(root)
    assert found is not None
    assert set(site["registries"]) == {"ghcr", "hub"}
    assert {item.state for item in lab.status(root)} == {"running"}
    docker = ["docker", "--host", site["dockers"]["railiance01"]["address"]]
    subprocess.run([*docker, "run", "--detach", f"python:{base.TAG}", "sleep", "600"], check=True, capture_output=True)
    (root / "Dockerfile").write_text(f"FROM python:{base.TAG}\nRUN true\n")
    build = [site["tools"]["buildx"], "build", "--builder", "own", "--output", "type=cacheonly", str(root)]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(root), "BUILDX_CONFIG": str(root / "buildx")}
    create = [site["tools"]["buildx"], "create", "--name", "own", "--driver", "remote", site["builders"]["lab"]["address"]]
    subprocess.run(create, check=True, capture_output=True, env=env)
    subprocess.run(build, check=True, capture_output=True, env=env)
    assert cgroups.folders(found)
    lab.down(root, say=print)
    assert traces(found) == []
    assert cgroups.folders(found) == []
    assert [rule for rule in rules() if rule not in rules_before] == []
    assert outside() == outside_before
