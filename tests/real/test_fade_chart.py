"""Fade's chart: what it renders, what it refuses, and what the API server says to every object of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.deploy import publish
from pipeline.lab.samples.fade import settings
from pipeline.stage import Site

pytestmark = pytest.mark.real
CHART = Path(__file__).parents[2] / "pipeline/lab/samples/fade/chart"
DIGEST = "sha256:" + "0123456789abcdef" * 4
OTHER = "sha256:" + "fedcba9876543210" * 4
Values = dict[str, Any]
WRITTEN: Values = {  # what a release writes into the GitOps repository
    "server": {"image": {"repository": "docker.io/owner/fade-server", "digest": DIGEST}},
    "node": {"image": {"repository": "docker.io/owner/repram-cluster-node", "digest": OTHER}},
    "commit": "1a2b3c4",
}
WORTH_TRYING: dict[str, Values] = {
    "usual": {},
    "a name": {
        "ingress": {"host": "fade.lab.test", "tls": {"secretName": "fade-tls"}, "annotations": {"a.test/b": "c"}}, "version": "main-1+x",
    },
    "least": {
        "server": {"replicas": 1}, "node": {"replicas": 1}, "ingress": {"enabled": False}, "networkPolicies": {"enabled": False},
    },
    "everything": {
        "node": {"replicas": 5, "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": 1, "memory": "1Gi"}}, "space": 1 << 30},
        "networkPolicies": {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}, {"podSelector": {"matchLabels": {"app": "x"}}}]},
        "imagePullSecrets": [{"name": "hub"}],
        "messages": {"usualTtl": 60, "longestTtl": 2_592_000},
    },
}  # fmt: skip


def merge(below: Values, above: Values) -> Values:
    """Like helm: maps are merged, anything else is replaced."""
    both = below | above
    return both | {key: merge(below[key], above[key]) for key in below.keys() & above.keys() if isinstance(below[key], dict)}


def template(helm: Site, values: Values) -> subprocess.CompletedProcess[str]:
    argv = [helm.tool("helm"), "template", "fade", str(CHART), "--namespace", "fade-lab", "--values", "-"]
    return subprocess.run(argv, input=json.dumps(merge(WRITTEN, values)), capture_output=True, text=True, check=False, timeout=60)


def rendered(helm: Site, values: Values) -> dict[str, dict[str, Any]]:
    """The objects by kind and name."""
    done = template(helm, values)
    assert done.returncode == 0, done.stderr
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in yaml.safe_load_all(done.stdout) if each}


def pod(objects: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    found: dict[str, Any] = objects[name]["spec"]["template"]["spec"]
    return found


def container(objects: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = pod(objects, name)["containers"]
    return dict(found)


SERVER, NODES = "Deployment/fade-server", "StatefulSet/repram-node"


def test_helm_finds_no_fault_with_it(helm: Site) -> None:
    publish.lint(CHART, helm)


def test_it_is_the_plan_s(helm: Site) -> None:
    found = rendered(helm, {"ingress": {"host": "fade.lab.test"}})
    assert set(found) == {
        SERVER, NODES, "Service/fade-server", "Service/repram-nodes", "Ingress/fade-server",
        "ConfigMap/fade-server", "PodDisruptionBudget/fade-server", "NetworkPolicy/fade-server",
        "ConfigMap/repram-node", "PodDisruptionBudget/repram-node", "NetworkPolicy/repram-node",
    }  # fmt: skip
    assert container(found, SERVER)["image"] == f"docker.io/owner/fade-server@{DIGEST}"
    assert container(found, NODES)["image"] == f"docker.io/owner/repram-cluster-node@{OTHER}"
    assert [each["port"] for each in found["Service/fade-server"]["spec"]["ports"]] == [3000]
    headless = found["Service/repram-nodes"]["spec"]
    assert (headless["clusterIP"], headless["publishNotReadyAddresses"]) == ("None", True)
    assert {each["name"]: each["port"] for each in headless["ports"]} == {"http": 8080, "gossip": 9090}
    nodes = found[NODES]["spec"]
    assert (nodes["serviceName"], nodes["replicas"], nodes["podManagementPolicy"]) == ("repram-nodes", 3, "Parallel")
    assert found["PodDisruptionBudget/repram-node"]["spec"]["maxUnavailable"] == 1
    ingress = found["Ingress/fade-server"]["spec"]
    assert (ingress["ingressClassName"], [rule["host"] for rule in ingress["rules"]]) == ("traefik", ["fade.lab.test"])


def environment(objects: dict[str, dict[str, Any]], name: str) -> dict[str, str]:
    """What the program in the container is told, as its pod would tell it."""
    one = container(objects, name)
    found: dict[str, str] = {}
    for each in one["envFrom"]:
        found |= objects[f"ConfigMap/{each['configMapRef']['name']}"]["data"]
    return found | {each["name"]: each.get("value", "repram-node-1") for each in one["env"]}


@pytest.mark.parametrize("replicas", [1, 3, 5])
def test_the_programs_understand_what_they_are_told(helm: Site, replicas: int) -> None:
    found = rendered(helm, {"node": {"replicas": replicas}, "version": "main-1"})
    names = [f"repram-node-{number}.repram-nodes.fade-lab.svc.cluster.local" for number in range(replicas)]
    server = settings.server(environment(found, SERVER))
    assert server.nodes == tuple((name, 8080) for name in names)
    assert (server.common.port, server.common.commit, server.common.version, server.usual_ttl) == (3000, "1a2b3c4", "main-1", 600)
    node = settings.node(environment(found, NODES), "")
    assert node.peers == tuple((name, 9090) for name in names)
    assert (node.name, node.common.port, node.gossip_port, node.longest_ttl) == ("repram-node-1", 8080, 9090, 86_400)


def test_what_fades_is_on_no_disk(helm: Site) -> None:
    text = template(helm, {}).stdout
    assert not {"volumeClaimTemplates", "volumeMounts", "emptyDir", "hostPath"} & set(text.replace(":", " ").split())
    assert container(rendered(helm, {}), NODES)["securityContext"]["readOnlyRootFilesystem"]


@pytest.mark.parametrize(("name", "ready", "component"), [(SERVER, "/health/ready", "server"), (NODES, "/health", "node")])
def test_who_waits_for_others_is_not_restarted_and_who_stops_drains_first(helm: Site, name: str, ready: str, component: str) -> None:
    one = container(found := rendered(helm, {}), name)
    paths = {kind: one[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/health/live", "readiness": ready, "liveness": "/health/live"}
    told = environment(found, name)
    drain = int(told["FADE_DRAIN_SECONDS" if component == "server" else "REPRAM_DRAIN_SECONDS"])
    assert one["readinessProbe"]["periodSeconds"] * one["readinessProbe"]["failureThreshold"] < drain
    assert drain < pod(found, name)["terminationGracePeriodSeconds"]
    done = template(helm, {component: {"drainSeconds": 20, "terminationGracePeriodSeconds": 20}})
    assert done.returncode == 1
    assert f"{component}.drainSeconds must be below its terminationGracePeriodSeconds" in done.stderr


@pytest.mark.parametrize("name", [SERVER, NODES])
def test_it_runs_as_nobody_on_a_file_system_it_cannot_write(helm: Site, name: str) -> None:
    spec, one = pod(found := rendered(helm, {}), name), container(found, name)
    assert (spec["securityContext"]["runAsNonRoot"], spec["automountServiceAccountToken"]) == (True, False)
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert {"requests", "limits"} <= set(one["resources"])
    (spread,) = spec["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"].items() <= found[name]["spec"]["template"]["metadata"]["labels"].items()


def allowed(policy: dict[str, Any], way: str) -> set[tuple[str, Any]]:
    """Which component, or who else, may come in (or be gone to) at which port."""
    found = set()
    for rule in policy["spec"][way]:
        for peer in rule.get("from" if way == "ingress" else "to", [{}]):
            who = peer.get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/component")
            found |= {(who or ("another" if peer else "all"), port["port"]) for port in rule["ports"]}
    return found


def test_who_may_talk_to_whom(helm: Site) -> None:
    found = rendered(helm, {})
    server, node = found["NetworkPolicy/fade-server"], found["NetworkPolicy/repram-node"]
    assert allowed(server, "ingress") == {("another", "http")}
    assert allowed(server, "egress") == {("node", "http"), ("all", 53)}
    assert allowed(node, "ingress") == {("server", "http"), ("node", "gossip")}
    assert allowed(node, "egress") == {("node", "gossip"), ("all", 53)}
    for policy, name in ((server, SERVER), (node, NODES)):
        assert policy["spec"]["podSelector"]["matchLabels"] == found[name]["spec"]["selector"]["matchLabels"]
    assert allowed(rendered(helm, {"networkPolicies": {"from": []}})["NetworkPolicy/fade-server"], "ingress") == {("all", "http")}


def test_a_setting_restarts_those_who_are_told_it_and_nobody_else(helm: Site) -> None:
    def pods(values: Values) -> list[Any]:
        found = rendered(helm, values)
        return [found[name]["spec"]["template"] for name in (SERVER, NODES)]

    usual = pods({})
    cases: list[tuple[Values, list[bool]]] = [
        ({"server": {"drainSeconds": 4}}, [True, False]),
        ({"node": {"joinSeconds": 4}}, [False, True]),
        ({"node": {"replicas": 5}}, [True, True]),
        ({"version": "main-2"}, [True, True]),
        ({"server": {"replicas": 5}, "ingress": {"host": "x.test"}}, [False, False]),
    ]
    for values, changes in cases:
        assert [one != other for one, other in zip(usual, pods(values), strict=True)] == changes, values


@pytest.mark.parametrize("case", WORTH_TRYING)
def test_the_api_server_takes_every_object(lab: Site, case: str) -> None:
    objects = list(rendered(lab, WORTH_TRYING[case]).values())
    for each in objects:
        each["metadata"].pop("namespace", None)
    argv = [lab.tool("kubectl"), "--kubeconfig", lab.cluster("railiance01").kubeconfig, "--namespace", "default", "apply",
            "--dry-run=server", "--validate=strict", "--filename", "-"]  # fmt: skip
    done = subprocess.run(argv, input=yaml.safe_dump_all(objects), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(objects)
    assert "Warning" not in done.stderr


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"nodes": {}}, "'nodes' not allowed"),
        ({"node": {"replica": 3}}, "'replica' not allowed"),
        ({"node": {"replicas": 0}}, "/node/replicas"),
        ({"node": {"replicas": 16}}, "/node/replicas"),
        ({"server": {"image": {"digest": "latest"}}}, "/server/image/digest"),
        ({"server": {"image": {"repository": "docker.io/a/b:tag"}}}, "/server/image/repository"),
        ({"server": {"image": {"digest": "", "tag": ""}}}, "server.image.digest or server.image.tag is required"),
        ({"ephemeral": False}, "/ephemeral"),
        ({"messages": {"usualTtl": 60, "longestTtl": 30}}, "messages.usualTtl must not be above"),
        ({"ingress": {"host": "a`) || PathPrefix(`/"}}, "/ingress/host"),
        ({"networkPolicies": {"from": [{}]}}, "/networkPolicies/from/0"),
        ({"node": {"resources": {"limits": {"memory": "lots"}}}}, "/node/resources/limits/memory"),
    ],
)
def test_what_cannot_be_meant_is_refused(helm: Site, values: Values, said: str) -> None:
    done = template(helm, values)
    assert done.returncode == 1
    assert said in done.stderr
