"""Which revision is gone back to, and what is put away once another one serves."""

from __future__ import annotations

import pytest

from pipeline.deploy import manifest_store
from pipeline.deploy.history import BAD, GOOD, STARTED, TAKEN, Revision, good
from pipeline.deploy.work import at_work
from pipeline.stage import Site
from pipeline.tools.kube import path
from tests.deploy.cluster import NAMESPACE, Cluster
from tests.deploy.test_manifests import spec


def revision(number: int, rollout: str, status: str = "superseded") -> Revision:
    return Revision(number, status, {"rollout": rollout} if rollout else {}, {})


FOREIGN = ""


@pytest.mark.parametrize(
    ("kept", "before", "found"),
    [
        ([revision(3, BAD, "deployed"), revision(2, GOOD), revision(1, GOOD)], None, 2),
        ([revision(3, STARTED, "deployed"), revision(2, BAD), revision(1, GOOD)], None, 1),
        ([revision(3, BAD, "deployed"), revision(2, TAKEN), revision(1, GOOD)], None, 1),
        ([revision(2, BAD, "deployed"), revision(1, TAKEN)], None, 0),
        ([revision(3, GOOD, "deployed"), revision(2, GOOD), revision(1, GOOD)], 3, 2),
        ([revision(3, GOOD, "failed"), revision(2, GOOD, "pending-upgrade"), revision(1, GOOD)], None, 1),
        ([revision(2, FOREIGN, "deployed"), revision(1, GOOD)], None, 1),
        ([revision(2, BAD, "deployed"), revision(1, FOREIGN)], None, 1),
        ([revision(2, STARTED, "deployed"), revision(1, FOREIGN, "failed")], None, 0),
        ([revision(2, BAD, "deployed"), revision(1, STARTED)], None, 0),
        ([revision(2, GOOD, "uninstalling"), revision(1, BAD)], None, 0),
    ],
)
def test_only_what_was_seen_complete_is_good_and_what_others_made_if_there_is_none(
    kept: list[Revision], before: int | None, found: int
) -> None:
    chosen = good(kept, before)
    assert (chosen.number if chosen else 0) == found


def test_the_only_good_revision_is_kept_however_old_and_so_is_what_says_ignore(site: Site, cluster: Cluster) -> None:
    """One that was good, then more than are kept that were not, then one that is good again."""
    ours, ignore = {"app.kubernetes.io/instance": "web"}, {"kubecfg.ksonnet.io/garbage-collect-strategy": "ignore"}
    objects = {
        "gone": {"labels": ours, "annotations": {"kubecfg.ksonnet.io/garbage-collect-strategy": "auto"}},
        "ignored": {"labels": ours, "annotations": ignore},
        "held": {"labels": {"app.kubernetes.io/instance": "theirs"}},
    }
    places = {name: path("v1", "configmaps", NAMESPACE, name) for name in objects}
    for name, marks in objects.items():
        cluster.fake.put(places[name], {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **marks}})
    newest = manifest_store.KEPT + 4
    with at_work(spec(), site) as work:
        for number in range(1, newest + 1):
            rollout = GOOD if number in (2, newest) else BAD
            manifest_store.begin(work, number, "", list(places.values()) if number < newest else [], {"rollout": rollout}, "Apply complete")
            manifest_store.finish(work, number)
        work.engine.settled(work, newest)
        assert sorted(one.number for one in work.revisions()) == [2, *range(newest - manifest_store.KEPT + 1, newest + 1)]
    assert [name for name, place in places.items() if place in cluster.fake.objects] == ["ignored", "held"]


def test_what_somebody_else_took_over_since_it_was_looked_at_is_not_taken_away(site: Site, cluster: Cluster) -> None:
    places = {name: path("v1", "configmaps", NAMESPACE, name) for name in ("web", "theirs")}
    for name, place in places.items():
        metadata = {"name": name, "labels": {"app.kubernetes.io/instance": name}}
        cluster.fake.put(place, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    with at_work(spec(), site) as work:
        manifest_store.begin(work, 1, "", list(places.values()), {"rollout": GOOD}, "Apply complete")
        work.engine.take_away(work, 1, ())
        assert work.revisions() == []
    assert [name for name, place in places.items() if place in cluster.fake.objects] == ["theirs"]
