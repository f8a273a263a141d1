"""The token.place relay's chart: what it renders for staging and the lab, what it refuses, what the API server says to it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.deploy import layers, publish
from pipeline.stage import Site

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
SAMPLE = "pipeline/lab/samples/tokenplace"
DIGEST = "sha256:" + "0123456789abcdef" * 4
IMAGE = {"image": {"repository": "ghcr.io/democratizedspace/tokenplace-relay", "digest": DIGEST, "tag": "main-1a2b3c4"}}


def template(helm: Site, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    argv = [helm.tool("helm"), "template", "relay", str(ROOT / SAMPLE / "chart"), "--namespace", "default", "--values", "-"]
    return subprocess.run(argv, input=json.dumps(values), capture_output=True, text=True, check=False, timeout=60)


def rendered(helm: Site, overlay: str, **more: Any) -> dict[str, dict[str, Any]]:
    """The objects by kind and name, of the values file of an environment."""
    merged = layers.read(ROOT, (f"{SAMPLE}/values/{overlay}.yaml",), {}).merged({**IMAGE, **more})
    done = template(helm, merged)
    assert done.returncode == 0, done.stderr
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in yaml.safe_load_all(done.stdout) if each}


def test_helm_finds_no_fault_with_it(helm: Site) -> None:
    publish.lint(ROOT / SAMPLE / "chart", helm)


def test_staging_is_the_plan_s(helm: Site) -> None:
    found = rendered(helm, "staging")
    assert set(found) == {"Deployment/relay", "Service/relay", "Ingress/relay"}
    pod = found["Deployment/relay"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    env = {each["name"]: each["value"] for each in container["env"]}
    assert (env["TOKEN_PLACE_ENV"], env["TOKENPLACE_RELAY_PUBLIC_URL"]) == ("staging", "https://staging.token.place")
    assert container["image"] == f"ghcr.io/democratizedspace/tokenplace-relay@{DIGEST}"
    assert container["ports"][0]["containerPort"] == found["Service/relay"]["spec"]["ports"][0]["port"] == 5010
    assert [rule["host"] for rule in found["Ingress/relay"]["spec"]["rules"]] == ["staging.token.place"]


def test_a_secret_becomes_environment_of_the_relay_and_of_its_nodes(helm: Site) -> None:
    found = rendered(helm, "lab", envSecret="relay-0123")
    for name in ("Deployment/relay", "Deployment/relay-node"):
        (container,) = found[name]["spec"]["template"]["spec"]["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "relay-0123"}}]
        assert {"name": "TOKEN_PLACE_ENV", "value": "testing"} in container["env"]
    assert "envFrom" not in str(rendered(helm, "lab"))


def test_a_relay_that_stops_drains_before_the_kubelet_kills_it(helm: Site) -> None:
    pod = rendered(helm, "staging")["Deployment/relay"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    drain = next(int(each["value"]) for each in container["env"] if each["name"] == "RELAY_DRAIN_SECONDS")
    assert 0 < drain < pod["terminationGracePeriodSeconds"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/healthz"
    assert drain > container["readinessProbe"]["periodSeconds"] * container["readinessProbe"]["failureThreshold"]
    assert container["livenessProbe"]["httpGet"]["path"] != "/healthz"  # a draining relay is not to be restarted
    done = template(helm, {**IMAGE, "drainSeconds": 20, "terminationGracePeriodSeconds": 20})
    assert done.returncode == 1
    assert "drainSeconds must be below terminationGracePeriodSeconds" in done.stderr


def test_it_runs_as_nobody_on_a_file_system_it_cannot_write(helm: Site) -> None:
    for name, each in rendered(helm, "lab").items():
        if name.startswith("Deployment/"):
            pod = each["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            assert (pod["securityContext"]["runAsNonRoot"], pod["automountServiceAccountToken"]) == (True, False)
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert {"requests", "limits"} <= set(container["resources"])


@pytest.mark.parametrize("overlay", ["staging", "lab"])
def test_the_api_server_takes_every_object(lab: Site, overlay: str) -> None:
    cluster = lab.cluster("railiance01")
    objects = list(rendered(lab, overlay).values())
    argv = [
        lab.tool("kubectl"),
        "--kubeconfig",
        cluster.kubeconfig,
        "--namespace",
        "default",
        "apply",
        "--dry-run=server",
        "--filename",
        "-",
    ]
    done = subprocess.run(argv, input=yaml.safe_dump_all(objects), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(objects)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"imgae": {}}, "'imgae' not allowed"),
        ({"image": {**IMAGE["image"], "digest": "latest"}}, "/image/digest"),
        ({"service": {"port": "5010"}}, "/service/port"),
        ({"service": {"port": 70000}}, "/service/port"),
        ({"env": {"a b": "x"}}, "a b"),
        ({"envSecret": "A b"}, "/envSecret"),
        ({"host": "a`) || PathPrefix(`/"}, "/host"),
        ({"image": {"repository": "ghcr.io/a/b", "digest": "", "tag": ""}}, "image.digest or image.tag is required"),
    ],
)
def test_what_cannot_be_meant_is_refused(helm: Site, values: dict[str, Any], said: str) -> None:
    done = template(helm, {**IMAGE, **values})
    assert done.returncode == 1
    assert said in done.stderr
