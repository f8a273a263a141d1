"""The nodes of a replicated service: the pods of a StatefulSet or a selector, each reached by a port-forward of its own."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.errors import Transient, VerifyError
from pipeline.tools import kube_objects
from pipeline.tools.kube import Kube, path
from pipeline.verify.message import Letter, Message
from pipeline.verify.parallel import at_once
from pipeline.verify.through import NAME
from pipeline.verify.view import View
from pipeline.verify.ways import container_port
from pipeline.verify.web import Answer, Ask, get

if TYPE_CHECKING:
    from pipeline.tools.portforward import PortForward

Object = Mapping[str, Any]
SET = re.compile(rf"StatefulSet/({NAME})")
LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9./_-]*[A-Za-z0-9])?=[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
MANY = 16  # nodes that are asked: each reads what each has written
CROWD = 24  # requests that are under way at once
REQUEST = 5.0  # seconds that one request may take
PAUSES = (0.02, 0.3)  # seconds between two readings, growing from the first to the last
POLL = 0.1  # seconds between two looks at the pods


def refuse(of: str) -> None:
    """Raises ValueError for what names no nodes."""
    if not SET.fullmatch(of) and not LABEL.fullmatch(of):
        raise ValueError(f"{of!r} names no nodes: write StatefulSet/NAME, or a label like app=repram")


class Nodes:
    """The nodes that `of` names, and a way to each: a port-forward to one pod, opened when it is first asked, closed by `close`."""

    def __init__(self, of: str, message: Message, view: View) -> None:
        self.of, self.message, self.view = of, message, view
        self._forwards: dict[str, PortForward] = {}
        self._lock, self._room = threading.Lock(), threading.Semaphore(CROWD)

    @property
    def kube(self) -> Kube:
        return self.view.client()

    def look(self) -> tuple[list[Object], int]:
        """The pods as they are now, by name, without those that have ended, and how many there have to be (0 where nobody says).

        Raises Transient where the StatefulSet is not there, and what the client of the API raises.
        """
        found = SET.fullmatch(self.of)
        labels, uid, wanted = self.of, "", 0
        if found:
            owner = self.kube.get(path("apps/v1", "statefulsets", self.view.namespace, found[1]))
            if owner is None:
                raise Transient(f"there is no {self.of} in namespace {self.view.namespace}")
            spec = owner.get("spec") or {}
            chosen = (spec.get("selector") or {}).get("matchLabels") or {}
            labels, uid = ",".join(f"{key}={value}" for key, value in sorted(chosen.items())), uid_of(owner)
            wanted = int(spec.get("replicas", 1) if spec.get("replicas") is not None else 1)
        pods = self.kube.list(path("v1", "pods", self.view.namespace), labels)["items"]
        mine = [each for each in pods if _lives(each) and (not uid or uid in _owners(each))]
        return sorted(mine, key=kube_objects.name), wanted

    def ready(self, least: int, seconds: float, doing: str) -> list[Object]:
        """The pods, once all of them are ready and there are `least`. Raises VerifyError with what is missing where that is not so in time,
        before anything is done: `doing` is what would have been."""
        end = time.monotonic() + seconds
        while True:
            pods, wanted = self.look()
            fit = [each for each in pods if kube_objects.ready(each)]
            if len(fit) == len(pods) and len(fit) >= max(least, wanted):
                return fit[:MANY]
            if time.monotonic() > end:
                states = ", ".join(f"{kube_objects.name(each)} {state(each)}" for each in pods) or "none is there"
                raise VerifyError(
                    f"{len(fit)} of {max(least, wanted, len(pods))} nodes of {self.of} are ready: {doing}",
                    cause=states,
                    mend=f"kubectl describe --namespace {self.view.namespace} the pod that is not ready; fewer are wanted with `nodes`",
                )
            time.sleep(POLL)

    def write(self, pod: Object, letter: Letter) -> None:
        """Write it through one node. Raises Transient where it did not take it, with what it said."""
        self._said(pod, self._ask(letter, self.message.method))

    def remove_all(self, pod: Object, letters: Sequence[Letter]) -> None:
        """Delete them again. What goes wrong is not told: they were only ours."""
        at_once([partial(self._get, pod, self._ask(letter, "DELETE")) for letter in letters], REQUEST)

    def read(self, pod: Object, letter: Letter, until: float) -> tuple[float, str]:
        """When one node gave it (monotonic), 0 where it did not until then, and why: as often as it takes, at least once."""
        pause = PAUSES[0]
        while True:
            try:
                answer = self._get(pod, self._ask(letter, "GET"))
                if answer.status == 200 and letter.value.encode() in answer.body:
                    return time.monotonic(), ""
                why = f"status {answer.status}" if answer.status != 200 else "another content"
            except Transient as error:
                why = error.what
            if time.monotonic() + pause > until:
                return 0.0, why
            time.sleep(pause)
            pause = min(PAUSES[1], pause * 1.5)

    def read_all(self, wanted: Sequence[tuple[Object, Letter]], until: float) -> list[tuple[float, str]]:
        """`read` of each pair, all at once. Raises what is no Transient."""
        seconds = max(0.0, until - time.monotonic()) + REQUEST + 1
        answers = at_once([partial(self.read, pod, letter, until) for pod, letter in wanted], seconds)
        found = []
        for answer in answers:
            if isinstance(answer, Exception) and not isinstance(answer, Transient):
                raise answer
            found.append((0.0, answer.what) if isinstance(answer, Transient) else answer)
        return found

    def close(self) -> None:
        """Close every port-forward."""
        with self._lock:
            forwards, self._forwards = list(self._forwards.values()), {}
        for forward in forwards:
            forward.close()

    def _ask(self, letter: Letter, method: str) -> Ask:
        message = self.message
        body = letter.body(message) if method == message.method else b""
        return Ask("", "localhost", letter.path(message), False, method, body, tuple(message.headers.items()))

    def _said(self, pod: Object, wanted: Ask) -> None:
        answer = self._get(pod, wanted)
        if not 200 <= answer.status < 300:
            said = answer.body[:200].decode(errors="replace").strip()
            raise Transient(f"{wanted.method} {wanted.path}: status {answer.status}" + (f", {said!r}" if said else ""))

    def _get(self, pod: Object, wanted: Ask) -> Answer:
        """One request to one pod. Where the port-forward knows better why it failed, that is raised."""
        forward = self._forward(pod)
        forward.failure = None
        try:
            with self._room:
                return get(replace(wanted, url=f"http://{forward.address}"), REQUEST)
        except Transient as error:
            if forward.failure is None:
                raise
            raise forward.failure from error

    def _forward(self, pod: Object) -> PortForward:
        name, port = kube_objects.name(pod), self.message.port
        number = int(port) if port.isdigit() else container_port(pod, port)
        with self._lock:
            if name not in self._forwards:
                from pipeline.tools.portforward import PortForward  # a release without port-forwards needs no WebSocket

                self._forwards[name] = PortForward(self.kube, self.view.namespace).lead(name, number)
            return self._forwards[name]


def uid_of(value: Object) -> str:
    return str(value.get("metadata", {}).get("uid", ""))


def state(pod: Object) -> str:
    """What a pod does, in a word."""
    return "ready" if kube_objects.ready(pod) else kube_objects.doing(pod)


def _lives(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")


def _owners(pod: Object) -> list[str]:
    return [str(owner.get("uid")) for owner in pod.get("metadata", {}).get("ownerReferences") or []]
