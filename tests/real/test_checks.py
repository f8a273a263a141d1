"""Every kind of check on the lab: the probe application, released once, asked by every way; and what is left behind, which is nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.artifacts import Image, Release, Report, to_json
from pipeline.drivers import driver
from pipeline.errors import ConfigError, VerifyError
from pipeline.events import Event
from pipeline.records import Records
from pipeline.stage import Site
from pipeline.tools.dockerd import Engine
from pipeline.tools.kube import Kube, connect, path
from pipeline.tools.registry import client_of
from pipeline.verify.checks import Checks, make
from pipeline.verify.drain import Drain
from pipeline.verify.expect import Page
from pipeline.verify.git import Git
from pipeline.verify.log import Log
from pipeline.verify.objects import Objects
from pipeline.verify.run import APP, OWNER, Run
from pipeline.verify.tcp import Tcp
from tests.real.app import App, application
from tests.verify.servers import answer, saying, serving

pytestmark = pytest.mark.real
CLUSTER = NODE = "railiance01"
SPACE = "coulomb"
NEVER = 3600.0  # a deadline that pytest's own timeout comes before: what is told has to be told before it


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, lab_site_file: Path) -> Iterator[App]:
    """The probe, released once."""
    with application("checks", tmp_path_factory.mktemp("checks")) as made:
        first = made.inv("release")
        assert first.returncode == 0, first.stderr
        yield made


@pytest.fixture
def site(app: App, events: list[Event], tmp_path: Path) -> Iterator[Site]:
    with dataclasses.replace(app.blueprint.site(events.append), records=Records(tmp_path / "records.db")) as own:
        yield own


@pytest.fixture
def kube(site: Site) -> Kube:
    return connect(site, CLUSTER)


@pytest.fixture
def release(app: App, site: Site) -> Release:
    """What is live, by the deploy driver's own word."""
    stage = next(stage for stage in app.blueprint.plan if stage.verb == "deploy")
    found = driver("deploy", "helm")
    assert found is not None
    assert found.live is not None
    live = found.live(stage.spec, site)
    assert isinstance(live, Release)
    return live


@pytest.fixture
def service(app: App, kube: Kube) -> Iterator[str]:
    """A second Service for the probe's pods: its page, and git's port."""
    name = f"{app.name}-git"
    ports = [{"name": "http", "port": 8088, "targetPort": "http"}, {"name": "git", "port": 9418, "targetPort": 9418}]
    kube.create(
        path("v1", "services", SPACE),
        {"metadata": {"name": name}, "spec": {"selector": {"app.kubernetes.io/instance": app.name}, "ports": ports}},
    )
    yield name
    kube.delete(path("v1", "services", SPACE, name))


def verify(app: App, release: Release, site: Site, *checks: Any, **options: Any) -> Report:
    spec = Checks(**{"cluster": CLUSTER, "host": f"{app.name}.lab.test", "checks": checks, "deadline": 20.0, "pods": False, **options})
    return make(spec, release, site)


def evidence(report: Report) -> str:
    return "\n".join(f"{check.name}: {check.evidence}" for check in report.checks)


def forwards() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("port-forward")]


def test_a_page_through_a_port_forward_that_is_gone_afterwards(app: App, release: Release, site: Site, service: str) -> None:
    way = f"port-forward:service/{service}:http"
    report = verify(app, release, site, Page("/healthz", json={"commit": "{commit}"}, present=("version",), through=way), Tcp(way))
    assert report.checks[0].name == f"GET /healthz through {way}"
    assert release.source.commit in report.checks[0].evidence
    assert report.checks[1].passed
    assert forwards() == []


def test_a_port_that_is_not_mapped_is_told_with_those_that_are(app: App, release: Release, site: Site, service: str) -> None:
    with pytest.raises(ConfigError, match="does not map port 8089; it maps: http 8088, git 9418"):
        verify(app, release, site, Page("/healthz", through=f"port-forward:service/{service}:8089"), deadline=NEVER)


def test_a_port_that_nothing_listens_on_is_told_so(app: App, release: Release, site: Site, service: str) -> None:
    way = f"port-forward:service/{service}:git"
    with pytest.raises(VerifyError) as caught:
        verify(app, release, site, Tcp(way), Git("/repo.git", through=way), deadline=1.5)
    assert caught.value.cause.count("nothing listens on that port in the pod") == 2
    assert forwards() == []


def test_a_git_daemon_in_a_pod_is_asked_for_its_refs(
    app: App, release: Release, site: Site, kube: Kube, service: str, tmp_path: Path
) -> None:
    commit = app.git("rev-parse", "HEAD")
    subprocess.run(["git", "clone", "--quiet", "--bare", str(app.root), str(tmp_path / "repo.git")], check=True)
    pod = kube.list(path("v1", "pods", SPACE), f"app.kubernetes.io/instance={app.name}")["items"][0]
    container = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    inside = next(each for each in Path("/proc").glob("[0-9]*") if _cgroup(each).find(container) >= 0)
    argv = ["nsenter", f"--net={inside}/ns/net", "git", "daemon", "--listen=127.0.0.1", "--port=9418", "--export-all", "--reuseaddr",
            f"--base-path={tmp_path}", str(tmp_path)]  # fmt: skip
    daemon = subprocess.Popen(argv, stderr=subprocess.DEVNULL, start_new_session=True)
    way = f"port-forward:service/{service}:git"
    try:
        report = verify(app, release, site, Git("/repo.git", through=way, ref="main", commit=commit), Git("/repo.git", through=way))
        with pytest.raises(VerifyError) as caught:
            verify(app, release, site, Git("/repo.git", through=way, ref="v1"), Git("/none.git", through=way), deadline=1.0)
    finally:
        os.killpg(daemon.pid, signal.SIGTERM)
        daemon.wait(5)
    assert report.checks[0].evidence == f"refs/heads/main = {commit}"
    assert "refs/heads/main" in report.checks[1].evidence
    assert "has no ref v1" in caught.value.cause
    assert "has no repository /none.git" in caught.value.cause


def _cgroup(process: Path) -> str:
    try:
        return (process / "cgroup").read_text()
    except OSError:
        return ""


def test_a_load_balancer_is_waited_for(app: App, release: Release, site: Site, kube: Kube) -> None:
    name = f"{app.name}-balancer"
    address = site.registry("coulombcore").address.rpartition(":")[0]
    with serving(saying(answer(b"hello")), address=address) as server:
        spec = {"type": "LoadBalancer", "ports": [{"name": "http", "port": server.port}], "selector": {"app": name}}
        kube.create(path("v1", "services", SPACE), {"metadata": {"name": name}, "spec": spec})
        status = {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
        timer = threading.Timer(1.0, lambda: void(kube.merge(path("v1", "services", SPACE, name, "status"), status)))
        try:
            with pytest.raises(VerifyError, match="do not hold") as caught:
                verify(app, release, site, Page("/", through=f"load-balancer:{name}:http"), deadline=0.6)
            assert f"Service {name} has no external address yet" in caught.value.cause
            timer.start()
            report = verify(app, release, site, Page("/", text="hello", through=f"load-balancer:{name}:http"))
        finally:
            timer.join()
            kube.delete(path("v1", "services", SPACE, name))
    assert report.passed


def test_the_log_of_the_release_says_which_commit_it_is(app: App, release: Release, site: Site) -> None:
    report = verify(app, release, site, Log("version .*, commit {commit}"), Log("Traceback|panic", absent=True))
    assert "1 of " in report.checks[0].evidence
    with pytest.raises(VerifyError) as caught:
        verify(app, release, site, Log("never said"), Log("port 8000", absent=True), deadline=0.6)
    assert "0 of " in caught.value.cause
    assert "said last" in caught.value.cause
    assert "match, the last one" in caught.value.cause
    assert "kubectl logs" in caught.value.mend


def test_objects_of_the_release_are_healthy_and_each_kind_is_asked_for_once(app: App, release: Release, site: Site, kube: Kube) -> None:
    before = kube.requests
    report = verify(app, release, site, Objects(("Deployment", "Service", "Pod")), pods=True)
    # what Helm stored, pods, Deployment, Service, its endpoints; the metadata of four kinds of objects and of the Secret that
    # the pods need, and what kinds Traefik has
    assert kube.requests - before == 11
    assert f"Deployment {app.name}" in evidence(report)
    assert f"IngressRoute {app.name}" in evidence(verify(app, release, site, Objects("release")))


def test_an_unhealthy_object_is_named_with_its_reason(app: App, release: Release, site: Site, kube: Kube) -> None:
    bare, claim = f"{app.name}-bare", f"{app.name}-data"
    kube.create(
        path("v1", "services", SPACE),
        {"metadata": {"name": bare}, "spec": {"selector": {"app": "nobody"}, "ports": [{"port": 80}]}},
    )
    kube.create(
        path("v1", "persistentvolumeclaims", SPACE),
        {
            "metadata": {"name": claim},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Mi"}}},
        },
    )
    named = Objects((f"Service/{bare}", f"PersistentVolumeClaim/{claim}", "Deployment/absent"))
    try:
        with pytest.raises(VerifyError) as caught:
            verify(app, release, site, Objects("release"), named, deadline=1.0)
    finally:
        kube.delete(path("v1", "services", SPACE, bare))
        kube.delete(path("v1", "persistentvolumeclaims", SPACE, claim))
    assert f"Service {bare} has no ready endpoint" in caught.value.cause
    assert f"PersistentVolumeClaim {claim} is not bound (Pending)" in caught.value.cause
    assert "Deployment absent is not there" in caught.value.cause


def test_a_rollout_under_load_loses_nothing_and_the_old_pod_says_that_it_drains(app: App, release: Release, site: Site) -> None:
    report = verify(app, release, site, Page("/healthz"), Drain("/healthz", rate=25, seconds=20), pods=True)
    drained = report.checks[-1]
    assert drained.name == "drain /healthz"
    assert ", 0 lost, the slowest " in drained.evidence
    assert "said 503 draining for " in drained.evidence
    assert forwards() == []
    again = app.inv("deploy", "--json")  # a restart is no drift
    assert again.returncode == 0, again.stderr
    assert [json.loads(line) for line in again.stderr.splitlines()][-1]["data"]["changed"] == []


def test_a_rollout_that_says_nothing_of_draining_fails_with_the_figures(app: App, release: Release, site: Site) -> None:
    with pytest.raises(VerifyError, match="did not say that it drains") as caught:
        verify(app, release, site, Drain("/healthz", rate=10, seconds=20, says="farewell"))
    assert "requests, 0 lost" in caught.value.cause
    assert "its last answer was status 503" in caught.value.cause


def test_sigterm_in_the_middle_closes_the_port_forward(app: App, service: str) -> None:
    overlay = app.root / "config" / f"{app.name}.lab.yml"
    text = overlay.read_text()
    data = yaml.safe_load(text)
    page = {"path": "/healthz", "through": f"port-forward:service/{service}:http", "json": {"status": "never"}}
    data["stages"]["verify"] |= {"checks": [page], "deadline": 60}
    overlay.write_text(yaml.safe_dump(data))
    argv = [str(Path(sys.executable).with_name("inv")), "verify"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(argv, cwd=app.root, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        port = _listening(process.pid)
        process.send_signal(signal.SIGTERM)
        _, story = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
        overlay.write_text(text)
    assert process.returncode == 143, story
    assert "Traceback" not in story
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)


def test_sigterm_in_the_middle_removes_the_container(app: App, python: Release, site: Site, engine: Engine, tmp_path: Path) -> None:
    code = """
import signal, sys
from pipeline.ending import cli
from pipeline.artifacts import from_json
from pipeline.plan import load
from pipeline.verify.checks import Checks, make
from pipeline.verify.expect import Page
from pipeline.verify.run import Run
import json, pathlib
root, name, release = sys.argv[1:]
@cli
def body():
    run = Run("python", "railiance01", (8088,), (Page("/never"),), command=("python", "-m", "http.server", "8088"))
    with load(pathlib.Path(root) / "config", name, "lab").site() as site:
        make(Checks("railiance01", checks=(run,), pods=False), from_json(json.loads(release)), site)
body()
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    argv = [sys.executable, "-c", code, str(app.root), app.name, json.dumps(to_json(python))]
    process = subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 60
        while not engine.labelled(f"{APP}={site.app}") and time.monotonic() < end:
            time.sleep(0.05)
        assert engine.labelled(f"{APP}={site.app}")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert engine.labelled(f"{APP}={site.app}") == {}


def _listening(process: int) -> int:
    """The port that a process listens on, once it does."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        own = {str(each.readlink()) for each in Path(f"/proc/{process}/fd").iterdir() if each.is_symlink()}
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in own:
                return int(words[1].rpartition(":")[2], 16)
        time.sleep(0.05)
    raise AssertionError("it never listened")


@pytest.fixture
def engine(site: Site) -> Iterator[Engine]:
    if NODE not in site.dockers:
        pytest.fail("these tests need the lab's docker: inv lab.up --with docker,hub", pytrace=False)
    with_docker = Engine(NODE, site.docker(NODE).address)
    yield with_docker
    assert with_docker.labelled(f"{APP}={site.app}") == {}
    with_docker.close()


@pytest.fixture
def python(release: Release, site: Site, engine: Engine) -> Release:
    """A release whose one image is the hub's python, which is what the lab has to run."""
    hub = site.registry("hub").address
    digest = client_of(site, "hub").head("library/python", "3.11-slim-bookworm")
    assert digest is not None
    return dataclasses.replace(release, images=(Image(f"{hub}/library/python", digest, "3.11"),))


SERVE = ("python", "-m", "http.server", "8088")


def test_an_image_is_run_by_itself_asked_and_removed(app: App, python: Release, site: Site) -> None:
    inner = (Page("/etc/hostname", status=200), Tcp("port:8088"))
    report = verify(app, python, site, Run("python", NODE, (8088,), inner, command=SERVE))
    assert [check.name for check in report.checks] == [
        "run python",
        "run python: GET /etc/hostname through port:8088",
        "run python: tcp port:8088",
    ]
    assert "running on railiance01, 8088 at " in report.checks[0].evidence


def test_a_container_that_ends_at_once_is_told_with_its_log(app: App, python: Release, site: Site) -> None:
    with pytest.raises(VerifyError, match="ended by itself, with exit code 3") as caught:
        verify(app, python, site, Run("python", NODE, command=("sh", "-c", "echo DATABASE_URL is not set; exit 3")), deadline=NEVER)
    assert caught.value.cause.strip() == "DATABASE_URL is not set"


def test_a_port_in_use_a_wrong_image_and_a_missing_program_are_told(app: App, python: Release, site: Site) -> None:
    taken = site.cluster(CLUSTER).ingress.rpartition(":")[2]
    with pytest.raises(ConfigError, match="the port is in use"):
        verify(app, python, site, Run("python", NODE, (f"{taken}:8088",), command=SERVE))
    with pytest.raises(VerifyError, match="its program cannot be started"):
        verify(app, python, site, Run("python", NODE, command=("/nope",)))
    absent = dataclasses.replace(python, images=(dataclasses.replace(python.images[0], digest="sha256:" + "0" * 64),))
    with pytest.raises(VerifyError, match="the registry does not have it"):
        verify(app, absent, site, Run("python", NODE))
    with pytest.raises(ConfigError, match="the release has no image pyhton; did you mean 'python'"):
        verify(app, python, site, Run("pyhton", NODE))


def test_an_image_of_another_architecture_is_told_with_both(app: App, python: Release, site: Site) -> None:
    index = client_of(site, "hub").manifest("library/python", "3.11-slim-bookworm")
    assert index is not None
    own = os.uname().machine
    other = next(
        each["digest"]
        for each in json.loads(index.body)["manifests"]
        if each["platform"]["architecture"] not in ("amd64" if own == "x86_64" else own, "unknown")
    )
    foreign = dataclasses.replace(python, images=(dataclasses.replace(python.images[0], digest=other),))
    with pytest.raises(VerifyError, match="the image is for arm64, the Docker railiance01 runs amd64") as caught:
        verify(app, foreign, site, Run("python", NODE, command=SERVE))
    assert "exec format error" in caught.value.cause
    assert "platforms" in caught.value.mend


def test_what_a_killed_run_left_is_removed_by_the_next(app: App, python: Release, site: Site, engine: Engine) -> None:
    code = "import os,sys; from pipeline.verify.run import owner; print(owner())"
    dead = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    docker = [shutil.which("docker") or "docker", "--host", site.docker(NODE).address]
    labels = ["--label", f"{APP}={site.app}", "--label", f"{OWNER}={dead.stdout.strip()}"]
    engine.pull(python.images[0].reference)
    subprocess.run([*docker, "run", "--detach", *labels, python.images[0].reference, "sleep", "300"], check=True, capture_output=True)
    assert len(engine.labelled(f"{APP}={site.app}")) == 1
    verify(app, python, site, Run("python", NODE, command=SERVE))


def void(_value: object) -> None:
    """Discard what a lambda has to return."""
