"""Helm's argv as written, and what its output means, recorded from Helm 3.19 and Helm 4.3."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.errors import Ambiguous, AuthError, ConfigError, Locked, NotRolledBack, PipelineError, Transient
from pipeline.tools import helm

CASES = Path(__file__).parents[1] / "cases" / "helm"
EXPECTED: dict[str, tuple[type[PipelineError], str]] = {
    "conflict": (ConfigError, "another field manager"),
    "forbidden": (AuthError, "forbids"),
    "hook-failed": (NotRolledBack, "hook"),
    "immutable": (ConfigError, "cannot change"),
    "invalid-name": (ConfigError, "refused"),
    "kind": (ConfigError, "does not know"),
    "kubeversion": (ConfigError, "version of Kubernetes"),
    "large": (ConfigError, "too large"),
    "missing-chart": (ConfigError, "refused"),
    "no-namespace": (ConfigError, "does not exist"),
    "no-release": (ConfigError, "helm failed"),
    "no-revision": (ConfigError, "helm failed"),
    "ownership": (ConfigError, "belongs to somebody else"),
    "parse": (ConfigError, "cannot be rendered"),
    "pending": (Locked, "another operation"),
    "schema": (ConfigError, "schema"),
    "schema-value": (ConfigError, "schema"),
    "template": (ConfigError, "cannot be rendered"),
    "terminating": (ConfigError, "being deleted"),
    "unauthorized": (AuthError, "credentials"),
    "unreachable": (Transient, "lost the Kubernetes API"),
    "yaml": (ConfigError, "cannot be rendered"),
}
TARGET = helm.Target("helm", (4, 3), "web", "shop", "/k/config", "lab")
RECORDED = sorted(file for file in CASES.glob("*.txt") if "exit 0" not in file.read_text())


def test_every_recorded_failure_is_expected_here() -> None:
    assert {file.stem.partition("-")[2] for file in RECORDED} == set(EXPECTED)


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: str(file.stem))
def test_a_failure_means_what_it_says(file: Path) -> None:
    text, _, code = file.read_text().strip().rpartition("exit ")
    kind, words = EXPECTED[file.stem.partition("-")[2]]
    error = helm.failure(int(code), text)
    assert type(error) is kind
    assert words in error.what
    assert "Error: " in error.cause
    assert error.mend or isinstance(error, Transient)


@pytest.mark.parametrize(
    "text",
    [
        "Error: UPGRADE FAILED: etcdserver: leader changed",
        'Error: UPGRADE FAILED: Internal error occurred: failed calling webhook "x": context deadline exceeded',
        "Error: raft proposal dropped",
    ],
)
def test_d09_a_failing_api_is_read_back_before_another_try(text: str) -> None:
    assert type(helm.failure(1, text)) is Ambiguous


def test_a_killed_helm_is_ambiguous() -> None:
    assert type(helm.failure(-9, "")) is Ambiguous


def test_an_upgrade_never_waits_never_sets_and_puts_names_last() -> None:
    argv = helm.upgrade(TARGET, "/w/chart", "/w/v.json", {"inputs": "ab", "fence": "3"}, 300)
    assert argv == (
        "helm", "upgrade", "--install", "--namespace", "shop", "--kubeconfig", "/k/config", "--kube-context", "lab",
        "--values", "/w/v.json",
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
