"""Flux and the objects that keep a release: installed, at work, on the right branch, or named with what mends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.deploy.flux_spec import Flux
from pipeline.doctor import cluster, flux, images, permissions
from pipeline.doctor.verdict import Check, Verdict, ask_all
from pipeline.gitops.spec import Automation, Gitops
from pipeline.stage import Cluster
from pipeline.testing.kube import FakeKube, Fault
from pipeline.tools.flux import REQUESTED, Ref
from pipeline.tools.kubeconfig import load

from .flux_world import APPLIER, COMMIT, READY, RELEASE, SOURCE, SPEC, World, world
from .parts import by_name, site

AUTOMATED = Automation({"web": "ghcr.io/owner/web"}, secrets={"web": "ghcr-login"})
REPOSITORY, POLICY = Ref("ImageRepository", "flux-system", "fade-web"), Ref("ImagePolicy", "flux-system", "fade-web")
UPDATE = Ref("ImageUpdateAutomation", "flux-system", "fade")
Look = Callable[..., dict[str, Verdict]]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeKube]:
    found = FakeKube(tmp_path)
    yield found
    found.close()


@pytest.fixture
def there(fake: FakeKube) -> World:
    return world(fake)


@pytest.fixture
def look(fake: FakeKube, tmp_path: Path) -> Look:
    kubeconfig = fake.kubeconfig()
    ca = f"sha256:{load(str(kubeconfig)).identities[0]}"

    def asked(spec: Flux = SPEC, automation: Automation | None = None) -> dict[str, Verdict]:
        with site(tmp_path, clusters={"k3s": Cluster(str(kubeconfig), identity=ca)}) as here:
            checks = [Check(flux.name(spec), "kinds", lambda: flux.look(spec, Gitops(automation=automation), here))]
            if automation:
                checks.append(Check(flux.name(spec), "images", lambda: images.look(spec, automation, here)))
            return by_name(ask_all(checks))

    return asked


def stamp(ago: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - ago))


def test_all_is_well_and_nothing_is_written(there: World, look: Look) -> None:
    before = dict(there.kube.objects)
    found = look()
    assert {verdict.status for verdict in found.values()} == {"ok"}, found
    assert found["kinds"].evidence == "helm.toolkit.fluxcd.io/v2, kustomize.toolkit.fluxcd.io/v1, source.toolkit.fluxcd.io/v1"
    assert found["controllers"].evidence == "source-controller v1.7.3, kustomize-controller v1.7.3, helm-controller v1.7.3"
    assert found["GitRepository"].evidence == "flux-system has 1a2b3c4 of main"
    assert found["HelmRelease"].evidence == "fade has 0.1.0, Helm's revision 7"
    assert there.kube.objects == before


def test_a_cluster_without_flux_is_told_in_one_line(fake: FakeKube, look: Look) -> None:
    (verdict,) = look().values()
    assert (verdict.status, verdict.evidence) == ("fail", "the cluster has no GitRepository: Flux is not installed")
    assert verdict.mend == "inv flux.bootstrap"


def test_a_flux_that_serves_only_v2beta2_is_named(there: World, look: Look) -> None:
    fake = there.kube
    del fake.objects["/apis/helm.toolkit.fluxcd.io/v2"]
    fake.objects["/apis/helm.toolkit.fluxcd.io"]["versions"] = [{"version": "v2beta1"}, {"version": "v2beta2"}]
    fake.objects["/apis/helm.toolkit.fluxcd.io/v2beta2"] = {"resources": [{"name": "helmreleases"}]}
    (verdict,) = look().values()
    said = "the cluster has HelmRelease in helm.toolkit.fluxcd.io/v2beta2 alone, not in helm.toolkit.fluxcd.io/v2"
    assert (verdict.status, verdict.evidence) == ("fail", said)
    assert "install a newer Flux" in verdict.mend


def test_controllers_that_are_missing_or_ill(there: World, look: Look) -> None:
    there.deployment("helm-controller", available="False")
    verdict = look()["controllers"]
    assert (verdict.status, verdict.evidence) == ("fail", "helm-controller not available")
    assert "kubectl -n flux-system logs deployment/helm-controller" in verdict.mend
    there.kube.drop("/apis/apps/v1/namespaces/flux-system/deployments/helm-controller")
    assert look()["controllers"].evidence == "helm-controller not there, in namespace flux-system"


def no_deployments(there: World) -> None:
    for name in ("source-controller", "kustomize-controller", "helm-controller"):
        there.kube.drop(f"/apis/apps/v1/namespaces/flux-system/deployments/{name}")


def test_controllers_beside_the_cluster_are_known_by_what_they_handled(there: World, look: Look) -> None:
    no_deployments(there)
    value = there.objects[SOURCE]
    there.put(SOURCE, value["spec"], value["status"] | {"lastHandledReconcileAt": stamp(9)}, annotations={REQUESTED: stamp(9)})
    verdict = look()["controllers"]
    assert (verdict.status, verdict.evidence) == (
        "ok",
        "no Deployment in flux-system says that it is Flux's; all the same what was asked of 3 objects was handled",
    )


@pytest.mark.parametrize("ago", [lambda: stamp(600), lambda: str(int(time.time()) - 600)])
def test_a_request_that_nobody_handles_means_that_nobody_is_there(there: World, look: Look, ago: Callable[[], str]) -> None:
    no_deployments(there)
    there.put(SOURCE, there.objects[SOURCE]["spec"], annotations={REQUESTED: ago()})
    verdict = look()["controllers"]
    assert verdict.status == "fail"
    assert "a request to look at it waits for 10 min: GitRepository flux-system/flux-system" in verdict.evidence
    assert "inv flux.bootstrap" in verdict.mend


def test_a_spec_that_nobody_sees(there: World, look: Look) -> None:
    no_deployments(there)
    fields = [{"time": stamp(300)}, {"time": stamp(1), "subresource": "status"}]
    there.put(RELEASE, there.objects[RELEASE]["spec"], {"observedGeneration": 0}, managedFields=fields)
    verdict = look()["controllers"]
    assert (verdict.status, "its spec waits for 5 min: HelmRelease fade/fade" in verdict.evidence) == ("fail", True)
    there.put(RELEASE, there.objects[RELEASE]["spec"], {"observedGeneration": 0}, managedFields=[{"time": stamp(3)}])
    assert look()["controllers"].status == "ok"


def test_a_kustomization_that_was_not_reconciled_for_long(there: World, look: Look) -> None:
    no_deployments(there)
    there.put(APPLIER, there.objects[APPLIER]["spec"], {"conditions": [READY | {"lastTransitionTime": stamp(7200)}]})
    verdict = look()["controllers"]
    assert (verdict.status, "was last reconciled 2 h ago (interval 10m)" in verdict.evidence) == ("warn", True)


def test_no_objects_tell_nothing_of_controllers(there: World, look: Look) -> None:
    no_deployments(there)
    for ref in (SOURCE, APPLIER, RELEASE):
        there.kube.drop(ref.path)
    found = look()
    assert found["controllers"].status == "unknown"
    assert [found[kind].mend for kind in ("GitRepository", "Kustomization")] == ["inv flux.bootstrap"] * 2
    assert found["HelmRelease"].mend.startswith("inv flux.init")


def test_f03_what_is_suspended_is_told_with_the_way_on(there: World, look: Look) -> None:
    there.put(APPLIER, there.objects[APPLIER]["spec"] | {"suspend": True})
    verdict = look()["Kustomization"]
    assert (verdict.status, "is suspended" in verdict.evidence) == ("fail", True)
    assert "flux resume kustomization flux-system -n flux-system" in verdict.mend


def test_a_release_that_was_never_made_is_no_fault(there: World, look: Look) -> None:
    values = {"values": {"image": {"digest": "sha256:" + "0" * 64}}}
    there.put(RELEASE, there.objects[RELEASE]["spec"] | {"suspend": True} | values)
    verdict = look()["HelmRelease"]
    assert (verdict.status, verdict.evidence) == ("ok", "HelmRelease fade/fade waits for its first release")


def test_f04_a_release_out_of_retries_has_its_exact_remedy(there: World, look: Look) -> None:
    there.condition(RELEASE, "Ready", "False", "UpgradeFailed", "Helm upgrade failed for release fade/fade: context deadline exceeded")
    there.condition(RELEASE, "Stalled", "True", "RetriesExceeded", "Failed to upgrade after 1 attempt(s)")
    verdict = look()["HelmRelease"]
    assert (verdict.status, "gave up" in verdict.evidence) == ("fail", True)
    assert "flux reconcile helmrelease fade -n fade --force --reset" in verdict.mend


def test_what_may_pass_is_no_failure(there: World, look: Look) -> None:
    message = "failed to checkout and determine revision: dial tcp 10.0.0.1:22: connect: connection refused"
    there.condition(SOURCE, "Ready", "False", "GitOperationFailed", message)
    verdict = look()["GitRepository"]
    assert (verdict.status, verdict.mend.startswith("nothing to do, if it passes")) == ("warn", True)


@pytest.mark.parametrize(
    ("ref", "spec", "name", "said"),
    [
        (SOURCE, {"ref": {"branch": "trunk"}}, "follows", "follows branch trunk, and a release is committed to main"),
        (SOURCE, {"ref": {"tag": "v1"}}, "follows", "follows no branch"),
        (APPLIER, {"path": "./clusters/staging"}, "path",
         "applies clusters/staging, and clusters/production/fade/release.yaml is not in it"),
        (RELEASE, {"chart": {"spec": {"reconcileStrategy": "ChartVersion", "sourceRef": {"kind": "GitRepository", "name": "a"}}}},
         "chart", "reconcileStrategy ChartVersion"),
    ],
)  # fmt: skip
def test_objects_that_lead_elsewhere(there: World, look: Look, ref: Ref, spec: dict[str, Any], name: str, said: str) -> None:
    value = there.objects[ref]
    there.put(ref, value["spec"] | spec, value["status"])
    verdict = look()[name]
    assert verdict.status == ("warn" if name == "chart" else "fail")
    assert said in verdict.evidence
    assert verdict.mend


def test_a_kustomization_behind_its_source_is_told(there: World, look: Look) -> None:
    there.put(APPLIER, there.objects[APPLIER]["spec"], {"lastAppliedRevision": f"main@sha1:{'9' * 40}"})
    verdict = look()["applied"]
    assert (verdict.status, verdict.evidence) == ("warn", f"Kustomization flux-system/flux-system has 9999999, its source {COMMIT[:7]}")


def automated(there: World, *, secret: bool = True) -> None:
    there.install("ImageRepository", "ImagePolicy", "ImageUpdateAutomation")
    for name in ("image-reflector-controller", "image-automation-controller"):
        there.deployment(name)
    if secret:
        there.kube.put("/api/v1/namespaces/flux-system/secrets/ghcr-login", {"metadata": {"name": "ghcr-login"}})
    there.put(REPOSITORY, {"image": "ghcr.io/owner/web"})
    there.put(
        POLICY, {"policy": {}}, {"latestRef": {"name": "ghcr.io/owner/web", "tag": "main-1a2b3c4-17", "digest": "sha256:" + "ab" * 32}}
    )
    there.put(UPDATE, {"interval": "5m"}, {"lastPushCommit": COMMIT})


def test_image_automation_that_works_says_what_is_the_newest(there: World, look: Look) -> None:
    automated(there)
    found = look(SPEC, AUTOMATED)
    assert {verdict.status for verdict in found.values()} == {"ok"}, found
    assert found["web"].evidence == "the newest is main-1a2b3c4-17 (sha256:abababababab…)"
    assert found["automation"].evidence == "fade writes, last in 1a2b3c4"


def test_image_automation_without_its_controller_is_told_once(there: World, look: Look) -> None:
    automated(there)
    served = there.kube.objects["/apis/image.toolkit.fluxcd.io/v1"]["resources"]
    served.remove({"name": "imageupdateautomations"})
    found = look(SPEC, AUTOMATED)
    said = "the cluster has no ImageUpdateAutomation: image-automation-controller is not installed"
    assert (found["kinds"].status, found["kinds"].evidence) == ("fail", said)
    assert "--components-extra=image-reflector-controller,image-automation-controller" in found["kinds"].mend


@pytest.mark.parametrize(
    ("ref", "kind", "reason", "message", "named", "said", "mend"),
    [
        (REPOSITORY, "Ready", "ReadOperationFailed", "scan failed: GET https://ghcr.io/v2/owner/web/tags/list: UNAUTHORIZED: no login",
         "web", "the registry refuses Flux's login", "create secret docker-registry"),
        (POLICY, "Ready", "Failure", "version list argument cannot be empty", "web", "no tag of the repository is one", "sortable@main"),
        (POLICY, "Ready", "Failure", "failed to parse invalid numeric value '1a2b3c4'", "web",
         "compares numbers, and '1a2b3c4'", "`extract`"),
        (POLICY, "Stalled", "InvalidPolicy", "failed to filter tags: invalid regular expression pattern", "web",
         "cannot be read", "inv flux.init"),
        (UPDATE, "Ready", "GitOperationFailed", "failed to push: ERROR: The key you are authenticating with has been marked as read only.",
         "automation", "may not write", "inv flux.bootstrap"),
    ],
)  # fmt: skip
def test_image_automation_that_is_stuck_is_told_with_what_mends_it(
    there: World, look: Look, ref: Ref, kind: str, reason: str, message: str, named: str, said: str, mend: str
) -> None:
    automated(there)
    there.condition(ref, kind, "True" if kind == "Stalled" else "False", reason, message)
    verdict = look(SPEC, AUTOMATED)[named]
    assert verdict.status == "fail"
    assert said in verdict.evidence
    assert message in verdict.evidence
    assert mend in verdict.mend


def test_image_automation_without_its_secret_or_its_objects(there: World, look: Look) -> None:
    automated(there, secret=False)
    verdict = look(SPEC, AUTOMATED)["web"]
    assert (verdict.status, "Secret flux-system/ghcr-login" in verdict.evidence) == ("fail", True)
    assert "kubectl -n flux-system create secret docker-registry ghcr-login --docker-server=ghcr.io" in verdict.mend
    for ref in (POLICY, UPDATE):
        there.kube.drop(ref.path)
    open_to_all = Automation({"web": "ghcr.io/owner/web"})
    found = look(SPEC, open_to_all)
    assert found["web"].evidence == "ImagePolicy flux-system/fade-web is not there"
    assert found["automation"].evidence == "ImageUpdateAutomation flux-system/fade is not there"


def test_what_a_deploy_by_flux_needs_to_be_allowed(fake: FakeKube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {("flux-system", "leases", "create"), ("fade", "helmreleases", "patch")}

    def allowed(_kube: Any, namespace: str, group: str, resource: str, verb: str) -> bool:
        return (namespace, resource, verb) not in refused

    monkeypatch.setattr(permissions, "allowed", allowed)
    with site(tmp_path, clusters={"k3s": Cluster(str(fake.kubeconfig()))}) as here:
        found = by_name(list(cluster.look("k3s", [SPEC], [], here)))
    assert (
        found["permissions"].evidence
        == "in fade and flux-system this user may not: patch helmreleases.helm.toolkit.fluxcd.io; create leases.coordination.k8s.io"
    )
    assert "-n flux-system --verb=create --resource=leases.coordination.k8s.io" in found["permissions"].mend
    assert found["namespace"].evidence == "fade is not there yet; Flux makes it"
    assert "chart's kinds" not in found


def test_the_lock_of_a_release_by_flux_is_beside_flux(fake: FakeKube, tmp_path: Path) -> None:
    allowed: Fault = (201, {"status": {"allowed": True}}, {})
    fake.fault = lambda _method, path: allowed if path.endswith("selfsubjectaccessreviews") else None
    lease = {
        "metadata": {"name": "pipeline-fade"},
        "spec": {"holderIdentity": "anna@laptop/42/1/b/s/r1", "acquireTime": "2026-11-21T08:00:00Z"},
    }
    fake.put("/apis/coordination.k8s.io/v1/namespaces/flux-system/leases/pipeline-fade", lease)
    name = "sh.helm.release.v1.fade.v4"
    labels = {"owner": "helm", "name": "fade", "version": "4", "status": "deployed"}
    fake.put(f"/api/v1/namespaces/fade/secrets/{name}", {"metadata": {"name": name, "labels": labels}})
    with site(tmp_path, clusters={"k3s": Cluster(str(fake.kubeconfig()))}) as here:
        found = by_name(list(cluster.look("k3s", [SPEC], [], here)))
    assert found["release"].evidence == "revision 4 of fade is deployed, by Flux"
    assert "anna@laptop" in found["lock"].evidence
    assert found["permissions"].status == "ok"
