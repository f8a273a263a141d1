"""A pattern stands in the log of the release's pods, or does not: a bounded part of it is read, the newest."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.artifacts import Check
from pipeline.schema import keyed
from pipeline.tools import kube_objects
from pipeline.verify.question import Question, World
from pipeline.verify.view import View
from pipeline.verify.words import compiled, fill, refuse_unknown

LINES = 5000  # newest lines of a container that are read
BYTES = 4 << 20  # and no more than this
LONGEST = 4096  # characters of a line that a pattern is tried on
PODS = 20  # pods that are read


@dataclass(frozen=True)
class Log:
    """Lines in the log of the release's pods that match the regular expression `log` (somewhere in the line).

    At least `count` of them, in all pods together; where `absent` is true, none. `since` is how many seconds back is read; 0 is all that
    these pods have said, which is since the release at most. `container` is the one that is read, "" is every one of a pod. The
    placeholders of a page stand here too. Raises ValueError where something is none of that.
    """

    in_cluster: ClassVar[bool] = True

    log: str
    count: int = 1
    absent: bool = False
    since: int = 0
    container: str = ""

    def __post_init__(self) -> None:
        if not self.log:
            raise ValueError("log is empty: every line would match")
        compiled(self.log)
        refuse_unknown(self.log)
        with keyed("count"):
            if self.count < 1:
                raise ValueError(f"a count of {self.count} is always there; for a line that must not be there, say absent: true")
            if self.absent and self.count != 1:
                raise ValueError("count and absent exclude each other")
        with keyed("since"):
            if self.since < 0:
                raise ValueError(f"since {self.since} is in the future")

    @property
    def name(self) -> str:
        return f"log /{self.log}/" + (" absent" if self.absent else "")


@dataclass(frozen=True)
class Said:
    """What one container said: `lines`, the newest ones; `cut` where there was more."""

    pod: str
    container: str
    lines: tuple[str, ...]
    cut: bool


def question(check: Log, world: World) -> Question:
    """Raises ConfigError where a placeholder has no single value."""
    pattern = re.compile(fill(check.log, world.words, check.name, pattern=True))
    return Question(
        check.name,
        ("log", check.container, check.since),
        lambda view, _seconds: _read(check, view),
        lambda said: _judge(check, pattern, said),
        mend=f"read it yourself: kubectl logs --namespace {world.release.namespace} POD --tail=-1",
    )


def _read(check: Log, view: View) -> list[Said]:
    """The log of each container, and of the one before it where it was started anew: that too was said since the release."""
    found = []
    for pod in view.pods()[:PODS]:
        name = kube_objects.name(pod)
        if kube_objects.terminating(pod):
            continue
        for container in kube_objects.containers(pod):
            if container.init or check.container not in ("", container.name):
                continue
            for previous in (True, False) if container.restarts else (False,):
                text = _text(view, pod, container.name, previous, check.since)
                lines = tuple(text.splitlines())
                found.append(Said(name, container.name, lines, len(lines) >= LINES or len(text) >= BYTES - 4))
    return found


def _text(view: View, pod: kube_objects.Object, container: str, previous: bool, since: int) -> str:
    space, name = kube_objects.namespace(pod) or view.namespace, kube_objects.name(pod)

    def ask() -> str:
        return view.client().logs(space, name, container, previous=previous, tail=LINES, since=since, limit=BYTES)

    return str(view.once(("log", space, name, container, previous, since), ask))


def _judge(check: Log, pattern: re.Pattern[str], said: Sequence[Said]) -> Check:
    hits = [(each, line) for each in said for line in each.lines if pattern.search(line[:LONGEST])]
    total = sum(len(each.lines) for each in said)
    read = f"{total} lines of {len(said)} containers" + (f" (the newest {LINES} of each)" if any(each.cut for each in said) else "")
    if not said:
        where = f" a container {check.container}" if check.container else ""
        return Check(check.name, False, f"no pod of the release has{where or ' a log'} yet")
    last = f"{hits[-1][0].pod}: {_shown(hits[-1][1])}" if hits else ""
    if check.absent:
        return Check(check.name, not hits, f"{len(hits)} of {read} match, the last one: {last}" if hits else f"none of {read} matches")
    if len(hits) >= check.count:
        return Check(check.name, True, f"{len(hits)} of {read} match, the last one: {last}")
    newest = next((f"; {each.pod} said last: {_shown(each.lines[-1])}" for each in said if each.lines), "")
    return Check(check.name, False, f"{len(hits)} of {read} match, expected {check.count}{newest}")


def _shown(line: str) -> str:
    """A line that a pod chose, with its control characters escaped."""
    text = json.dumps(line[:200], ensure_ascii=True)
    return text if len(text) <= 160 else text[:159] + "…"
