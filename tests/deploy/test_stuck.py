"""A StatefulSet is stuck on broken pods of an older version, and on no other pod."""

from __future__ import annotations

from typing import Any

from pipeline.deploy.stuck import stuck


def stateful(observed: int = 2, kind: str = "StatefulSet") -> dict[str, Any]:
    metadata = {"name": "db", "uid": "s1", "generation": 2}
    return {"kind": kind, "metadata": metadata, "status": {"observedGeneration": observed, "updateRevision": "db-2"}}


def pod(
    name: str, *, version: str = "db-1", restarts: int = 0, ready: bool = False, waiting: str = "", owner: str = "s1"
) -> dict[str, Any]:
    state: dict[str, Any] = {"waiting": {"reason": waiting}} if waiting else {"running": {}}
    return {
        "metadata": {"name": name, "labels": {"controller-revision-hash": version}, "ownerReferences": [{"uid": owner}]},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}],
                   "containerStatuses": [{"name": "app", "restartCount": restarts, "state": state}]},
    }  # fmt: skip


PODS = (
    pod("crashed", restarts=1),
    pod("no-image", waiting="ImagePullBackOff"),
    pod("starting", waiting="ContainerCreating"),
    pod("serving", restarts=3, ready=True),
    pod("new", version="db-2", restarts=1),
    pod("theirs", restarts=1, owner="another"),
)


def test_only_what_is_broken_and_old() -> None:
    assert [each["metadata"]["name"] for each in stuck([stateful()], PODS)] == ["crashed", "no-image"]


def test_nothing_before_the_controller_has_seen_what_is_wanted_now() -> None:
    assert list(stuck([stateful(observed=1)], PODS)) == []
    assert list(stuck([stateful(kind="DaemonSet")], PODS)) == [], "that one replaces its pods by itself"
