"""What Flux's controllers said when they could not go on, recorded from the real ones, and what it is taken to mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.tools.flux import Ref, Sign, State, state
from pipeline.tools.flux_words import Words, again, once_more, resume, tidy, words

CASES = Path(__file__).parents[1] / "cases" / "flux"
# what was recorded: its kind, whether it may pass, and what a person has to find in it
EXPECTED: dict[str, tuple[str, bool, tuple[str, ...]]] = {
    "chart-absent": ("chart", False, ("there is no chart where", "stat source/helm/none", "spec.chart")),
    "chart-dependency": ("chart", False, ("dependencies cannot be had", "connection refused", "charts/ and Chart.lock")),
    "chart-lint": ("chart", False, ("the chart is malformed", "chart.metadata.name is required", "helm lint")),
    "chart-version": ("chart", False, ("the chart is malformed", 'chart.metadata.version "false" is invalid')),
    "git-auth": ("fetch", False, ("refuses Flux's login", "shop/stranger", "inv flux.bootstrap", "flux reconcile source git fade -n shop")),
    "git-branch": ("fetch", False, ("branch nope is not in ssh://git@192.0.2.7:30022/coulomb/shop-gitops.git", "spec.ref")),
    "git-hostkey-changed": ("fetch", False, ("host key is not the one", "compare its fingerprint", "shop/moved")),
    "git-hostkey-unknown": ("fetch", False, ("not told the git server's host key", "shop/unknown")),
    "git-http-auth": ("fetch", False, ("refuses Flux's login",)),
    "git-name-dns": ("fetch", True, ("cannot reach ssh://git@git.invalid/x.git: network is unreachable",)),
    "git-refused": ("fetch", True, ("cannot reach ssh://git@192.0.2.7:1/", "connection refused", "by itself")),
    "git-repository": ("fetch", False, ("there is no repository ssh://git@192.0.2.7:30022/coulomb/shop-none.git, or not for Flux",)),
    "git-secret": ("fetch", False, ("the Secret that GitRepository shop/fade logs in with is not there", "shop/not-there")),
    "hr-broken-image-stalled": ("retries", False, ("gave up (failed to upgrade after 1 attempt(s)): what the chart made did not come up",
                                                  "context deadline exceeded", "--force --reset", "kubectl get pods -n shop")),
    "hr-hook": ("retries", False, ("a hook of the chart failed", "job hook failed: DeadlineExceeded")),
    "hr-immutable": ("retries", False, ("a field that cannot be changed", "spec.selector")),
    "hr-install-stalled": ("retries", False, ("gave up (failed to install after 1 attempt(s))", "context deadline exceeded")),
    "hr-kind": ("apply", False, ("a kind that the chart uses", 'no matches for kind "Nothing" in version "x.example.org/v1"')),
    "hr-quota": ("retries", False, ("quota is used up", 'configmaps "more" is forbidden: exceeded quota: few')),
    "hr-remediated": ("retries", False, ("context deadline exceeded", "Helm rollback to previous release shop/web.v2")),
    "hr-required": ("chart", False, ("does not render", "(web/templates/web.yaml:7:11): text has to be given")),
    "hr-retrying": ("rollout", False, ("did not come up in time", "Helm rollback to previous release shop/web.v8")),
    "hr-schema": ("values", False, ("the chart refuses the values", "at '/replicas': got string, want integer")),
    "hr-suspended": ("suspended", False, ("flux resume helmrelease web -n shop", "helmreleases.helm.toolkit.fluxcd.io/web")),
    "hr-template": ("chart", False, ("does not render", "web/templates/web.yaml:23:10")),
    "hr-valuesfrom": ("values", False, ("what valuesFrom of HelmRelease shop/web names is not there", "'shop/not-there'")),
    "hr-yaml": ("chart", False, ("does not render", "YAML parse error on web/templates/web.yaml")),
    "ks-broken-yaml": ("build", False, ("cannot build", "clusters/broken.yaml: MalformedYAMLError: yaml: line 1")),
    "ks-depends": ("waiting", True, ("waits: dependency 'shop/infrastructure' is not ready",)),
    "ks-depends-absent": ("waiting", True, ("dependency 'shop/infrastructure' not found",)),
    "ks-health": ("health", False, ("does not become ready", "Deployment/shop/y", "spec.timeout")),
    "ks-immutable": ("apply", False, ("cannot be changed", 'Deployment.apps "x"', "kustomize.toolkit.fluxcd.io/force: enabled")),
    "ks-kustomization-file": ("build", False, ("resources from 'missing.yaml': open clusters/missing.yaml", "kustomize build")),
    "ks-namespace": ("apply", False, ("namespace not-there is not there", "namespace.yaml")),
    "ks-not-an-object": ("build", False, ("clusters/broken.yaml: missing Resource metadata",)),
    "ks-path": ("build", False, ("the folder ./nowhere is not in the commit",)),
    "ks-policy-denied": ("apply", False, ("the admission policy pol-shop refused", "no more maps")),
    "ks-source": ("absent", False, ("follows GitRepository gone, which is not there", "spec.sourceRef")),
    "ks-suspended": ("suspended", False, ("is suspended", "flux resume kustomization fade -n shop", '{"spec":{"suspend":false}}')),
    "ks-unknown-field": ("apply", False, ("the API refuses", ".spec.replicas: expected numeric")),
    "ks-webhook-away": ("apply", True, ("admission webhook hook.example.org does not answer", "connection refused")),
    "oci-absent": ("fetch", False, ("does not have what OCIRepository shop/chart asks for", "inv chart.push")),
    "oci-refused": ("fetch", True, ("cannot reach oci://192.0.2.7:1/nothing/here: connection refused",)),
    "oci-secret": ("fetch", False, ("the Secret that OCIRepository shop/chart logs in with is not there",)),
}  # fmt: skip


GIT, APPLIER, HELM = "GitRepository", "Kustomization", "HelmRelease"
NO_KIND = 'HelmRelease/shop/web dry-run failed: no matches for kind "HelmRelease" in version "helm.toolkit.fluxcd.io/v2beta2"'
BUSY = "Helm upgrade failed for release shop/web with chart web@1: another operation (install/upgrade/rollback) is in progress"


WELL = ("hr-running", "settled")  # where nothing is wrong


def recorded(case: str) -> State:
    """The one object of a case, as it was recorded."""
    ((kind, value),) = json.loads((CASES / f"{case}.json").read_text()).items()
    return state(Ref(kind, value["metadata"]["namespace"], value["metadata"]["name"]), value)


def told(found: Words) -> str:
    return "\n".join((found.what, found.cause, found.mend))


def test_every_recorded_object_is_expected_here() -> None:
    assert {file.stem for file in CASES.glob("*.json")} - set(WELL) == set(EXPECTED)


@pytest.mark.parametrize("case", sorted(EXPECTED))
def test_f03_what_a_controller_says_means_what_it_says(case: str) -> None:
    kind, passing, parts = EXPECTED[case]
    found = words(recorded(case))
    assert found is not None
    assert (found.kind, found.passing) == (kind, passing), found
    missing = [part for part in parts if part not in told(found)]
    assert not missing, told(found)
    assert found.mend
    assert "{" not in found.what
    assert "/tmp/" not in told(found).replace("(/tmp)", "")


def test_nothing_is_said_of_what_is_well() -> None:
    for case in WELL:
        for kind, value in json.loads((CASES / f"{case}.json").read_text()).items():
            found = state(Ref(kind, "shop", value["metadata"]["name"]), value)
            assert words(found) is None
            assert found.settled == (case == "settled"), kind


def of(kind: str, reason: str, message: str, **more: Any) -> Words:
    found = words(State(Ref(kind, "shop", "web"), ready=Sign("False", reason, message, 1), **more))
    assert found is not None
    return found


# from the controllers' source, or the API's: what the lab cannot be made to say
@pytest.mark.parametrize(
    ("kind", "reason", "message", "expected", "passing", "part"),
    [
        (GIT, "StorageOperationFailed", "write /data/x: no space left on device", "fetch", False, "no room"),
        (GIT, "GitOperationFailed", "unable to clone: unexpected client error: 429 Too Many Requests", "fetch", True, "patience"),
        (GIT, "GitOperationFailed", 'Get "https://x": x509: certificate signed by unknown authority', "fetch", False, "ca.crt"),
        (GIT, "GitOperationFailed", "read tcp: connection reset by peer", "fetch", True, "connection reset"),
        (GIT, "GitOperationFailed", "context deadline exceeded", "fetch", True, "cannot reach"),
        (GIT, "EmptyGitRepository", "git repository is empty", "fetch", False, "inv flux.init"),
        (GIT, "Odd", "nobody has seen this", "fetch", False, "cannot fetch"),
        ("OCIRepository", "OCIArtifactPullFailed", "failed to determine artifact digest: UNAUTHORIZED: x", "fetch", False, "refuses"),
        ("OCIRepository", "VerificationError", "failed to verify the signature using provider 'cosign'", "fetch", False, "not signed"),
        (APPLIER, "ReconciliationFailed", NO_KIND, "apply", False, "inv flux.migrate"),
        (APPLIER, "ReconciliationFailed", 'admission webhook "deny.x" denied the request: no', "apply", False, "deny.x refused"),
        (APPLIER, "ReconciliationFailed", 'x is forbidden: User "deployer" cannot patch', "apply", False, "deployer may not"),
        (APPLIER, "ArtifactFailed", "Source artifact not found, retrying in 5s", "waiting", True, "what its source stores"),
        (APPLIER, "ReconciliationFailed", "etcdserver: request timed out", "apply", True, "did not answer"),
        (APPLIER, "ReconciliationFailed", "something new", "apply", False, "cannot apply"),
        (HELM, "UpgradeFailed", BUSY, "upgrade", True, "another Helm operation"),
        (HELM, "ArtifactFailed", "Source not ready: artifact not found. Retrying in 30s", "waiting", True, "waits for its chart"),
        (HELM, "InstallFailed", "Helm install failed for release shop/web with chart web@1: new", "install", False, "cannot install"),
        (HELM, "UpgradeFailed", "Helm upgrade failed for release shop/web with chart web@1: new", "upgrade", False, "cannot upgrade"),
        (HELM, "DependencyNotReady", "dependency 'shop/other' is not ready", "waiting", True, "waits: dependency 'shop/other'"),
        (HELM, "RetryAfterInterval", "Will retry after 5m", "upgrade", True, "tries again"),
    ],
)  # fmt: skip
def test_f03_what_only_the_source_says(kind: str, reason: str, message: str, expected: str, passing: bool, part: str) -> None:
    found = of(kind, reason, message)
    assert (found.kind, found.passing) == (expected, passing), found
    assert part in told(found)


def test_a_stall_that_is_not_of_retries_keeps_the_remedy_of_its_cause() -> None:
    denied = "AccessDenied"
    found = words(State(Ref("Kustomization", "shop", "web"), stalled=Sign("True", denied, "can't access 'GitRepository/x/y'", 1)))
    assert found is not None
    assert found.kind == "stalled"
    assert "has stalled (AccessDenied)" in found.what
    assert found.mend


def test_the_ways_to_mend_can_be_pasted() -> None:
    ref = Ref("HelmRelease", "shop", "web")
    assert resume(ref).splitlines()[:2] == [
        "flux resume helmrelease web -n shop",
        'without flux: kubectl patch -n shop helmreleases.helm.toolkit.fluxcd.io/web --type merge -p \'{"spec":{"suspend":false}}\'',
    ]
    note = "kubectl annotate --overwrite --field-manager=flux-client-side-apply -n shop helmreleases.helm.toolkit.fluxcd.io/web"
    assert again(ref) == f"flux reconcile helmrelease web -n shop, or at=$(date +%s); {note} reconcile.fluxcd.io/requestedAt=$at"
    assert once_more(ref).splitlines()[0] == "flux reconcile helmrelease web -n shop --force --reset"
    assert once_more(ref).endswith("requestedAt=$at reconcile.fluxcd.io/forceAt=$at reconcile.fluxcd.io/resetAt=$at")


def test_a_long_message_is_cut_and_a_controllers_own_folder_is_nobodys_business() -> None:
    assert len(tidy("x" * 5000)) == 1200
    assert tidy(" open /tmp/kustomization-123/clusters/a.yaml: no ") == "open clusters/a.yaml: no"
    assert tidy("open /etc/passwd") == "open /etc/passwd"
