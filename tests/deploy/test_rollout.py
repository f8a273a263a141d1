"""A rollout as the API's watches tell it: done at once, failed at once where nothing will mend it, patient where it may."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.clock import SystemClock
from pipeline.deploy.rollout import GRACE, View, follow, judge
from pipeline.errors import Locked, Transient
from pipeline.testing.kube import FakeKube
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_objects import edits, newest_of, pending
from pipeline.tools.kubeconfig import load
from pipeline.tools.manifest import Workload
from tests.real.deploy_parts import image_ids

LABELS = {"app": "web"}  # no label of Helm's conventions: what is followed is what the manifest names
WEB = path("apps/v1", "deployments", "shop", "web")
ONE = [Workload("Deployment", "shop", "web", {"matchLabels": LABELS})]
DB = Workload("StatefulSet", "shop", "db", {"matchLabels": LABELS})
IMAGE = "reg:5000/web@sha256:" + "b2" * 32


def deployment(updated: int = 1, total: int = 1, available: int = 1, observed: int = 1, replicas: int = 1) -> dict[str, Any]:
    status = {"observedGeneration": observed, "updatedReplicas": updated, "replicas": total, "availableReplicas": available}
    metadata = {"name": "web", "uid": "d1", "labels": LABELS, "generation": 1, "annotations": {"deployment.kubernetes.io/revision": "2"}}
    return {"metadata": metadata, "spec": {"replicas": replicas}, "status": status}


def replica_set(value: str = "new", revision: str = "2", uid: str = "d1") -> dict[str, Any]:
    owner = [{"uid": uid}]
    labels = {**LABELS, "pod-template-hash": value}
    note = {"deployment.kubernetes.io/revision": revision}
    return {"metadata": {"name": f"web-{value}", "labels": labels, "annotations": note, "ownerReferences": owner}}


def pod(name: str = "web-new-1", template: str = "new", *, ready: bool = False, restarts: int = 0, waiting: str = "", message: str = "",
        scheduled: bool = True) -> dict[str, Any]:  # fmt: skip
    state = {"waiting": {"reason": waiting, "message": message}} if waiting else {"running": {}}
    container = {"name": "app", "image": IMAGE, "imageID": IMAGE, "ready": ready, "restartCount": restarts, "state": state}
    conditions = [{"type": "Ready", "status": str(ready)}, {"type": "PodScheduled", "status": str(scheduled)}]
    status = {"phase": "Running", "conditions": conditions, "containerStatuses": [container]}
    return {"metadata": {"name": name, "labels": {**LABELS, "pod-template-hash": template}}, "status": status}


def view(*pods: dict[str, Any], **changes: Any) -> View:
    found = {one["metadata"]["name"]: one for one in pods}
    return View({"web": deployment(available=0, **changes)}, found, [replica_set(), replica_set("old", "1")])


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({"observed": 0}, "has not been taken up"),
        ({"updated": 0}, "0 of 1 new pods exist"),
        ({"total": 2}, "1 old pods are left"),
        ({"available": 0}, "0 of 1 new pods are available"),
        ({}, ""),
        ({"replicas": 0, "updated": 0, "total": 0, "available": 0}, ""),
    ],
)
def test_a_rollout_is_done_when_only_new_pods_are_there_and_available(counts: dict[str, int], text: str) -> None:
    said = pending(deployment(**counts))
    assert text in said
    assert bool(said) == bool(text)


def test_until_the_new_version_is_taken_up_the_pods_of_the_old_one_are_no_sign() -> None:
    """Right after a rollback the newest ReplicaSet is still that of the release which failed."""
    crashing = pod(restarts=5, waiting="CrashLoopBackOff")
    assert judge(view(crashing, observed=0), 2, 0.0) is None
    assert judge(view(crashing), 2, 0.0) is not None


def test_what_goes_on_is_one_line_of_the_new_pods_only() -> None:
    seen = view(
        pod(ready=True), pod("web-new-2", waiting="ContainerCreating"), pod("web-old-1", "old", waiting="CrashLoopBackOff"), replicas=3
    )
    assert seen.line() == "1 of 3 pods ready, web-new-2: ContainerCreating"


def test_an_old_pod_that_crashes_does_not_fail_the_new_ones() -> None:
    assert judge(view(pod("web-old-1", "old", waiting="CrashLoopBackOff", restarts=9)), 2, 0) is None


@pytest.mark.parametrize("reason", ["InvalidImageName", "ErrImageNeverPull"])
def test_d03_what_no_retry_mends_fails_at_once(reason: str) -> None:
    assert judge(view(pod(waiting=reason, message="rpc error: x: not found")), 2, 0) is not None


@pytest.mark.parametrize(
    ("message", "at_once"),
    [
        ("http: server gave HTTP response to HTTPS client", True),
        (f"{IMAGE}: not found", True),
        ("pull access denied: insufficient_scope", True),
        ("dial tcp 192.0.2.1:443: connect: connection refused", False),
        ("429 Too Many Requests", False),
    ],
)
def test_d03_a_pull_fails_at_once_unless_the_next_may_work(message: str, at_once: bool) -> None:
    seen = view(pod(waiting="ErrImagePull", message=message))
    assert (judge(seen, 2, 100) is not None) == at_once
    assert judge(seen, 2, 100 + GRACE["pull"] + 1) is not None
    assert GRACE["pull"] < 30


def test_d04_the_second_crash_is_a_crash_loop_unless_it_came_up() -> None:
    assert judge(view(pod(restarts=0, waiting="CrashLoopBackOff")), 2, 0) is None, "it has ended once"
    assert judge(view(pod(restarts=1)), 2, 0) is None, "it was started again"
    failure = judge(view(pod(restarts=1, waiting="CrashLoopBackOff")), 2, 0)
    assert failure is not None, "it has ended twice: the back-off before the next start is not waited for"
    assert "crashed 2 times" in failure.why
    assert judge(view(pod(restarts=2)), 2, 0) is not None
    assert judge(view(pod(restarts=2, ready=True)), 2, 0) is None


def test_d20_an_unschedulable_pod_has_its_grace_which_starts_anew_when_the_sign_goes() -> None:
    seen = view(pod(scheduled=False))
    assert judge(seen, 2, 0) is None
    seen.pods = {"web-new-1": pod()}
    assert judge(seen, 2, 15) is None
    seen.pods = {"web-new-1": pod(scheduled=False)}
    assert judge(seen, 2, 25) is None
    failure = judge(seen, 2, 46)
    assert failure is not None
    assert failure.why == "web-new-1 cannot be scheduled"


def test_a_missing_secret_has_a_moment_to_appear() -> None:
    seen = view(pod(waiting="CreateContainerConfigError"))
    assert judge(seen, 2, 0) is None
    assert judge(seen, 2, GRACE["config"] + 0.1) is not None


def test_a_secret_that_the_kubelet_has_not_read_yet_is_no_sign() -> None:
    """On a busy node the first thing that is said is this; whether the Secret is there is said afterwards."""
    unread = "failed to sync secret cache: timed out waiting for the condition"
    seen = view(pod(waiting="CreateContainerConfigError", message=unread))
    assert judge(seen, 2, 0) is None
    assert judge(seen, 2, GRACE["config"] + 0.1) is None


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeKube]:
    server = FakeKube(tmp_path)
    yield server
    if server.up:
        server.close()


@pytest.fixture
def kube(fake: FakeKube) -> Iterator[Kube]:
    client = Kube(load(str(fake.kubeconfig())), timeout=2)
    yield client
    client.close()


def put(fake: FakeKube, value: dict[str, Any]) -> None:
    fake.put(WEB, value)
    fake.objects[WEB]["metadata"]["uid"] = "d1"


def later(action: Any) -> None:
    threading.Timer(0.1, action).start()


def test_what_a_container_said_before_it_crashed_is_passed_on_once_a_crash(kube: Kube, fake: FakeKube) -> None:
    put(fake, deployment(available=0))
    fake.put(path("v1", "pods", "shop", "web-new-1"), pod(restarts=1, waiting="CrashLoopBackOff"))
    fake.put(path("apps/v1", "replicasets", "shop", "web-new"), replica_set())
    fake.logs["web-new-1/app/previous"] = "reads its settings\nDATABASE_URL is not set\n"
    said: list[str] = []
    failure, _ = follow(kube, ONE, SystemClock(), deadline=10, allowed=2, tell=lambda _: None, log=said.append)
    assert failure is not None
    assert said == ["web-new-1: reads its settings", "web-new-1: DATABASE_URL is not set"]


def test_it_is_noticed_when_the_last_pod_is_available(kube: Kube, fake: FakeKube) -> None:
    fake.put(WEB, deployment(available=0))
    said: list[str] = []
    later(lambda: fake.put(WEB, deployment()))
    failure, seen = follow(kube, ONE, SystemClock(), deadline=10, allowed=2, tell=said.append)
    assert failure is None
    assert list(seen.deployments) == [WEB]
    assert said[:1] in (["0 of 1 pods ready"], [])  # none, if it was over before anybody looked


def test_a_watch_that_was_forgotten_is_taken_up_again(kube: Kube, fake: FakeKube) -> None:
    fake.put(WEB, deployment(available=0))
    gone: Iterator[Any] = iter([(410, {"code": 410, "message": "too old"}, {})])
    fake.fault = lambda _method, target: next(gone, None) if "watch=1" in target and "deployments" in target else None
    later(lambda: fake.put(WEB, deployment()))
    failure, _ = follow(kube, ONE, SystemClock(), deadline=10, allowed=2, tell=lambda _: None)
    assert failure is None


def test_d08_an_api_that_goes_away_is_transient(kube: Kube, fake: FakeKube) -> None:
    fake.put(WEB, deployment(available=0))
    later(fake.stop)
    with pytest.raises(Transient):
        follow(kube, ONE, SystemClock(), deadline=10, allowed=2, tell=lambda _: None)


def test_the_deadline_names_what_was_waited_for(kube: Kube, fake: FakeKube) -> None:
    fake.put(WEB, deployment(available=0))
    failure, _ = follow(kube, ONE, SystemClock(), deadline=0.2, allowed=2, tell=lambda _: None)
    assert failure is not None
    assert "0 of 1 new pods are available" in failure.why


def test_l02_a_lost_lock_ends_the_wait(kube: Kube, fake: FakeKube) -> None:
    fake.put(WEB, deployment(available=0))

    def check() -> None:
        raise Locked("lost")

    with pytest.raises(Locked):
        follow(kube, ONE, SystemClock(), deadline=10, allowed=2, tell=lambda _: None, check=check)


def test_images_are_read_from_pods_that_stay() -> None:
    gone = {**pod("web-2"), "metadata": {"name": "web-2", "deletionTimestamp": "now"}}
    assert image_ids([pod(), gone]) == {"web-new-1": (IMAGE,)}


def test_d14_edits_name_field_and_hand_and_spare_autoscalers_and_restarts() -> None:
    fields: dict[str, Any] = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"app"}': {".": {}, "f:image": {}}}}}}}
    restarted: dict[str, Any] = {"f:spec": {"f:template": {"f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}}}}}
    managed = [
        {"manager": "helm", "fieldsV1": fields},
        {"manager": "kubectl-edit", "time": "2026-01-01T12:00:00Z", "fieldsV1": fields},
        {"manager": "kubectl-rollout", "fieldsV1": restarted},
        {"manager": "kube-controller-manager", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "kube-controller-manager", "subresource": "status", "fieldsV1": {"f:status": {}}},
    ]
    assert edits({"metadata": {"name": "web", "managedFields": managed}}) == [
        "spec.template.spec.containers[app].image by kubectl-edit at 2026-01-01T12:00:00Z"
    ]


def stateful(updated: int = 1, ready: int = 1, revision: str = "web-2", observed: int = 1, **spec: Any) -> dict[str, Any]:
    status = {"observedGeneration": observed, "currentRevision": "web-1", "updateRevision": revision, "updatedReplicas": updated,
              "readyReplicas": ready}  # fmt: skip
    metadata = {"name": "db", "uid": "s1", "labels": LABELS, "generation": 1}
    return {"kind": "StatefulSet", "metadata": metadata, "spec": {"replicas": 2, **spec}, "status": status}


def daemon(updated: int = 2, available: int = 2) -> dict[str, Any]:
    status = {"observedGeneration": 1, "desiredNumberScheduled": 2, "updatedNumberScheduled": updated, "numberAvailable": available}
    note = {"deprecated.daemonset.template.generation": "3"}
    return {"kind": "DaemonSet", "metadata": {"name": "log", "uid": "d9", "generation": 1, "annotations": note}, "status": status}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (stateful(observed=0), "db: the new version has not been taken up"),
        (stateful(updated=1), "db: 1 of 2 new pods exist"),
        (stateful(updated=2, ready=1), "db: 1 of 2 new pods are available"),
        (stateful(updated=2, ready=2), ""),
        (stateful(updated=2, ready=2, revision="web-1"), ""),
        (stateful(updated=1, ready=2, revision="web-1"), "db: 1 of 2 new pods exist"),  # back from the middle of an update
        (stateful(updated=1, ready=2, updateStrategy={"rollingUpdate": {"partition": 1}}), ""),
        (stateful(updated=0, ready=0, updateStrategy={"type": "OnDelete"}), ""),
        (daemon(updated=1), "log: 1 of 2 new pods exist"),
        (daemon(available=0), "log: 0 of 2 new pods are available"),
        (daemon(), ""),
    ],
)
def test_sets_are_done_by_the_rules_of_their_own_kind(value: dict[str, Any], text: str) -> None:
    said = pending(value)
    assert text in said
    assert bool(said) == bool(text)


def test_a_sets_new_pods_are_those_of_its_newest_version() -> None:
    def of(owner: str, **marks: str) -> dict[str, Any]:
        return {"metadata": {"name": "p", "labels": {**LABELS, **marks}, "ownerReferences": [{"uid": owner}]}}

    assert newest_of(stateful(), of("s1", **{"controller-revision-hash": "web-2"}))
    assert not newest_of(stateful(), of("s1", **{"controller-revision-hash": "web-1"}))
    assert not newest_of(stateful(), of("s2", **{"controller-revision-hash": "web-2"})), "another set's"
    assert not newest_of(stateful(observed=0), of("s1", **{"controller-revision-hash": "web-2"})), "not taken up yet"
    assert newest_of(daemon(), of("d9", **{"pod-template-generation": "3"}))
    assert not newest_of(daemon(), of("d9", **{"pod-template-generation": "2"}))


def test_every_kind_is_waited_for(fake: FakeKube, kube: Kube) -> None:
    """A Deployment that is done must not end the wait while the StatefulSet beside it is not seen yet, or not done."""
    fake.put(WEB, deployment())
    fake.put(path("apps/v1", "statefulsets", "shop", "db"), stateful(updated=1))
    lines: list[str] = []

    def finish() -> None:
        fake.put(path("apps/v1", "statefulsets", "shop", "db"), stateful(updated=2, ready=2))

    later = threading.Timer(0.8, finish)
    later.start()
    failure, seen = follow(kube, [*ONE, DB], SystemClock(), deadline=10, allowed=2, tell=lines.append)
    later.join()
    assert failure is None
    assert set(seen.sets_of) == {DB.path}
    assert seen.sets_of[DB.path]["status"]["readyReplicas"] == 2
    failure, _ = follow(kube, ONE, SystemClock(), deadline=10, allowed=2, tell=lines.append)
    assert failure is None
