"""What a node's runtime said when it could not pull, recorded from containerd, and what it was taken to mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ResourceError
from pipeline.tools.crictl import classify, classify_message, error

CASES = Path(__file__).parents[1] / "cases" / "crictl"
REGISTRY = "192.0.2.7:32166"
IMAGE = f"{REGISTRY}/coulomb/deploy-test@sha256:{'0' * 64}"
EXPECTED = {
    "http": "http", "realm-lookup": "realm", "refused": "realm", "deny": "credentials", "scope": "credentials", "forbid": "credentials",
    "basic": "credentials", "absent": "absent", "arm": "platform", "busy": "busy",
    "closed": "rights", "sudo-password": "rights", "sudo-path": "rights", "sudo-tty": "rights",
    "e500": "network", "network": "network", "runtime": "runtime",
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(EXPECTED))
def test_d03_a_failed_pull_is_of_a_kind(case: str) -> None:
    pull = classify((CASES / f"{case}.txt").read_text())
    assert pull.kind == EXPECTED[case]
    assert "failed to resolve reference" not in pull.evidence


def test_a_registry_without_tls_is_mended_with_its_own_address() -> None:
    mend = error(classify((CASES / "http.txt").read_text()), IMAGE, "railiance01", REGISTRY).mend
    assert f'    "{REGISTRY}":\n      endpoint:\n        - "http://{REGISTRY}"' in mend
    assert f'[host."http://{REGISTRY}"]' in mend


def test_a_dead_realm_is_mended_with_its_name_and_port() -> None:
    raised = error(classify((CASES / "realm-lookup.txt").read_text()), IMAGE, "railiance01", REGISTRY)
    assert "gitea.coulomb.social:80" in raised.what
    assert "192.0.2.7 gitea.coulomb.social" in raised.mend
    assert f"--dport 80 -j DNAT --to-destination {REGISTRY}" in raised.mend
    assert f"ROOT_URL = http://{REGISTRY}/" in raised.mend


def test_a_kubelets_event_is_read_like_the_runtimes_own_words() -> None:
    text = f'Failed to pull image "{IMAGE}": rpc error: code = Unknown desc = failed to pull and unpack image "a": no space left on device'
    pull = classify_message(text)
    assert pull.kind == "disk"
    assert isinstance(error(pull, IMAGE, "node", REGISTRY), ResourceError)
    assert pull.evidence == "no space left on device"


def test_a_user_who_may_not_ask_the_runtime_is_told_what_sudo_needs() -> None:
    raised = error(classify((CASES / "sudo-password.txt").read_text()), IMAGE, "railiance01", REGISTRY)
    assert raised.what == "this user may not ask railiance01's container runtime"
    assert raised.cause == "sudo: a password is required"
    assert "NOPASSWD: /usr/local/bin/k3s crictl images" in raised.mend
