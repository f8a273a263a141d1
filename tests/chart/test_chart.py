"""The chart: what it renders, what its schema refuses, and what an API server says to every object of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline.lab import programs

ROOT = Path(__file__).parents[2]
CHART = ROOT / "chart"
DIGEST = "sha256:" + "0123456789abcdef" * 4

Values = dict[str, Any]
Objects = dict[str, dict[str, Any]]

real = pytest.mark.real

WORTH_TRYING: dict[str, Values] = {
    "least": {},
    "usual": {
        "commit": "abc1234",
        "host": "probe.test",
        "image": {"repository": "registry.test:5000/team/probe", "tag": "abc1234"},
    },
    "replicas": {"replicas": 3, "podDisruptionBudget": {"maxUnavailable": "50%"}},
    "ingress": {"host": "probe.test", "ingress": {"kind": "Ingress", "tls": {"enabled": True, "secretName": "probe-tls"}}},
    "ingress without host": {"ingress": {"kind": "Ingress", "annotations": {"a.test/b": "true"}}},
    "route with tls": {
        "host": "probe.test",
        "ingress": {"entryPoints": ["websecure"], "tls": {"enabled": True, "certResolver": "le"}},
    },
    "no ingress": {"ingress": {"kind": "none"}},
    "everything": {
        "imagePullSecrets": [{"name": "registry"}],
        "secretVersion": "2",
        "env": {"baseUrl": "https://probe.test/app", "extra": {"GHCRTS": "-M64m", "NUMBER": "1"}},
        "podAnnotations": {"a.test/b": "c"},
        "probes": {"readinessPath": "/", "livenessPath": "/", "startupSeconds": 120},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": "probe"}},
                    }
                ]
            }
        },
        "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": 1, "memory": "128Mi"}},
    },
}

REFUSED: dict[str, tuple[Values, str]] = {
    "misspelled": ({"replica": 2}, "replica"),
    "misspelled below": ({"image": {"digset": DIGEST}}, "digset"),
    "tag for a digest": ({"image": {"digest": "latest"}}, "digest"),
    "short digest": ({"image": {"digest": "sha256:abc"}}, "digest"),
    "tag in the repository": ({"image": {"repository": "registry.test/probe:latest"}}, "repository"),
    "secret in plain settings": ({"env": {"extra": {"DATABASE_URL": "postgresql://"}}}, "DATABASE_URL"),
    "rule injection by host": ({"host": "a`) || PathPrefix(`/"}, "host"),
    "root": ({"podSecurityContext": {"runAsUser": 0}}, "runAsUser"),
    "privileged": ({"securityContext": {"privileged": True}}, "privileged"),
    "unknown ingress": ({"ingress": {"kind": "Gateway"}}, "kind"),
    "text for a number": ({"replicas": "2"}, "replicas"),
}


def merge(below: Values, above: Values) -> Values:
    """Like helm: maps are merged, anything else is replaced."""
    both = below | above
    return both | {key: merge(below[key], above[key]) for key in below.keys() & above.keys() if isinstance(below[key], dict)}


@pytest.fixture(scope="session")
def helm() -> str:
    return str(programs.ensure("helm") / "helm")


@pytest.fixture(scope="session")
def kubectl(lab_site_file: Path) -> list[str]:
    """kubectl as the lab's cluster knows it. A dry run still needs a namespace that exists."""
    site = yaml.safe_load(lab_site_file.read_text())
    return [site["tools"]["kubectl"], "--kubeconfig", site["clusters"]["railiance01"]["kubeconfig"], "--namespace", "default"]


def run(*argv: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, input=given, capture_output=True, text=True, check=False)


def template(helm: str, values: Values, *words: str) -> subprocess.CompletedProcess[str]:
    given = json.dumps(merge({"image": {"digest": DIGEST}}, values))
    return run(helm, "template", "probe", CHART, "--namespace", "coulomb", "--values", "-", *words, given=given)


def render(helm: str, values: Values, *words: str) -> Objects:
    done = template(helm, values, *words)
    assert done.returncode == 0, done.stderr
    return {item["kind"]: item for item in yaml.safe_load_all(done.stdout) if item}


def pod(objects: Objects) -> dict[str, Any]:
    spec: dict[str, Any] = objects["Deployment"]["spec"]["template"]["spec"]
    return spec


def pod_template(objects: Objects) -> dict[str, Any]:
    found: dict[str, Any] = objects["Deployment"]["spec"]["template"]
    return found


# ---- without helm: values and schema belong together


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    return loaded


def test_the_schema_is_one_and_knows_every_value(schema: dict[str, Any]) -> None:
    jsonschema.Draft7Validator.check_schema(schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.Draft7Validator(schema).validate(values)
    assert values.keys() == schema["properties"].keys() - {"global"}


def test_every_object_in_the_schema_is_closed(schema: dict[str, Any]) -> None:
    open_by_intent = {"global", "affinity"}

    def walk(name: str, node: Any) -> None:
        if isinstance(node, dict):
            if node.get("type") == "object" and name not in open_by_intent:
                assert "additionalProperties" in node, name
            for key, below in node.items():
                walk(key, below)

    walk("", schema)


@pytest.mark.parametrize("case", WORTH_TRYING)
def test_good_values_pass_the_schema(schema: dict[str, Any], case: str) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.Draft7Validator(schema).validate(merge(values, WORTH_TRYING[case]))


@pytest.mark.parametrize("case", REFUSED)
def test_bad_values_do_not(schema: dict[str, Any], case: str) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(schema).validate(merge(values, REFUSED[case][0]))


# ---- with helm


@real
def test_lint(helm: str) -> None:
    for extra in ((), ("--set", f"image.digest={DIGEST}")):
        done = run(helm, "lint", "--strict", CHART, *extra)
        assert done.returncode == 0, done.stdout + done.stderr


@real
@pytest.mark.parametrize("case", REFUSED)
def test_helm_refuses_them_by_name(helm: str, case: str) -> None:
    values, word = REFUSED[case]
    done = template(helm, values)
    assert done.returncode != 0
    assert word in done.stderr


@real
def test_no_digest_no_release(helm: str) -> None:
    done = template(helm, {"image": {"digest": ""}})
    assert done.returncode != 0
    assert "deployed by its digest" in done.stderr


@real
def test_draining_must_fit_into_the_grace_period(helm: str) -> None:
    assert "drainSeconds together must be below" in template(helm, {"drainSeconds": 30}).stderr
    assert "drainSeconds together must be below" in template(helm, {"drainSeconds": 3, "preStopSeconds": 27}).stderr


@pytest.mark.parametrize(
    ("version", "hook"), [("1.30", {"sleep": {"seconds": 10}}), ("v1.29.9+k3s1", {"exec": {"command": ["sleep", "10"]}})]
)
def test_a_program_that_ends_at_once_serves_on_before_the_signal(helm: str, version: str, hook: dict[str, Any]) -> None:
    made = render(helm, {}, "--kube-version", version)
    assert pod(made)["containers"][0]["lifecycle"] == {"preStop": hook}


def test_a_program_that_serves_on_by_itself_needs_no_hook(helm: str) -> None:
    assert "lifecycle" not in pod(render(helm, {"preStopSeconds": 0}))["containers"][0]


@real
def test_the_usual_release(helm: str) -> None:
    objects = render(helm, WORTH_TRYING["usual"])
    assert objects.keys() == {"ConfigMap", "Deployment", "Service", "IngressRoute"}
    (container,) = pod(objects)["containers"]
    assert container["image"] == f"registry.test:5000/team/probe@{DIGEST}"
    assert objects["ConfigMap"]["data"] == {
        "PORT": "8000",
        "DRAIN_SECONDS": "3",
        "DRAIN_LIMIT_SECONDS": "19",
        "IHP_BASEURL": "http://probe.test",
    }
    assert {"name": "PROBE_COMMIT", "value": "abc1234"} in container["env"]
    assert objects["Deployment"]["metadata"]["annotations"] == {"ihp-railiance-probe/commit": "abc1234"}
    assert objects["Deployment"]["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert objects["IngressRoute"]["spec"]["routes"][0]["match"] == "Host(`probe.test`)"
    assert objects["Service"]["spec"]["selector"].items() <= pod_template(objects)["metadata"]["labels"].items()


@real
def test_a_secret_that_nobody_named_is_not_asked_for(helm: str) -> None:
    assert "secretKeyRef" not in json.dumps(render(helm, WORTH_TRYING["everything"]))
    assert pod(render(helm, WORTH_TRYING["least"]))["containers"][0]["env"] == []


@real
def test_secrets_are_only_referred_to(helm: str) -> None:
    objects = render(helm, {**WORTH_TRYING["everything"], "secretName": "ihp-railiance-probe"})
    assert "Secret" not in objects
    references = {
        entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in pod(objects)["containers"][0]["env"] if "valueFrom" in entry
    }
    assert references == {
        "IHP_SESSION_SECRET": {"name": "ihp-railiance-probe", "key": "IHP_SESSION_SECRET"},
        "DATABASE_URL": {"name": "ihp-railiance-probe", "key": "DATABASE_URL", "optional": True},
    }


@real
def test_the_pod_may_do_nothing_it_need_not(helm: str) -> None:
    spec = pod(render(helm, {}))
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@real
def test_an_outage_of_the_database_stops_traffic_but_restarts_nothing(helm: str) -> None:
    (container,) = pod(render(helm, {"probes": {"startupSeconds": 60}}))["containers"]
    paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/livez", "readiness": "/healthz", "liveness": "/livez"}


@real
def test_a_startup_probe_is_for_slow_starters(helm: str) -> None:
    assert "startupProbe" not in pod(render(helm, {}))["containers"][0]
    assert pod(render(helm, {"probes": {"startupSeconds": 90}}))["containers"][0]["startupProbe"]["failureThreshold"] == 90


@real
@pytest.mark.parametrize("change", [{"env": {"extra": {"A": "b"}}}, {"host": "other.test"}, {"secretVersion": "2"}, {"commit": "def5678"}])
def test_changed_settings_make_new_pods(helm: str, change: Values) -> None:
    assert pod_template(render(helm, {})) != pod_template(render(helm, change))


@real
def test_what_no_pod_sees_restarts_none(helm: str) -> None:
    assert pod_template(render(helm, {})) == pod_template(
        render(helm, {"replicas": 2, "ingress": {"kind": "none"}, "service": {"port": 8080}})
    )


@real
def test_a_disruption_budget_needs_more_than_one_replica(helm: str) -> None:
    assert "PodDisruptionBudget" not in render(helm, {})
    assert render(helm, {"replicas": 2})["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


@real
@pytest.mark.parametrize("case", WORTH_TRYING)
def test_the_api_server_takes_every_object(helm: str, kubectl: list[str], case: str) -> None:
    rendered = template(helm, WORTH_TRYING[case])
    assert rendered.returncode == 0, rendered.stderr
    # strict validation refuses unknown and duplicate fields, of IngressRoute too
    done = run(*kubectl, "apply", "--dry-run=server", "--validate=strict", "--filename", "-", given=rendered.stdout)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == sum(1 for item in yaml.safe_load_all(rendered.stdout) if item)
    assert "Warning" not in done.stderr
