"""System B on the lab, by `inv` alone: two platforms, a chart in the registry, the whole checklist; pinned and by main-latest."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.tools import named
from tests.real.systems import System, system

pytestmark = pytest.mark.real
SAMPLE = "pipeline/lab/samples/tokenplace"
RELEASE = "tokenplace-relay"
INDEX = "application/vnd.oci.image.index.v1+json"


def own(data: dict[str, Any], name: str) -> None:
    """The lab's overlay under this run's own names."""
    host = f"{name}.lab.test"
    text = json.dumps(data["stages"]).replace("tokenplace.lab.test", host)
    data["stages"] = stages = json.loads(text)
    stages["build"]["images"] = {"tokenplace-relay": {"repository": f"{name}/tokenplace-relay"}}
    stages["deploy"] |= {"namespace": name, "chart": f"oci://ghcr/{name}/charts/tokenplace-relay"}
    stages["deploy"]["values"] |= {"host": host, "drainSeconds": 5, "env": {"TOKENPLACE_RELAY_PUBLIC_URL": f"http://{host}"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, lab_site_file: Path) -> Iterator[System]:
    """The system, released once from its first commit."""
    with system("tokenplace", tmp_path_factory.mktemp("tokenplace"), (SAMPLE,), own) as made:
        made.commit("Start")
        published = made.inv("chart.push")
        assert published.returncode == 0, published.stderr
        first = made.inv("release")
        assert first.returncode == 0, first.stderr
        assert f"http://{made.name}.lab.test" in first.stdout
        yield made


def ask(place: System, path: str = "/healthz", method: str = "GET") -> tuple[int, dict[str, Any]]:
    """What the relay answers through Traefik."""
    return get(str(place.site["clusters"]["railiance01"]["ingress"]).removeprefix("http://"), path, f"{place.name}.lab.test", method)


def get(address: str, path: str, host: str, method: str = "GET") -> tuple[int, dict[str, Any]]:
    """The status, and the answer where it is JSON."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(method, path, headers={"Host": host})
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if body[:1] == b"{" else {}
    finally:
        connection.close()


def revision(place: System) -> int:
    """The newest revision of the Helm release."""
    names = place.kubectl("get", "secret", "--selector", "owner=helm", "--output", "jsonpath={.items[*].metadata.labels.version}").split()
    return max(map(int, names))


def checks(place: System, *words: str) -> dict[str, dict[str, Any]]:
    """The checks of `inv verify` by their names."""
    report = place.json("verify", *words)["records"][0]["artifact"]
    return {check["name"]: check for check in report["checks"]}


def test_a_chart_that_nobody_published_is_told_before_anything_is_built(tmp_path: Path, lab_site_file: Path) -> None:
    with system("tokenplace", tmp_path, (SAMPLE,), own) as made:
        made.commit("Start")
        planned = made.inv("plan")
        assert planned.returncode == 0, planned.stderr
        done = made.inv("build", "push", "deploy")
        assert done.returncode == 2, done.stderr
        for told in (planned.stdout, done.stderr):
            assert f"/{made.name}/charts/tokenplace-relay has no version " in told
            assert "inv chart.push" in told
        with made.registry() as registry:
            assert registry.tags(f"{made.name}/tokenplace-relay") == ()
        assert made.kubectl("get", "namespace", made.name, "--ignore-not-found") == ""


def test_the_image_is_in_the_registry_for_both_platforms_under_the_plans_tags(place: System) -> None:
    short = place.git("rev-parse", "HEAD")[:7]
    with place.registry() as registry:
        repository = f"{place.name}/tokenplace-relay"
        tags = registry.tags(repository)
        assert {"main", "main-latest", f"main-{short}"} <= set(tags)
        assert len({registry.head(repository, tag) for tag in ("main", "main-latest", f"main-{short}")}) == 1
        index = registry.manifest(repository, "main-latest")
        assert index is not None
        found = json.loads(index.body)
    assert found["mediaType"] == INDEX
    platforms = {each["platform"]["architecture"] for each in found["manifests"]} - {"unknown"}
    assert platforms == {"amd64", "arm64"}


def test_verify_goes_through_the_whole_checklist(place: System) -> None:
    found = checks(place)
    assert all(check["passed"] for check in found.values())
    assert {"pods", "objects Pod, Service, Ingress", "GET /healthz", "HEAD /"} <= found.keys()
    health = found["GET /healthz"]["evidence"]
    assert 'status = "ok"' in health
    assert f'publicUrl = "http://{place.name}.lab.test"' in health
    assert "knownServers = 1" in health
    assert ask(place, "/sink", "POST")[0] == 401, "the lab's nodes show a token, and who shows none is refused"
    log = next(check for name, check in found.items() if name.startswith("log"))
    assert "/sink" in log["evidence"]
    assert ask(place)[1]["commit"] == place.git("rev-parse", "HEAD")


def test_what_is_released_is_not_released_again(place: System) -> None:
    before = revision(place)
    records = place.json("build", "deploy")["records"]
    assert [record["state"] for record in records if record["stage"] != "verify"] == ["found"] * len(records)
    assert revision(place) == before


def test_a_push_moves_main_latest_and_no_request_is_lost(place: System) -> None:
    """The old pod drains: /healthz says so at the pod while Traefik still sends it what it sends, until it is told otherwise."""
    old = place.git("rev-parse", "HEAD")
    commit = place.change(f"{SAMPLE}/index.html", "Compute nodes register here.", "Compute nodes come and go here.")
    codes: list[int] = []
    lost: list[str] = []
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            try:
                codes.append(ask(place, "/")[0])
            except OSError as error:
                lost.append(str(error))
            time.sleep(0.02)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for each in threads:
        each.start()
    try:
        out = place.inv("release")
    finally:
        time.sleep(1)
        done.set()
        for each in threads:
            each.join(30)
    assert out.returncode == 0, out.stderr
    assert len(codes) > 20
    assert (set(codes), lost) == ({200}, [])
    assert ask(place)[1]["commit"] == commit != old
    with place.registry() as registry:
        repository = f"{place.name}/tokenplace-relay"
        assert registry.head(repository, "main-latest") == registry.head(repository, f"main-{commit[:7]}")
        assert registry.head(repository, f"main-{old[:7]}") not in (None, registry.head(repository, "main-latest"))


@contextlib.contextmanager
def forwarded(place: System, target: str, port: int) -> Iterator[str]:
    """kubectl's port-forward; the address here that leads to the pod."""
    cluster = place.site["clusters"]["railiance01"]
    argv = [place.site["tools"]["kubectl"], "--kubeconfig", cluster["kubeconfig"], "--namespace", place.name]
    with subprocess.Popen(
        [*argv, "port-forward", target, f":{port}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        try:
            said = process.stdout.readline()
            assert said.startswith("Forwarding from 127.0.0.1:"), said
            yield said.split()[2]
        finally:
            process.terminate()


def test_a_relay_that_is_asked_to_end_says_that_it_drains_and_still_serves(place: System) -> None:
    listed = json.loads(place.kubectl("get", "pods", "--selector", "app.kubernetes.io/component=relay", "--output", "json"))["items"]
    pod = next("pod/" + each["metadata"]["name"] for each in listed if "deletionTimestamp" not in each["metadata"])
    with forwarded(place, pod, 5010) as address:
        assert get(address, "/healthz", address)[0] == 200
        place.kubectl("delete", pod, "--wait=false")
        deadline = time.monotonic() + 30  # until the kubelet has come to it
        while (seen := get(address, "/healthz", address))[0] == 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (seen[0], seen[1]["status"]) == (503, "draining")
        assert get(address, "/", address)[0] == 200, "it still serves what it is asked"
    place.kubectl("rollout", "status", f"deployment/{RELEASE}", "--timeout", "60s")
    assert all(check["passed"] for check in checks(place).values())


@pytest.fixture
def tagged(place: System) -> System:
    """Beside `lab` an environment `promote`, which takes what was built by its tag, as staging does."""
    lab = yaml.safe_load((place.root / "config/tokenplace.lab.yml").read_text())
    staging = yaml.safe_load((place.root / "config/tokenplace.staging.yml").read_text())
    lab["stages"]["build"] = staging["stages"]["build"] | {"repository": f"{place.name}/tokenplace-relay"}
    (place.root / "config/tokenplace.promote.yml").write_text(yaml.safe_dump(lab, sort_keys=False))
    return place


def pin(place: System, tag: str) -> None:
    place.overlay("promote", lambda data: data["stages"]["build"].update(tag=tag))


def test_what_main_latest_stands_for_is_deployed_then_what_is_pinned(tagged: System) -> None:
    place = tagged
    first = place.git("rev-list", "--max-parents=0", "HEAD")[:7]
    with place.registry() as registry:
        repository = f"{place.name}/tokenplace-relay"
        tagged_so = [registry.head(repository, tag) for tag in ("main-latest", f"main-{first}")]
        latest, pinned = (named.image_of(registry, repository, each or "") for each in tagged_so)
    assert place.json("deploy", "--env", "promote")["records"][-1]["artifact"]["images"][0]["digest"] == latest
    pin(place, f"main-{first}")
    assert place.json("deploy", "--env", "promote")["records"][-1]["artifact"]["images"][0]["digest"] == pinned
    images = place.kubectl("get", "deployments", "--output", "jsonpath={.items[*].spec.template.spec.containers[*].image}").split()
    assert {image.rpartition("@")[2] for image in images} == {pinned}
    assert len(images) == 2, "the relay and the compute node"


def test_a_tag_that_nobody_built_changes_nothing(tagged: System) -> None:
    place, before = tagged, revision(tagged)
    pin(place, "main-0000000")
    out = place.inv("deploy", "--env", "promote")
    assert out.returncode == 2
    assert "has no tag main-0000000" in out.stderr
    assert "Traceback" not in out.stderr
    assert revision(place) == before


def test_a_chart_that_does_not_render_changes_nothing(place: System) -> None:
    before = revision(place)
    chart = f"{SAMPLE}/chart"
    place.change(f"{chart}/templates/service.yaml", ".Values.service.port", ".Values.service.prot.number")

    def from_folder(data: dict[str, Any]) -> None:
        data["stages"]["deploy"] |= {"chart": chart, "source": None}

    place.overlay("lab", from_folder)
    out = place.inv("deploy")
    assert out.returncode == 2, out.stderr
    assert "service.yaml" in out.stderr
    assert "Traceback" not in out.stderr
    assert revision(place) == before
    place.change(f"{chart}/templates/service.yaml", ".Values.service.prot.number", ".Values.service.port")


def test_a_port_that_is_not_mapped_is_told_by_verify(place: System) -> None:
    def forward(data: dict[str, Any]) -> None:
        data["stages"]["verify"]["deadline"] = 5
        data["stages"]["verify"]["checks"] += [{"path": "/healthz", "through": "port-forward:service/tokenplace-relay:5011"}]

    place.overlay("lab", forward)
    out = place.inv("verify")
    assert out.returncode in (2, 18), out.stderr
    assert "5011" in out.stderr
    assert "5010" in out.stderr, "the ports that there are"
    assert "Traceback" not in out.stderr
