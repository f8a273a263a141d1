"""Taking a release away: what goes, what stays, and that nothing goes that was not told."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.deploy import flux, freeze, helm, kubectl
from pipeline.deploy.flux_spec import Flux
from pipeline.deploy.manifest_spec import Kubectl
from pipeline.deploy.remove import removal
from pipeline.deploy.spec import SecretSpec
from pipeline.errors import ConfigError, IntegrityError, Locked
from pipeline.secrets import Secrets
from pipeline.stage import Site
from pipeline.tools.helm_stored import packed, unpacked
from pipeline.tools.kube import connect, path
from tests.deploy.cluster import LABELS, NAMESPACE, RELEASE, WEB, Cluster
from tests.deploy.conftest import KEY
from tests.deploy.manifest_cluster import CONFIG, DEPLOYMENT, KINDS, Tools, write
from tests.deploy.test_helm import images
from tests.deploy.test_helm import spec as helm_spec

CLAIM = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "disk", "labels": LABELS}, "spec": {}}
PASSWORD = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "made-up", "labels": LABELS}}
MORE = {"v1": (*KINDS["v1"], ("secrets", "Secret"))}


@pytest.fixture(autouse=True)
def _kinds(cluster: Cluster) -> None:
    for version, known in {**KINDS, **MORE}.items():
        listed = [{"name": plural, "kind": kind, "namespaced": True} for plural, kind in known]
        cluster.fake.put(path(version, "").rstrip("/"), {"resources": listed})


def there(cluster: Cluster) -> set[str]:
    """What lies in the namespace, by kind and name; events, pods and replica sets, which go with their owner, left out."""
    before = f"/namespaces/{NAMESPACE}/"
    names = {where.partition(before)[2] for where in cluster.fake.objects if before in where}
    return {name for name in names if name.partition("/")[0] not in ("pods", "replicasets", "events", "leases")}


def site_with_secret(site: Site) -> tuple[Site, SecretSpec]:
    return dataclasses.replace(site, secrets=Secrets({"K": KEY})), SecretSpec("web-env", {"KEY": "env:K"})


def test_a_helm_release_goes_and_what_holds_data_stays_with_its_key(site: Site, cluster: Cluster) -> None:
    site, secret = site_with_secret(site)
    spec = helm_spec(objects=[CLAIM, PASSWORD, CONFIG], secret=secret)
    helm.make(spec, images(), site)
    helm.make(spec, images("b"), site)
    found = removal(spec, False, site)
    assert set(found.goes) == {"Deployment/web", "ConfigMap/web"}
    assert {each.name: each.why for each in found.stays} == {
        "PersistentVolumeClaim/disk": "it may hold data", "Secret/made-up": "it may be the key to data that stays",
    }  # fmt: skip
    assert found.go
    before = there(cluster)
    assert {"deployments/web", "configmaps/web"} <= before, "nothing has gone"
    found.go()
    assert there(cluster) == {"persistentvolumeclaims/disk", "secrets/made-up", "secrets/web-env"}
    again = removal(spec, False, site)
    assert (again.goes, again.stays, again.go) == ((), (), None), "again there is nothing"


def test_with_its_data_all_of_it_goes(site: Site, cluster: Cluster) -> None:
    spec = helm_spec(objects=[CLAIM, PASSWORD])
    helm.make(spec, images(), site)
    found = removal(spec, True, site)
    assert (set(found.goes), found.stays) == ({"Deployment/web", "PersistentVolumeClaim/disk", "Secret/made-up"}, ())
    assert found.go
    found.go()
    assert there(cluster) == set()


def test_what_a_stateful_set_has_claimed_is_named_and_stays(site: Site, cluster: Cluster) -> None:
    template = {"metadata": {"name": "data"}}
    store: dict[str, Any] = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "labels": LABELS},
                             "spec": {"volumeClaimTemplates": [template]}}  # fmt: skip
    spec, where = helm_spec(), path("v1", "secrets", NAMESPACE, "sh.helm.release.v1.web.v1")
    helm.make(spec, images(), site)
    stored = unpacked(cluster.fake.objects[where])
    manifest = f"{stored['manifest']}\n---\n{json.dumps(store)}\n"
    cluster.fake.put(where, {**cluster.fake.objects[where], "data": {"release": packed({**stored, "manifest": manifest})}})
    cluster.fake.put(path("apps/v1", "statefulsets", NAMESPACE, "db"), store)
    for name in ("data-db-0", "data-db-1", "data-db-old", "other-db-0"):
        cluster.fake.put(path("v1", "persistentvolumeclaims", NAMESPACE, name), {"metadata": {"name": name}})
    found = removal(spec, False, site)
    assert [each.name for each in found.stays] == ["PersistentVolumeClaim/data-db-0", "PersistentVolumeClaim/data-db-1"]
    assert "StatefulSet/db" in found.goes
    found = removal(spec, True, site)
    assert found.go
    found.go()
    assert there(cluster) == {"persistentvolumeclaims/data-db-old", "persistentvolumeclaims/other-db-0"}


def test_what_has_come_since_it_was_told_stays(site: Site, cluster: Cluster) -> None:
    spec = helm_spec(objects=[CONFIG])
    helm.make(spec, images(), site)
    found = removal(spec, True, site)
    helm.make(helm_spec(objects=[CONFIG, CLAIM]), images("b"), site)
    assert found.go
    found.go()
    assert there(cluster) == {"persistentvolumeclaims/disk"}


def test_a_freeze_and_a_lock_hold_it(site: Site, cluster: Cluster) -> None:
    helm.make(helm_spec(), images(), site)
    freeze.freeze(connect(site, "lab"), NAMESPACE, RELEASE, "not now", site.clock)
    another = dataclasses.replace(site, shared={})  # a freeze does not hold the process that deployed before it
    found = removal(helm_spec(), False, another)
    assert found.go
    with another, pytest.raises(Locked, match="not now"):
        found.go()
    assert "deployments/web" in there(cluster)


def test_a_revision_that_cannot_be_read_stops_it(site: Site, cluster: Cluster) -> None:
    helm.make(helm_spec(), images(), site)
    where = path("v1", "secrets", NAMESPACE, "sh.helm.release.v1.web.v1")
    cluster.fake.put(where, {**cluster.fake.objects[where], "data": {"release": "broken"}})
    with pytest.raises(IntegrityError, match="cannot be read"):
        removal(helm_spec(), False, site)
    assert "deployments/web" in there(cluster)


@pytest.fixture
def tools(cluster: Cluster, tmp_path: Path) -> Tools:
    folder = tmp_path / "tools"
    folder.mkdir()
    return Tools(cluster, folder)


def test_a_release_of_manifests_goes_by_its_inventory(site: Site, cluster: Cluster, tools: Tools) -> None:
    site = dataclasses.replace(site, tools={name: str(tools.folder / name) for name in ("kubectl", "kubecfg")})
    spec = Kubectl("lab", NAMESPACE, RELEASE, values={"image": "{reference}"}, deadline=10.0, placeholders=("*",))
    foreign = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "taken"}, "data": {}}
    write(site.root, CONFIG, CLAIM, foreign, DEPLOYMENT)
    kubectl.DRIVER.make(spec, images(), site)
    write(site.root, CONFIG, foreign, DEPLOYMENT)
    kubectl.DRIVER.make(spec, images("b"), site)
    taken = path("v1", "configmaps", NAMESPACE, "taken")
    cluster.fake.put(taken, {**foreign, "metadata": {"name": "taken", "labels": {"app.kubernetes.io/instance": "other"}}})
    assert kubectl.DRIVER.removal
    found = kubectl.DRIVER.removal(spec, False, site)
    assert set(found.goes) == {"ConfigMap/web", "Deployment/web"}
    assert {each.name: each.why for each in found.stays} == {
        "PersistentVolumeClaim/disk": "it may hold data", "ConfigMap/taken": "it is somebody else's by now",
    }  # fmt: skip
    assert found.go
    found.go()
    assert there(cluster) == {"configmaps/taken", "persistentvolumeclaims/disk"}
    assert kubectl.DRIVER.removal(spec, False, site).go is None
    assert WEB not in cluster.fake.objects


def test_what_flux_keeps_is_refused_with_what_to_do(site: Site) -> None:
    spec = Flux("lab", "gitops", NAMESPACE, RELEASE, values={"image": "{digest}"})
    with pytest.raises(ConfigError, match="kept by Flux from git") as caught:
        flux.removal(spec, False, site)
    assert "git rm -r clusters/production/web" in caught.value.mend
