"""The list of checks as a blueprint writes it: each item of one kind, mistakes told with their line, and all kinds held in one look."""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline import schema
from pipeline.artifacts import Image, Images, Source
from pipeline.errors import ConfigError, Expired, VerifyError
from pipeline.host import Address
from pipeline.tools.kube import path
from pipeline.verify.checks import KINDS, Checks, check, make, rehearse
from pipeline.verify.drain import Drain
from pipeline.verify.drift import Drift
from pipeline.verify.expect import Page
from pipeline.verify.git import Git
from pipeline.verify.health import SERVICE_NAME
from pipeline.verify.log import Log
from pipeline.verify.message import Message
from pipeline.verify.objects import Objects
from pipeline.verify.replicated import Replicated
from pipeline.verify.run import Run
from pipeline.verify.survives import Survives
from pipeline.verify.tcp import Tcp
from pipeline.yamlfile import parse
from tests.verify.releases import COMMIT, MANIFEST, RELEASE, secret
from tests.verify.servers import answer, serving
from tests.verify.worlds import LABELS, Shop, shop
from tests.world import site

ALL = """cluster: railiance01
host: relay.example
checks:
  - {path: /health, json: {status: ok}, at_least: {knownServers: 1}, matches: {publicUrl: ^https}, present: [a.b]}
  - {path: /, method: HEAD, headers: {Server: relay}}
  - {git: /repo.git, through: "port-forward:service/relay:git", ref: main, commit: "{commit}"}
  - {tcp: 10.0.0.5:9418, banner: SSH}
  - {log: "POST /sink", count: 2, since: 60, container: relay}
  - {log: Traceback, absent: true}
  - {objects: release}
  - {objects: [Deployment, Service/relay]}
  - run: relay
    docker: lab
    ports: [8088, "19418:9418"]
    env: {MODE: test}
    checks:
      - {path: /health}
      - {git: /repo.git, through: "port:9418"}
  - {drain: /health, load: /, rate: 20, seconds: 8}
  - {replicated: StatefulSet/node, message: {path: "/data/{key}", headers: {X-TTL: "60"}}, nodes: 3}
  - {survives: app=node, message: {path: "/data/{key}"}, grace: null, load: /}
  - {drift: Kustomization/apps, mend: true}
"""

SERVICE = "---\napiVersion: v1\nkind: Service\nmetadata: {name: probe}\n"

LIGHT = """
import sys
from pipeline import schema
from pipeline.artifacts import Image, Images, Source
from pipeline.tools.kube import path
from pipeline.verify.checks import KINDS, Checks
from pipeline.yamlfile import parse

schema.build(Checks, parse(sys.argv[1], "x.yml"))
print(*sorted(name for name in sys.modules if name.startswith("pipeline.verify.")), sep="\\n")
"""


def read(text: str) -> Checks:
    found: Checks = schema.build(Checks, parse(text, "relay.yml"))
    return found


def test_every_kind_is_read_as_it_is_written() -> None:
    checks = read(ALL).checks
    assert [type(each) for each in checks] == [Page, Page, Git, Tcp, Log, Log, Objects, Objects, Run, Drain, Replicated, Survives, Drift]
    assert checks[7] == Objects(("Deployment", "Service/relay"))
    assert checks[10] == Replicated("StatefulSet/node", Message("/data/{key}", headers={"X-TTL": "60"}), nodes=3)
    assert isinstance(checks[11], Survives)
    assert checks[11].grace is None
    ran = checks[8]
    assert isinstance(ran, Run)
    assert [type(each) for each in ran.checks] == [Page, Git]
    assert len({each.name for each in checks}) == len(checks)


def test_the_first_field_of_a_kind_is_the_key_that_names_it() -> None:
    assert {key: dataclasses.fields(KINDS.kind(key))[0].name for key in KINDS.kinds} == {key: key for key in KINDS.kinds}


def test_only_the_kinds_that_a_blueprint_uses_are_loaded() -> None:
    text = "cluster: a\nhost: b.example\nchecks: [{path: /}]\n"
    done = subprocess.run([sys.executable, "-c", LIGHT, text], capture_output=True, text=True, check=True)
    modules = ["checks", "expect", "through", "words"]
    assert done.stdout.split() == [f"pipeline.verify.{name}" for name in modules]


def test_the_schema_for_editors_takes_what_is_read() -> None:
    jsonschema.validate(parse(ALL, "relay.yml").data, schema.json_schema(Checks))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"cluster": "a", "checks": [{"pth": "/"}]}, schema.json_schema(Checks))


@pytest.mark.parametrize(
    ("item", "line", "text"),
    [
        ("{pth: /health}", 4, "'pth' is no kind of it; did you mean 'path'"),
        ("{status: 200}", 4, "does not say its kind"),
        ("path: /|tcp: 10.0.0.5:80", 5, "is of two kinds, path and tcp"),
        ("/health", 4, "takes a mapping with one of path, git, tcp, log, objects, run, drain, replicated, drift, survives, not '/health'"),
        ("path: /|statuss: 200", 5, "checks.0.statuss is not known; did you mean 'status'"),
        ("path: /|status: '200'", 5, "checks.0.status takes a whole number, not '200'"),
        ("path: /|method: PUT", 5, "is 'PUT', not one of: GET, HEAD"),
        ("path: /|through: ingres", 5, "did you mean 'ingress'"),
        ("path: /|at_least: {a: many}", 5, "takes a number, not 'many'"),
        ("path: /|matches: {a: '('}", 5, "is no regular expression"),
        ("git: git://h/repo.git|ref: --x", 5, "is no name of a branch or a tag"),
        ("log: x|count: 0", 5, "a count of 0 is always there"),
        ("objects: [Deployement]", 4, "did you mean 'Deployment'"),
        ("run: relay|docker: lab|ports: [x]", 6, "is no port like"),
        ("run: relay|docker: lab|ports: [80]|checks:|  - {pth: /}", 8, "did you mean 'path'"),
        ("drain: /|seconds: 1", 5, "are not between 2 and 120"),
        ("replicated: node|message: {path: '/{key}'}", 4, "'node' names no nodes"),
        ("replicated: a=b", 4, "lacks message"),
        ("replicated: a=b|message:|  path: /data", 6, "two runs would write over one another"),
        ("replicated: a=b|message: {path: '/{key}'}|nodes: 1", 6, "with one of them nothing is replicated"),
        ("survives: a=b|message: {path: '/{key}'}|graces: 0", 6, "is not known; did you mean 'grace'"),
        ("survives: a=b|message: {path: '/{key}'}|seconds: 1", 6, "seconds 1 is not between 2 and 600"),
        ("drift: Deployment/web", 4, "is nothing that keeps objects"),
        ("drift: release|mend: true", 5, "nobody puts back what Helm keeps"),
    ],
)
def test_a_mistake_is_told_with_its_own_line_and_what_was_meant(item: str, line: int, text: str) -> None:
    written = item.replace("|", "\n    ")
    with pytest.raises(ConfigError) as caught:
        read(f"cluster: a\nhost: b.example\nchecks:\n  - {written}\n")
    assert f"relay.yml:{line}:" in caught.value.what
    assert text in caught.value.what


def test_a_ways_host_is_needed_for_the_front_door_alone() -> None:
    read("cluster: a\nchecks:\n  - {path: /, through: '10.0.0.5:80'}\n")
    with pytest.raises(ConfigError, match="host is missing"):
        read("cluster: a\nchecks:\n  - {path: /}\n")
    with pytest.raises(ConfigError, match="host is missing"):
        read("cluster: a\nchecks:\n  - {drain: /}\n")
    survives = "survives: a=b, message: {path: '/{key}'}"
    read(f"cluster: a\nchecks:\n  - {{{survives}}}\n")
    with pytest.raises(ConfigError, match="host is missing"):
        read(f"cluster: a\nchecks:\n  - {{{survives}, load: /}}\n")


def test_a_port_of_no_container_is_refused() -> None:
    with pytest.raises(ConfigError, match="stands among the checks of a `run`"):
        read("cluster: a\nhost: b.example\nchecks:\n  - {path: /, through: 'port:80'}\n")


def serve(peer: socket.socket, head: str) -> None:
    peer.sendall(answer(json.dumps({"status": "ok", "commit": COMMIT, "knownServers": 1}).encode()))


def ready(at: Shop) -> None:
    """A release on the fake API that passes everything."""
    at.fake.put(path("v1", "secrets", RELEASE.namespace, "sh.helm.release.v1.probe.v3"), secret(MANIFEST + SERVICE))
    at.put("Deployment", "probe", spec={"replicas": 1}, status={"replicas": 1})
    at.pod()
    at.service()
    at.put("EndpointSlice", "probe-x", {**LABELS, SERVICE_NAME: "probe"}, endpoints=[{"conditions": {"ready": True}}])
    at.fake.logs = {"probe-1/app": "POST /sink\n"}


SPEC: dict[str, Any] = {
    "cluster": RELEASE.cluster,
    "host": "relay.example",
    "checks": (
        Page("/healthz", at_least={"knownServers": 1}),
        Page("/healthz", json={"commit": "{commit}"}, through="port-forward:service/probe:http"),
        Log("/sink"),
        Objects(("Pod", "Service")),
    ),
}


def test_all_kinds_hold_in_one_look_that_asks_the_cluster_for_each_thing_once(tmp_path: Path) -> None:
    with serving(serve) as server, shop(tmp_path, server.url) as at:
        ready(at)
        at.fake.ports["probe-1:8000"] = Address(server.address, server.port)
        report = make(Checks(**SPEC), RELEASE, at.site)
        asked = [target.partition("?")[0].rpartition("/")[2] for _, target in at.fake.asked]
    assert [found.name for found in report.checks] == [
        "pods",
        "GET /healthz",
        "GET /healthz through port-forward:service/probe:http",
        "log //sink/",
        "objects Pod, Service",
    ]
    assert report.passed
    assert all(found.evidence for found in report.checks)
    # pods by the Deployment's selector and by the Service's; Services for their health, one to go through, their metadata for edits
    assert sorted(asked) == [
        "deployments", "endpointslices", "log", "pods", "pods", "portforward", "probe", "secrets", "services", "services",
    ]  # fmt: skip


def test_one_kind_that_fails_fails_the_release_with_the_evidence_of_all(tmp_path: Path) -> None:
    with serving(serve) as server, shop(tmp_path, server.url) as at:
        ready(at)
        at.fake.logs = {"probe-1/app": "starting\n"}
        checks = (Page("/healthz"), Log("/sink"))
        with pytest.raises(VerifyError, match="1 of 3 checks") as caught:
            make(Checks(**{**SPEC, "checks": checks, "deadline": 0.5}), RELEASE, at.site)
    assert caught.value.cause.splitlines()[-1].startswith("failed  log //sink/: 0 of 1 lines")
    assert "kubectl logs --namespace coulomb" in caught.value.mend


def test_ways_that_cannot_be_reached_leave_the_release_unverified(tmp_path: Path) -> None:
    with serving(serve) as server, shop(tmp_path, server.url) as at:
        ready(at)
        checks = (Page("/healthz"), Tcp("127.0.0.1:1"))
        with pytest.raises(Expired, match=r"unverified: 127\.0\.0\.1:1 could not be reached"):
            make(Checks(**{**SPEC, "checks": checks, "deadline": 0.5}), RELEASE, at.site)


def test_a_label_of_ones_own_names_the_pods(tmp_path: Path) -> None:
    with shop(tmp_path) as at:
        where = at.pod()
        at.fake.objects[where]["metadata"]["labels"] = {"app": "relay"}
        assert make(Checks(RELEASE.cluster, selector="app=relay"), RELEASE, at.site).passed
        with pytest.raises(VerifyError, match="do not hold") as caught:
            make(Checks(RELEASE.cluster, selector="app=relais", deadline=0.3), RELEASE, at.site)
        assert "no pod carries app=relais" in caught.value.cause


def test_what_can_be_known_before_anything_is_done_is_known(tmp_path: Path) -> None:
    with shop(tmp_path) as at:
        check(Checks(RELEASE.cluster, checks=(Page("/", through="10.0.0.5:80"),), pods=False), at.site)
        with pytest.raises(ConfigError, match="no usable ingress"):
            check(Checks(RELEASE.cluster, "a.example", checks=(Page("/"),)), at.site)
        with pytest.raises(ConfigError, match="no docker 'other'"):
            check(Checks(RELEASE.cluster, checks=(Run("probe", "other"),)), at.site)


def checks_of(options: dict[str, Any]) -> Checks:
    text = json.dumps({"cluster": "lab", "host": "relay.example", "checks": [options]})
    made: Checks = schema.build(Checks, parse(text, "checks.yml"))
    return made


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": "/", "json": {"version": "{web.tag}"}}, r"a check of .*\{web.tag\}"),
        ({"log": "serves {worker.digest}"}, r"\{worker.digest\}"),
        ({"run": "web", "docker": "here", "ports": [80], "checks": [{"path": "/"}]}, "the release has no image web"),
    ],
)
def test_what_no_release_of_these_images_has_is_said_before_they_are_built(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    images = Images(Source("7e" * 20, "c" * 40, False, "/w"), (Image("hub/team/front", "sha256:" + "a" * 64, "v1"),))
    good = {"path": "/", "json": {"version": "{front.tag}", "id": "{digest}"}}
    with site(tmp_path) as here:
        rehearse(checks_of(good), images, here)
        with pytest.raises(ConfigError, match=said):
            rehearse(checks_of(options), images, here)
