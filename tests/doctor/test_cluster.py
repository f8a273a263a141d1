"""The cluster: identity, permissions, and what a deploy would meet there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.deploy import freeze
from pipeline.deploy.manifest_spec import Kubectl, Manifests
from pipeline.deploy.spec import Helm
from pipeline.doctor import cluster, permissions
from pipeline.doctor.verdict import Check, Verdict, ask_all
from pipeline.stage import Cluster
from pipeline.testing.kube import FakeKube, Fault
from pipeline.tools.kubeconfig import load
from pipeline.verify.checks import Checks

from .parts import by_name, site

HELM = Helm("k3s", "shop", "web")
ALLOWED: Fault = (201, {"status": {"allowed": True}}, {})
DENIED: Fault = (201, {"status": {"allowed": False}}, {})
CHART = "apiVersion: v2\nname: web\nversion: 1.0.0\n"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/pipeline-web"


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeKube]:
    found = FakeKube(tmp_path)
    found.objects["/version"] = {"gitVersion": "v1.34.4+k3s1"}
    found.put("/api/v1/namespaces/shop", {"metadata": {"name": "shop"}, "status": {"phase": "Active"}})
    found.put("/api/v1/nodes/n1", {"metadata": {"name": "n1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    found.objects["/apis/traefik.io/v1alpha1"] = {"kind": "APIResourceList"}
    found.fault = lambda _method, path: ALLOWED if path.endswith("selfsubjectaccessreviews") else None
    templates = tmp_path / "chart" / "templates"
    templates.mkdir(parents=True)
    (tmp_path / "chart/Chart.yaml").write_text(CHART)
    (templates / "route.yaml").write_text("{{- if .Values.host }}\napiVersion: traefik.io/v1alpha1\nkind: IngressRoute\n{{- end }}\n")
    (templates / "web.yaml").write_text("apiVersion: apps/v1\n---\napiVersion: networking.k8s.io/v1\n")
    yield found
    if found.up:
        found.close()


Look = Callable[..., dict[str, Verdict]]


@pytest.fixture
def look(fake: FakeKube, tmp_path: Path) -> Look:
    kubeconfig = fake.kubeconfig()
    ca = f"sha256:{load(str(kubeconfig)).identities[0]}"

    def asked(helm: Helm | Manifests | None = HELM, *, identity: str = ca, pages: tuple[Checks, ...] = ()) -> dict[str, Verdict]:
        with site(tmp_path, clusters={"k3s": Cluster(str(kubeconfig), identity=identity)}) as there:
            releases = [helm] if helm else []
            return by_name(ask_all([Check("k3s (cluster)", "kubeconfig", lambda: cluster.look("k3s", releases, pages, there))]))

    return asked


def release(fake: FakeKube, number: int, status: str, rollout: str = "complete") -> None:
    name = f"sh.helm.release.v1.web.v{number}"
    labels = {"owner": "helm", "name": "web", "version": str(number), "status": status, "rollout": rollout}
    fake.put(f"/api/v1/namespaces/shop/secrets/{name}", {"metadata": {"name": name, "labels": labels}})


def test_all_is_well_and_nothing_is_written(fake: FakeKube, look: Look) -> None:
    release(fake, 3, "deployed")
    before = dict(fake.objects)
    found = look()
    assert {verdict.status for verdict in found.values()} == {"ok"}, found
    assert found["API"].evidence.startswith("Kubernetes v1.34.4+k3s1")
    assert found["chart's kinds"].evidence == "traefik.io/v1alpha1 known"
    assert fake.objects == before


def test_another_cluster_than_the_site_means_is_refused_before_it_is_asked(fake: FakeKube, look: Look) -> None:
    (verdict,) = look(identity="sha256:" + "0" * 64).values()
    assert (verdict.status, verdict.code) == ("fail", 2)
    assert fake.asked == []


def test_a_cluster_that_is_not_bound_gets_the_line_that_binds_it(fake: FakeKube, look: Look) -> None:
    verdict = look(identity="")["identity"]
    assert verdict.status == "warn"
    assert "add identity: sha256:" in verdict.mend


def test_an_api_that_is_down_is_a_passing_fault(fake: FakeKube, look: Look) -> None:
    fake.stop()
    verdict = look()["the rest"]
    assert (verdict.status, verdict.code) == ("fail", 10)


def test_a_namespace_that_is_missing_can_be_made(fake: FakeKube, look: Look, tmp_path: Path) -> None:
    fake.drop("/api/v1/namespaces/shop")
    kube_down = look()["namespace"]
    assert kube_down.fix is not None
    assert kube_down.fix.does == "create the namespace shop on cluster k3s"
    assert "/api/v1/namespaces/shop" not in fake.objects
    kube_down.fix.act()
    kube_down.fix.act()
    assert look()["namespace"].status == "ok"


def test_a_namespace_that_is_missing_or_going_comes_with_its_mend(fake: FakeKube, look: Look) -> None:
    fake.drop("/api/v1/namespaces/shop")
    assert look()["namespace"].mend.startswith("kubectl create namespace shop")
    assert look(Helm("k3s", "shop", "web", create_namespace=True))["namespace"].status == "ok"
    fake.put("/api/v1/namespaces/shop", {"metadata": {"name": "shop"}, "status": {"phase": "Terminating"}})
    assert look()["namespace"].status == "fail"


def test_what_is_not_allowed_is_named_with_the_role_that_grants_it(fake: FakeKube, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    def allowed(_kube: Any, namespace: str, group: str, resource: str, verb: str) -> bool:
        return (namespace, resource, verb) not in {("shop", "leases", "create"), ("shop", "leases", "update"), ("shop", "pods/log", "get")}

    monkeypatch.setattr(permissions, "allowed", allowed)
    verdict = look()["permissions"]
    assert (verdict.status, verdict.code) == ("fail", 11)
    assert "create,update leases.coordination.k8s.io; get pods/log" in verdict.evidence
    assert "--verb=create,update --resource=leases.coordination.k8s.io" in verdict.mend


def test_who_may_deploy_and_not_list_what_prune_asks_is_told_which_role_grants_it(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permissions, "allowed", lambda _kube, _namespace, _group, resource, _verb: resource not in ("jobs", "cronjobs"))
    found = look()
    assert found["permissions"].status == "ok"
    assert (found["prune"].status, found["prune"].code) == ("warn", 0)
    assert "in shop this user may not: list jobs.batch; list cronjobs.batch" in found["prune"].evidence
    assert "kubectl create role pipeline-web-prune-0 -n shop --verb=list --resource=jobs.batch" in found["prune"].mend


def test_a_user_who_may_do_nothing(fake: FakeKube, look: Look) -> None:
    fake.fault = lambda _method, path: DENIED if path.endswith("selfsubjectaccessreviews") else None
    assert look()["permissions"].code == 11


def test_a_user_who_may_not_list_nodes_may_deploy_all_the_same(fake: FakeKube, look: Look) -> None:
    refused: Fault = (403, {"kind": "Status", "code": 403, "message": "nodes is forbidden"}, {})
    fake.fault = lambda _method, path: refused if "nodes" in path else ALLOWED if "selfsubject" in path else None
    assert look()["nodes"].status == "unknown"


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ({"Ready": "False"}, "fail"),
        ({"Ready": "True", "DiskPressure": "True"}, "warn"),
        ({"Ready": "True", "DiskPressure": "False"}, "ok"),
    ],
)
def test_nodes_by_their_conditions(fake: FakeKube, look: Look, conditions: dict[str, str], status: str) -> None:
    value = [{"type": kind, "status": text} for kind, text in conditions.items()]
    fake.put("/api/v1/nodes/n1", {"metadata": {"name": "n1"}, "status": {"conditions": value}})
    assert look()["nodes"].status == status


def test_kinds_of_the_chart_that_the_cluster_does_not_know(fake: FakeKube, look: Look) -> None:
    absent: Fault = (404, {"kind": "Status", "code": 404}, {})
    fake.fault = lambda _method, path: absent if "traefik" in path else ALLOWED if "selfsubject" in path else None
    verdict = look()["chart's kinds"]
    assert verdict.status == "warn"
    assert "traefik.io/v1alpha1" in verdict.evidence


@pytest.mark.parametrize(("status", "expected"), [("pending-upgrade", "warn"), ("failed", "warn"), ("deployed", "ok")])
def test_d11_a_release_that_helm_left_half_done_is_told(fake: FakeKube, look: Look, status: str, expected: str) -> None:
    release(fake, 1, "superseded")
    release(fake, 2, status)
    verdict = look()["release"]
    assert verdict.status == expected
    assert "revision 2" in verdict.evidence


def test_who_holds_the_lock_and_what_is_frozen(fake: FakeKube, look: Look) -> None:
    value = {
        "metadata": {"name": "pipeline-web"},
        "spec": {"holderIdentity": "anna@laptop/42/1/b/s/r1", "acquireTime": "2026-11-21T08:00:00Z"},
    }
    fake.put(LEASE, value)
    assert "anna@laptop (pid 42, run r1) holds it since 2026-11-21" in look()["lock"].evidence
    said = {freeze.FREEZE: "until Monday", freeze.FROZEN_BY: "anna@here"}
    fake.put(LEASE, {"metadata": {"name": "pipeline-web", "annotations": said}, "spec": {}})
    assert look()["lock"].evidence == "deploys are frozen: until Monday (anna@here)"
    assert "inv unfreeze" in look()["lock"].mend


def test_a_cluster_that_is_only_verified_needs_no_release(fake: FakeKube, look: Look) -> None:
    found = look(None, pages=(Checks("k3s", "web.example", "http://127.0.0.1:1"),))
    assert (found["ingress"].status, found["ingress"].code) == ("fail", 10)
    assert "permissions" not in found


def test_the_end_of_a_client_certificate(tmp_path: Path) -> None:
    fake = FakeKube(tmp_path)
    fake.close()
    now = __import__("time").time()
    days = {offset: next(iter(cluster._certificate("x", fake.ca, now + offset * 86400))).status for offset in (-40, 0, 2)}
    assert days == {-40: "ok", 0: "warn", 2: "fail"}
    assert list(cluster._certificate("x", "", now)) == []


def test_a_release_of_manifests_is_looked_at_as_a_charts_is(fake: FakeKube, look: Look, tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/web.yaml").write_text("apiVersion: traefik.io/v1alpha1\nkind: IngressRoute\n---\napiVersion: shop.example/v1\n")
    release(fake, 9, "pending-upgrade")  # helm's, of the same name: not this release
    labels = {"owner": "pipeline", "name": "web", "version": "2", "status": "deployed", "rollout": "complete"}
    where = "/api/v1/namespaces/shop/secrets/pipeline.release.v1.web.v2"
    fake.put(where, {"metadata": {"name": "pipeline.release.v1.web.v2", "labels": labels}})
    found = look(Kubectl("k3s", "shop", "web"))
    assert found["release"].evidence == "revision 2 of web is deployed, rollout complete"
    assert found["permissions"].status == "ok"
    assert "does not know shop.example/v1, which the manifests use" in found["kinds"].evidence
