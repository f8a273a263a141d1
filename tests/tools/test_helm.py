"""Helm's argv as written, and its output read, recorded from Helm 3.19 and Helm 4.3."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.errors import Ambiguous, ConfigError
from pipeline.tools import helm

CASES = Path(__file__).parents[1] / "cases" / "helm"
TARGET = helm.Target("helm", (4, 3), "web", "shop", "/k/config", "lab")


@pytest.mark.parametrize(
    "text",
    [
        "Error: UPGRADE FAILED: etcdserver: leader changed",
        "Error: raft proposal dropped",
    ],
)
def test_d09_a_failing_api_is_read_back_before_another_try(text: str) -> None:
    assert type(helm.failure(1, text)) is Ambiguous


def test_a_killed_helm_is_ambiguous() -> None:
    assert type(helm.failure(-9, "")) is Ambiguous


def test_an_upgrade_never_waits_never_sets_and_puts_names_last() -> None:
    argv = helm.upgrade(TARGET, "/w/chart", ["/w/a,b.yaml", "/w/v.json"], {"inputs": "ab", "fence": "3"}, 300)
    assert argv == (
        "helm", "upgrade", "--install", "--namespace", "shop", "--kubeconfig", "/k/config", "--kube-context", "lab",
        "--values", '"/w/a,b.yaml"', "--values", "/w/v.json",
        "--history-max", "10", "--labels", "inputs=ab,fence=3", "--timeout", "300s", "--server-side=true", "--force-conflicts",
        "--", "web", "/w/chart",
    )  # fmt: skip
    assert not {"--wait", "--atomic", "--force", "--set"} & set(argv)


def test_helm_3_knows_nothing_of_server_side_apply() -> None:
    old = helm.Target("helm", (3, 19), "web", "shop", "/k/config", "lab", "https://127.0.0.1:6443", "node")
    argv = helm.rollback(old, 7, 60)
    assert "--force-conflicts" not in argv
    assert argv[-3:] == ("--", "web", "7")
    assert argv[8:12] == ("--kube-apiserver", "https://127.0.0.1:6443", "--kube-tls-server-name", "node")


def test_without_a_file_of_the_sites_a_person_calls_helm_with_their_own() -> None:
    own = dataclasses.replace(TARGET, kubeconfig="", context="")
    assert helm.uninstall(own, 60) == ("helm", "uninstall", "--namespace", "shop", "--timeout", "60s", "--", "web")


def test_the_users_own_helm_settings_are_not_inherited() -> None:
    user = {"PATH": "/bin", "HELM_NAMESPACE": "other", "HELM_DRIVER": "sql", "KUBECONFIG": "/other", "HOME": "/home/ann"}
    env = helm.environment(user, "/w/helm")
    assert "KUBECONFIG" not in env
    assert {key for key in env if key.startswith("HELM_")} == {"HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "HELM_NO_PLUGINS"}


@pytest.mark.parametrize(("text", "version"), [("v4.3", (4, 3)), ("v3.19.5+g1234", (3, 19)), ("v3.13.0", (3, 13))])
def test_versions_are_read(text: str, version: tuple[int, int]) -> None:
    assert helm.read_version(text) == version


@pytest.mark.parametrize("text", ["v3.12.3", "v2.17.0", "command not found", ""])
def test_y04_a_helm_that_is_too_old_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        helm.read_version(text)


@pytest.mark.parametrize("major", [3, 4])
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("parse", "parse/templates/x.yaml:1"),
        ("template", "tmpl/templates/x.yaml:1"),
        ("yaml", "yaml/templates/x.yaml, line 2 of what it gives"),
    ],
)
def test_a_template_that_cannot_be_rendered_is_named_by_file_and_line(name: str, place: str, major: int) -> None:
    text, _, code = (CASES / f"helm{major}-{name}.txt").read_text().strip().rpartition("exit ")
    assert helm.failure(int(code), text).what == f"the chart cannot be rendered: {place}"


def test_a_template_of_a_chart_inside_is_named_too() -> None:
    text = "Error: parse error at (web/charts/db/templates/a/b.yaml:12): unexpected"
    assert helm.failure(1, text).what == "the chart cannot be rendered: web/charts/db/templates/a/b.yaml:12"
