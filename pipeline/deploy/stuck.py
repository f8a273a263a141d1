"""Which pods a StatefulSet is stuck on: its controller waits for a pod that never comes up, also when the version is another by now.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.tools.kube_objects import containers, newest_of, ready, restarts, taken_up, terminating

STARTING = ("", "ContainerCreating", "PodInitializing")


def stuck(sets: Iterable[Mapping[str, Any]], pods: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The broken pods of an older version: once they are deleted, the controller makes them anew, of the newest one."""
    wanted = {each["metadata"].get("uid"): each for each in sets if each.get("kind") == "StatefulSet" and taken_up(each)}
    for pod in pods:
        owners = [wanted[owner["uid"]] for owner in pod["metadata"].get("ownerReferences") or [] if owner.get("uid") in wanted]
        fault = restarts(pod) or any(each.state == "waiting" and each.reason not in STARTING for each in containers(pod))
        if owners and fault and not ready(pod) and not terminating(pod) and not newest_of(owners[0], pod):
            yield pod
