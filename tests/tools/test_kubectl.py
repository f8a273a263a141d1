"""kubectl's command line and its outputs, as they were recorded from kubectl 1.34."""

from __future__ import annotations

from pathlib import Path

from pipeline.tools import kubectl

CASES = Path(__file__).parents[1] / "cases" / "kubectl"
TARGET = kubectl.Target("kubectl", "shop", "/k/config", "prod")


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
