"""The checks of a replicated service on the lab: Fade's nodes, one of them killed under load; and a release of Flux's, changed by hand."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Image, Release, Source
from pipeline.errors import PipelineError, VerifyError
from pipeline.plan import load
from pipeline.records import Records
from pipeline.stage import Site
from pipeline.tools.kube import Kube, connect, path
from pipeline.verify.checks import Checks, make
from pipeline.verify.drift import Drift
from pipeline.verify.message import Message
from pipeline.verify.objects import Objects
from pipeline.verify.replicated import Replicated
from pipeline.verify.survives import Survives
from tests.real.flux_parts import CLUSTER, Flow, flow
from tests.real.systems import System, system
from tests.real.workingcopy import ROOT

pytestmark = pytest.mark.real
SAMPLE = "pipeline/lab/samples/fade"
NODES = "StatefulSet/repram-node"
DATA = Message("/data/{key}", headers={"X-TTL": "60"}, port="http")
VALUES = {"text": "one", "replicas": 0}
ENABLED = {"driftDetection": {"mode": "enabled"}}
FLUX = "HelmRelease/web"


@pytest.fixture(scope="module")
def site(lab_site_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    records = Records(tmp_path_factory.mktemp("checks") / "records.db")
    with dataclasses.replace(load(ROOT / "config", "ihp-railiance-probe", "lab").site(), records=records) as own:
        yield own


@dataclass(frozen=True)
class Fade:
    """Fade in a namespace of its own, as Helm released it, and what is known of that."""

    system: System
    site: Site
    release: Release

    @property
    def kube(self) -> Kube:
        return connect(self.site, CLUSTER)

    def verify(self, *checks: Any, deadline: float = 30.0, **options: Any) -> list[str]:
        """The evidence of each check, but for that of the pods."""
        spec = Checks(CLUSTER, f"{self.system.name}.lab.test", checks=checks, deadline=deadline, disturb=True, **options)
        return [check.evidence for check in make(spec, self.release, self.site).checks[1:]]

    def pods(self) -> dict[str, str]:
        """The nodes' names and which pod each is."""
        found = self.kube.list(path("v1", "pods", self.system.name), "app.kubernetes.io/component=node")["items"]
        return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in found}


@pytest.fixture(scope="module")
def fade(tmp_path_factory: pytest.TempPathFactory, site: Site) -> Iterator[Fade]:
    def own(data: dict[str, Any], name: str) -> None:
        data["app"] = name
        data["stages"]["build"]["images"] = {each: {"repository": f"{name}/{each}"} for each in ("fade-server", "repram-cluster-node")}

    with system("fade", tmp_path_factory.mktemp("fade"), (SAMPLE,), own) as made:
        commit = made.commit("Start")
        built = made.json("build")["records"][-1]["artifact"]["images"]
        images = tuple(Image(each["repository"], each["digest"], "") for each in built)
        server, node = (next(each for each in images if each.repository.endswith(name)) for name in ("fade-server", "repram-cluster-node"))
        parts = {
            name: {"image": {"repository": image.repository, "digest": image.digest}, "drainSeconds": 1}
            for name, image in (("server", server), ("node", node))
        }
        values = {**parts, "commit": commit, "ingress": {"host": f"{made.name}.lab.test"}, "networkPolicies": {"enabled": False}}
        argv = [site.tool("helm"), "upgrade", "--install", "fade", str(ROOT / SAMPLE / "chart"), "--namespace", made.name,
                "--create-namespace", "--kubeconfig", site.cluster(CLUSTER).kubeconfig, "--values", "-"]  # fmt: skip
        subprocess.run(argv, input=json.dumps(values), check=True, capture_output=True, text=True)
        release = Release(Source("7e" * 20, commit, False, "/src"), images, CLUSTER, made.name, "fade", 1, "1f" * 32)
        found = Fade(made, site, release)
        found.verify(Objects(("StatefulSet", "Deployment", "Service")), deadline=90.0)
        yield found


def left() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("port-forward", "users", "load"))]


def test_what_one_node_is_given_every_other_gives(fade: Fade) -> None:
    (said, by_one) = fade.verify(Replicated(NODES, DATA, nodes=3), Replicated(NODES, DATA, through="port-forward:pod/repram-node-1:http"))
    for name in fade.pods():
        assert len(re.findall(rf"{name} after \d+ ms", said)) == 2
    assert len(re.findall(r"repram-node-\d after \d+ ms", by_one)) == 3
    assert left() == []


def test_a_node_that_is_killed_takes_nothing_with_it_and_users_are_answered_meanwhile(fade: Fade) -> None:
    before = fade.pods()
    (said,) = fade.verify(Survives(NODES, DATA, nodes=3, pod="repram-node-1", load="/api/messages", rate=5))
    after = fade.pods()
    assert {name for name in before if before[name] != after[name]} == {"repram-node-1"}
    assert "pod repram-node-1 deleted: 6 messages read from 2 others after" in said
    assert "repram-node-1 ready again after" in said
    assert "with all of them after" in said
    assert " requests, 0 lost, " in said
    assert left() == []


def test_where_fewer_nodes_are_ready_than_there_have_to_be_none_is_killed(fade: Fade, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.verify.survives.READY", 0.3)
    before = fade.pods()
    with pytest.raises(VerifyError, match="3 of 4 nodes of StatefulSet/repram-node are ready: nothing was written, and no pod deleted"):
        fade.verify(Survives(NODES, DATA, nodes=4))
    assert fade.pods() == before


def test_what_helm_released_is_as_it_was_released_until_somebody_edits_it(fade: Fade) -> None:
    assert fade.verify(Drift("release")) == ["every object is as revision 1 of fade says"]
    fade.system.kubectl("patch", "poddisruptionbudget/repram-node", "--type=merge", "--patch", '{"spec": {"maxUnavailable": 2}}')
    try:
        with pytest.raises(VerifyError) as caught:
            fade.verify(Drift("release"), deadline=5.0)
    finally:
        fade.system.kubectl("patch", "poddisruptionbudget/repram-node", "--type=merge", "--patch", '{"spec": {"maxUnavailable": 1}}')
    assert "PodDisruptionBudget repram-node: spec.maxUnavailable is 2, 1 is wanted (by kubectl-patch at 20" in caught.value.cause
    assert "`inv deploy` puts back" in caught.value.mend


@pytest.fixture(scope="module")
def kept(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flow]:
    """A release that Flux keeps, whose drift it puts back."""
    with flow(site, tmp_path_factory.mktemp("drift")) as made:
        made.settled(made.commit({"clusters/release.yaml": made.release(VALUES, **ENABLED)}), VALUES)
        yield made


def kubectl(made: Flow, *words: str) -> None:
    site = made.site
    argv = [site.tool("kubectl"), "--kubeconfig", site.cluster(CLUSTER).kubeconfig, "--namespace", made.namespace, *words]
    subprocess.run(argv, check=True, capture_output=True, text=True)


def drift(made: Flow, *, of: str = FLUX, deadline: float = 20.0, **options: Any) -> str:
    image = Image("registry.example/web", "sha256:" + "0" * 64, "one")
    release = Release(Source("7e" * 20, "b2" * 20, False, "/src"), (image,), CLUSTER, made.namespace, "web", 1, "1f" * 32)
    try:
        report = make(Checks(CLUSTER, checks=(Drift(of, **options),), pods=False, deadline=deadline), release, made.site)
    except PipelineError as error:
        error.add_note(error.cause)
        raise
    return report.checks[0].evidence


def test_what_somebody_changes_is_named_field_by_field_and_put_back_by_flux(kept: Flow) -> None:
    assert re.fullmatch(r"every object is as revision \d+ of web says", drift(kept))
    kubectl(kept, "scale", "deployment/web", "--replicas=1")
    kubectl(kept, "set", "image", "deployment/web", "app=none.invalid/other")
    kubectl(kept, "patch", "configmap/web", "--patch", '{"data": {"text": "two"}}')
    with pytest.raises(VerifyError, match="1 of 1 checks") as caught:
        drift(kept, deadline=5.0)
    said = caught.value.cause
    assert 'ConfigMap web: data.text is "two", "one" is wanted (by kubectl-patch at 20' in said
    assert "Deployment web: spec.replicas is 1, 0 is wanted (by kubectl scale)" in said
    assert 'spec.template.spec.containers[app].image is "none.invalid/other", "none.invalid/web" is wanted (by kubectl-set at 20' in said
    assert "`mend: true` here" in caught.value.mend

    said = drift(kept, mend=True)
    assert "put back by Flux" in said
    assert drift(kept).startswith("every object is as revision")


def test_what_is_deleted_comes_back_and_a_restart_is_no_drift(kept: Flow) -> None:
    kubectl(kept, "rollout", "restart", "deployment/web")
    assert drift(kept).startswith("every object is as revision")
    kubectl(kept, "delete", "configmap/web")
    said = drift(kept, mend=True)
    assert said.startswith("ConfigMap web is not there: put back by Flux")


def test_what_somebody_writes_over_a_file_of_the_repository_is_put_back_too(kept: Flow) -> None:
    where: dict[str, Any] = {"of": "Kustomization/fade", "namespace": kept.namespace}
    assert drift(kept, **where).startswith("every object is as Kustomization fade at main@sha1:")
    kubectl(kept, "patch", "helmrelease/web", "--type=merge", "--patch", '{"spec": {"interval": "9m"}}')
    with pytest.raises(VerifyError) as caught:
        drift(kept, deadline=5.0, **where)
    assert 'HelmRelease web: spec.interval was set to "9m" (by kubectl-patch at 20' in caught.value.cause
    said = drift(kept, mend=True, **where)
    assert "put back by Flux" in said


def test_f03_what_flux_will_not_put_back_is_told_at_once_with_why(kept: Flow) -> None:
    kubectl(kept, "set", "env", "deployment/web", "MODE=debug")
    with pytest.raises(VerifyError, match="the chart says nothing of these fields") as caught:
        drift(kept, mend=True)
    assert "spec.template.spec.containers[app].env was added" in caught.value.cause
    kubectl(kept, "set", "env", "deployment/web", "MODE-")
    kubectl(kept, "scale", "deployment/web", "--replicas=2")
    for spec, why in (
        ({"suspend": True}, "it is suspended"),
        ({"suspend": False, "driftDetection": {"mode": "warn"}}, "detection is warn"),
    ):
        kept.patch("HelmRelease", spec)
        with pytest.raises(VerifyError, match=why):
            drift(kept, mend=True, deadline=3600.0)  # pytest's own timeout comes before that
    kept.patch("HelmRelease", ENABLED)
    told = drift(kept, mend=True)
    assert "put back by Flux" in told or "every object is as revision" in told, "Flux may be the first to look"
