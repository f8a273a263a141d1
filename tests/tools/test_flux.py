"""Flux's objects read as values, and the annotations by which Flux is asked to look."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.testing.kube import FakeKube
from pipeline.testing.kube_rules import status
from pipeline.tools.flux import REQUESTED, Ref, State, commit_of, poke, read, state
from pipeline.tools.kube import Kube
from pipeline.tools.kubeconfig import load

SETTLED = json.loads((Path(__file__).parents[1] / "cases" / "flux" / "settled.json").read_text())
COMMIT = SETTLED["GitRepository"]["status"]["artifact"]["revision"].rpartition(":")[2]
SOURCE = Ref("GitRepository", "shop", "fade")


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeKube]:
    made = FakeKube(tmp_path)
    yield made
    made.close()


@pytest.fixture
def kube(fake: FakeKube) -> Iterator[Kube]:
    made = Kube(load(str(fake.kubeconfig())))
    yield made
    made.close()


def recorded(kind: str) -> State:
    value = SETTLED[kind]
    return state(Ref(kind, "shop", value["metadata"]["name"]), value)


def test_a_source_says_which_commit_it_has_and_where_from() -> None:
    found = recorded("GitRepository")
    assert (found.commit, found.settled, found.suspended) == (COMMIT, True, False)
    assert found.about["url"].startswith("ssh://git@")
    assert (found.about["branch"], found.about["secret"]) == ("main", "login")
    assert found.since.endswith("Z")


def test_a_kustomization_says_what_it_applied_and_tried() -> None:
    found = recorded("Kustomization")
    assert (found.commit, commit_of(found.attempted)) == (COMMIT, COMMIT)
    assert found.about["source"] == "GitRepository shop/fade"
    assert any("HelmRelease" in entry for entry in found.inventory)


def test_a_release_says_its_revision_its_chart_and_where_helm_keeps_it() -> None:
    found = recorded("HelmRelease")
    assert (found.history[0].number, found.history[0].status, found.history[0].name) == (1, "deployed", "web")
    assert found.revision == found.attempted == recorded("HelmChart").revision == f"0.1.0+{COMMIT[:12]}"
    assert found.history[0].config == found.config
    assert (found.about["built"], found.about["storage"], found.about["strategy"]) == ("HelmChart shop/shop-web", "shop", "Revision")
    assert found.commit == ""


def test_a_release_of_a_chart_in_a_registry_says_where_that_is_asked_for() -> None:
    spec = {"chartRef": {"kind": "OCIRepository", "name": "web", "namespace": "flux-system"}}
    found = state(Ref("HelmRelease", "shop", "web"), {"metadata": {"generation": 1}, "spec": spec})
    assert found.about["built"] == "OCIRepository flux-system/web"


@pytest.mark.parametrize(
    ("revision", "commit"),
    [
        (f"main@sha1:{COMMIT}", COMMIT),
        (f"refs/heads/a/b@sha1:{COMMIT}", COMMIT),
        (f"sha1:{COMMIT}", COMMIT),
        ("main@sha256:" + "ab" * 32, "ab" * 32),
        ("latest@sha256:abc", ""),
        ("0.1.0+1de099bc5607", ""),
        ("", ""),
    ],
)
def test_a_revision_names_its_commit(revision: str, commit: str) -> None:
    assert commit_of(revision) == commit


def test_an_object_that_its_controller_has_not_seen_is_not_settled() -> None:
    value = SETTLED["HelmRelease"]
    newer = {**value, "metadata": {**value["metadata"], "generation": value["metadata"]["generation"] + 1}}
    assert not state(Ref("HelmRelease", "shop", "web"), newer).settled
    assert not state(Ref("HelmRelease", "shop", "web"), {"metadata": {}, "spec": {}}).settled


def test_poking_is_one_annotation_and_what_others_wrote_stays(kube: Kube, fake: FakeKube) -> None:
    fake.put(SOURCE.path, {"metadata": {"name": "fade", "annotations": {"other": "kept"}}, "spec": {}})
    assert poke(kube, SOURCE, "t1")
    assert fake.objects[SOURCE.path]["metadata"]["annotations"] == {"other": "kept", REQUESTED: "t1"}
    assert fake.asked[-1][1].endswith("?fieldManager=flux-client-side-apply")


def test_poking_what_may_not_be_poked_is_no_failure(kube: Kube, fake: FakeKube) -> None:
    assert not poke(kube, SOURCE, "t1"), "it is not there"
    fake.put(SOURCE.path, {"metadata": {"name": "fade"}, "spec": {}})
    fake.fault = lambda method, _path: (403, status(403, "Forbidden"), {}) if method == "PATCH" else None
    assert not poke(kube, SOURCE, "t1")


def test_what_is_not_there_reads_as_none(kube: Kube, fake: FakeKube) -> None:
    assert read(kube, SOURCE) is None
    fake.put(SOURCE.path, SETTLED["GitRepository"])
    found = read(kube, SOURCE)
    assert found is not None
    assert found.commit == COMMIT
