"""kubectl's command line and its outputs, as they were recorded from kubectl 1.34."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import Ambiguous, AuthError, ConfigError, PipelineError, Transient
from pipeline.tools import kubectl

CASES = Path(__file__).parents[1] / "cases" / "kubectl"
TARGET = kubectl.Target("kubectl", "shop", "/k/config", "prod")


@pytest.mark.parametrize(
    ("name", "kind", "what"),
    [
        ("immutable", ConfigError, "the manifests change a field that cannot change"),
        ("unknown-field", ConfigError, "the manifests hold a field that is not known"),
        ("unknown-kind", ConfigError, "the manifests hold a kind this cluster does not know"),
        ("no-namespace", ConfigError, "the namespace is gone"),
        ("forbidden", AuthError, "the Kubernetes API forbids what the manifests need"),
        ("unauthorized", AuthError, "the Kubernetes API does not know these credentials"),
        ("refused", Transient, "kubectl lost the Kubernetes API"),
    ],
)
def test_what_it_says_is_understood(name: str, kind: type[PipelineError], what: str) -> None:
    error = kubectl.failure(1, (CASES / f"{name}.txt").read_text())
    assert type(error) is kind
    assert error.what == what
    assert error.cause


def test_what_nobody_knows_is_looked_at_first() -> None:
    assert isinstance(kubectl.failure(1, "something new"), Ambiguous)
    assert "signal 9" in kubectl.failure(-9, "").what


def test_the_words_of_an_apply() -> None:
    assert kubectl.apply(TARGET, "/w/web.yaml", "pipeline") == (
        "kubectl", "apply", "--namespace", "shop", "--kubeconfig", "/k/config", "--context", "prod", "--server-side", "--force-conflicts",
        "--field-manager=pipeline", "--filename", "/w/web.yaml",
    )  # fmt: skip
    tunnelled = kubectl.Target("kubectl", "shop", "/k/config", "prod", "https://127.0.0.1:5", "kube.example.org")
    assert kubectl.common(tunnelled)[-4:] == ("--server", "https://127.0.0.1:5", "--tls-server-name", "kube.example.org")


def test_nothing_of_the_users_leads_it_elsewhere() -> None:
    given = {"HOME": "/home/ann", "PATH": "/bin", "KUBECONFIG": "/home/ann/prod", "KUBECTL_EXTERNAL_DIFF": "rm", "HTTPS_PROXY": "http://p"}
    found = kubectl.environment(given, "/w/k")
    assert found == {
        "HOME": "/home/ann", "PATH": "/bin", "HTTPS_PROXY": "http://p", "KUBECACHEDIR": "/w/k/cache", "KUBERC": "off",
    }  # fmt: skip
