"""Keeps the evidence of a failed rollout before a rollback destroys it: pods, events, logs, in one text file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipeline.clock import Clock
from pipeline.deploy.diagnosis import Cause, Evidence, signs, when
from pipeline.errors import PipelineError
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_objects import claims, condition, containers, doing, labels, name, namespace, restarts

Object = Mapping[str, Any]
TAIL = 60  # lines of each container's log
TRIES, PAUSE = 3, 0.3  # a node changes log files while a container restarts; seconds between two tries
ROTATED = ("failed to try resolving symlinks", "unable to retrieve container logs")  # the kubelet's own words, in place of a log
PODS = 5  # pods whose logs are read


def capture(kube: Kube, space: str, pods: Sequence[Object], workloads: Sequence[Object]) -> Evidence:
    """Everything that may tell why these pods do not come up. What cannot be read is left out: a diagnosis never fails."""
    spaces = sorted({namespace(each) or space for each in (*pods, *workloads)} or {space})
    with ThreadPoolExecutor(max_workers=4) as pool:
        nodes = pool.submit(_items, kube, (path("v1", "nodes"),))
        events, found_claims, services = (
            pool.submit(_items, kube, [path("v1", kind, each) for each in spaces])
            for kind in ("events", "persistentvolumeclaims", "services")
        )
        wanted = [(pod, container) for pod in pods[:PODS] for container in containers(pod) if not container.ready]
        logs = {
            f"{name(pod)}/{each.name}": pool.submit(read_log, kube, namespace(pod) or space, name(pod), each.name) for pod, each in wanted
        }
        mounted = {(namespace(pod), each) for pod in pods for each in claims(pod)}
        found = nodes.result()
        return Evidence(
            pods=pods,
            events=events.result(),
            deployments=workloads,
            claims=[each for each in found_claims.result() if (namespace(each), name(each)) in mounted],
            services=[each for each in services.result() if any(_leads_to(each, workload) for workload in workloads)],
            logs={key: log.result() for key, log in logs.items()},
            nodes=len(found),
            nodes_ready=sum(condition(node, "Ready").get("status") == "True" for node in found) if found else -1,
        )


def write(root: Path, release: str, cause: Cause, evidence: Evidence, clock: Clock, mask: Callable[[str], str]) -> str:
    """Write the evidence for a person to read, secrets masked; gives the file's name relative to `root`, "" where it cannot be written."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(clock.now()))
    file = root / ".pipeline" / "logs" / f"deploy-{release}-{stamp}.log"
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_text(mask(story(cause, evidence)))
        file.chmod(0o600)
    except OSError:
        return ""
    return file.relative_to(root).as_posix()


def story(cause: Cause, evidence: Evidence) -> str:
    """The evidence as text: the cause, every other sign, the pods, the events in their order, the logs."""
    others = sorted((sign for sign in signs(evidence) if sign != cause), key=lambda sign: sign.rank)
    names = {name(pod) for pod in evidence.pods}
    events = sorted((event for event in evidence.events if _about(event, names)), key=when)
    parts = ["CAUSE", cause.sentence, *(["", "MEND", cause.mend] if cause.mend else [])]
    parts += ["", "OTHER SIGNS", *(sign.sentence for sign in others)] if others else []
    parts += ["", "PODS", *(f"{name(pod)}  {doing(pod)}  restarts {restarts(pod)}" for pod in evidence.pods)]
    parts += ["", "EVENTS", *(_line(event) for event in events)]
    for key, text in evidence.logs.items():
        parts += ["", f"LOG {key}", text.rstrip() or "(empty)"]
    parts += ["", "POD STATUS", *(json.dumps({name(pod): pod.get("status")}, indent=1) for pod in evidence.pods)]
    return "\n".join(parts) + "\n"


def _items(kube: Kube, targets: Iterable[str]) -> list[Object]:
    try:
        return [each for target in targets for each in kube.list(target)["items"]]
    except PipelineError:
        return []


def _leads_to(service: Object, workload: Object) -> bool:
    """Whether a Service selects the pods of a workload."""
    wanted = service.get("spec", {}).get("selector") or {}
    made = labels(workload.get("spec", {}).get("template") or {})
    return bool(wanted) and namespace(service) == namespace(workload) and wanted.items() <= made.items()


def read_log(kube: Kube, space: str, pod: str, container: str, lines: int = TAIL) -> str:
    """Return the end of the log of the container that ended last: the one before, or the one that is there, if the node still has it."""
    for _ in range(TRIES):
        for previous in (True, False):
            try:
                text = kube.logs(space, pod, container, previous=previous, tail=lines)
            except PipelineError:
                continue
            if text and not text.startswith(ROTATED):
                return text
        time.sleep(PAUSE)
    return ""


def _about(event: Object, pods: set[str]) -> bool:
    called = str(event.get("involvedObject", {}).get("name", ""))
    return called in pods or any(pod.startswith(f"{called}-") for pod in pods)


def _line(event: Object) -> str:
    times = f" (x{event['count']})" if int(event.get("count") or 1) > 1 else ""
    where = f"{event.get('involvedObject', {}).get('kind')}/{event.get('involvedObject', {}).get('name')}"
    return f"{when(event)}  {event.get('type')}  {event.get('reason')}{times}  {where}  {' '.join(str(event.get('message', '')).split())}"
