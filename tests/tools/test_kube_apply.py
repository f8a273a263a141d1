"""What the API says to an object on trial, as it was recorded from Kubernetes 1.34."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import Ambiguous, AuthError, ConfigError
from pipeline.tools.kube_apply import conflicts, refusal

CASES = Path(__file__).parents[1] / "cases" / "kubectl"


def said(name: str) -> str:
    return (CASES / f"{name}.txt").read_text()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("trial-conflict", [("spec.replicas", "kubectl-edit")]),
        ("trial-conflict-two", [("spec.minReadySeconds", "kubectl-edit"), ("spec.replicas", "kubectl-edit")]),
        ("trial-conflict-managers", [("spec.replicas", "kubectl-edit"), ("spec.minReadySeconds", "lens")]),
        ("trial-conflict-scale", [("spec.replicas", "kube-controller-manager (scale)"), ("spec.minReadySeconds", "lens")]),
        ("conflict", [("data.a", "kubectl-patch")]),
        ("trial-immutable", []),
    ],
)
def test_whose_fields_would_be_taken(name: str, found: list[tuple[str, str]]) -> None:
    assert list(conflicts(said(name))) == found


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("trial-unknown-field", "Deployment web: spec.replicass is not a field this cluster knows"),
        ("trial-type", "Deployment web: spec.replicas: expected numeric (int or float), got string"),
        ("trial-not-text", "Deployment web: data.a: expected string, got &value.valueUnstructured{Value:1}"),
        ("trial-immutable", "Deployment web: spec.selector cannot be changed once it is made"),
        ("trial-immutable-two", "Deployment web: spec.selector cannot be changed once it is made"),
        ("trial-service", "Deployment web: spec.clusterIPs[0] cannot be changed once it is made"),
        ("trial-stateful", "Deployment web: spec cannot be changed once it is made"),
        ("trial-immutable-map", "Deployment web: data cannot be changed once it is made"),
        ("trial-invalid", "the cluster refuses Deployment web"),
    ],
)
def test_what_is_wrong_with_the_manifests_is_said_of_the_manifests(name: str, what: str) -> None:
    """A field that is not known comes as HTTP 500: told as it is, it would look like a server that fails, and be tried again."""
    kind = ConfigError if "invalid" in said(name) else Ambiguous
    error = refusal("Deployment web", kind("the Kubernetes API refused it", cause=said(name)))
    assert isinstance(error, ConfigError)
    assert error.what == what
    assert error.cause == said(name)
    assert ("kubectl delete deployment/web" in error.mend) == ("cannot be changed" in what)


def test_what_is_not_about_the_manifests_stays_as_it_is() -> None:
    for error in (AuthError("no", cause="deployments is forbidden"), Ambiguous("no", cause="etcdserver: request timed out")):
        assert refusal("Deployment web", error) is error
