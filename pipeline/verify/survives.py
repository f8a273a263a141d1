"""A node of a replicated service is killed for real: nothing that was replicated is lost, it comes back and has everything again, and
those who ask at the front door meanwhile are answered.

It acts, and takes something away: only where the environment says `disturb: true` under verify.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from pipeline.artifacts import Check
from pipeline.errors import ConfigError, Transient, VerifyError
from pipeline.events import What
from pipeline.schema import keyed
from pipeline.tools import kube, kube_objects
from pipeline.verify import front, nodes
from pipeline.verify.load import Load
from pipeline.verify.message import Letter, Message, letter
from pipeline.verify.nodes import MANY, POLL, Nodes, uid_of
from pipeline.verify.parallel import at_once
from pipeline.verify.question import World
from pipeline.verify.through import PATH
from pipeline.verify.view import View

Object = Mapping[str, Any]
READY = 10.0  # seconds that all nodes may take to be ready before
AT_ONCE = 1.0  # seconds in which the others have to give what they have
BEFORE, AFTER = 0.5, 0.5  # seconds of load before the pod is deleted and after all is well again
SHOWN = 20  # keys that are named one by one


@dataclass(frozen=True)
class Survives:
    """The service goes on without one of its nodes.

    `survives` names the nodes: StatefulSet/NAME, or the label of their pods (KEY=VALUE). `messages` of them are written through all nodes
    in turn, and have to be on every one `within` so many seconds. Then `pod` (by default the last by name) is deleted, with `grace` seconds
    to end in (0, as a crash; null, as long as the pod itself says). The others have to give every message at once; the one that comes in
    its place has to be ready and to give them, too, all within `seconds`. Meanwhile the page `load` ("" for none) is asked `through` the
    way that users go, `rate` times a second: no answer, or a status of 500 and more, is a request lost, and none may be. Nothing is done
    where fewer than `nodes` are ready. Raises ValueError where something is none of that.
    """

    in_cluster: ClassVar[bool] = True
    disturbs: ClassVar[str] = "it deletes a pod"

    survives: str
    message: Message
    pod: str = ""
    grace: int | None = 0
    messages: int = 6
    nodes: int = 2
    within: float = 5.0
    seconds: float = 60.0
    load: str = ""
    rate: float = 20.0
    through: str = "ingress"

    def __post_init__(self) -> None:
        nodes.refuse(self.survives)
        bounds = {"messages": (1, 50), "nodes": (2, MANY), "within": (0.1, 60), "seconds": (2, 600), "grace": (0, 300)}
        for key, (least, most) in bounds.items():
            with keyed(key):
                value = getattr(self, key)
                if value is not None and not least <= value <= most:
                    raise ValueError(f"{key} {value:g} is not between {least:g} and {most:g}")
        with keyed("load"):
            if self.load and not PATH.fullmatch(self.load):
                raise ValueError(f"path {self.load!r} has to start with / and have no spaces")
        with keyed("rate"):
            front.rated(self.rate)
        with keyed("through"):
            front.trodden(self.through)

    @property
    def ways(self) -> tuple[str, ...]:
        """How it reaches the application, as it is written."""
        return (self.through,) if self.load else ()

    @property
    def name(self) -> str:
        return f"survives {self.survives}" + (f" without {self.pod}" if self.pod else "")


@dataclass(frozen=True)
class Outcome:
    """What was seen after the pod was deleted: in words, whether messages were `lost`, whether a pod came `back`, with all of them."""

    said: str
    lost: bool
    back: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Missing:
    """A message that a node did not give."""

    key: str
    reader: str
    why: str


def held(check: Survives, world: World, view: View) -> Check:
    """The check that nothing was lost, with its figures. Raises VerifyError where something was (the keys are its evidence), where the
    node did not come back or a request was not answered; ConfigError where it cannot be tried; what the client of the API raises."""
    found = Nodes(check.survives, check.message, view)
    letters: list[Letter] = []
    try:
        pods = found.ready(check.nodes, READY, "nothing was written, and no pod deleted")
        victim = _victim(check, pods)
        letters += [letter(kube_objects.name(pods[number % len(pods)])) for number in range(check.messages)]
        _written(check, found, pods, letters)
        with front.users(check.load, check.rate, check.through, world, view) as load:
            _answered(check, load)
            world.site.tell(What.WAIT, "verify", f"{check.name}: deleting pod {kube_objects.name(victim)}")
            seen = _killed(check, found, pods, victim, letters)
            time.sleep(AFTER if load else 0)
        return _judged(check, kube_objects.name(victim), seen, load)
    finally:
        if check.message.remove:
            _removed(found, letters)
        found.close()


def _victim(check: Survives, pods: Sequence[Object]) -> Object:
    """The pod that is deleted: one that somebody puts another in the place of."""
    by_name = {kube_objects.name(pod): pod for pod in pods}
    chosen = by_name.get(check.pod) if check.pod else pods[-1]
    if chosen is None:
        raise ConfigError(f"{check.name}: there is no such pod", mend=f"name one of: {', '.join(by_name)}")
    if not any(owner.get("controller") for owner in chosen["metadata"].get("ownerReferences") or []):
        raise ConfigError(
            f"{check.name}: pod {kube_objects.name(chosen)} is nobody's: deleted, it would never come back",
            mend="name the pods of a StatefulSet or a Deployment",
        )
    return chosen


def _written(check: Survives, found: Nodes, pods: Sequence[Object], letters: Sequence[Letter]) -> None:
    """Every message on every node. Raises VerifyError before anything is deleted."""
    by_name = {kube_objects.name(pod): pod for pod in pods}
    answers = at_once([partial(found.write, by_name[each.writer], each) for each in letters], nodes.REQUEST + 1)
    for each, answer in zip(letters, answers, strict=True):
        if isinstance(answer, Transient):
            mend = "correct `message` (path, method, headers), or the application"
            raise VerifyError(f"{check.name}: {each.writer} did not take a message; no pod was deleted", cause=answer.what, mend=mend)
        if isinstance(answer, Exception):
            raise answer
    if missing := _missing(found, pods, letters, time.monotonic() + check.within):
        raise VerifyError(
            f"{check.name}: not every message was on every node within {check.within:g} s; no pod was deleted",
            cause=_told(missing),
            mend="look how the nodes reach one another (names, the port between them, network policies)",
        )


def _killed(check: Survives, found: Nodes, pods: Sequence[Object], victim: Object, letters: Sequence[Letter]) -> Outcome:
    """Delete the pod, read everything from the others, wait for the one that comes in its place, read everything from that."""
    name, others = kube_objects.name(victim), [pod for pod in pods if pod is not victim]
    started = time.monotonic()
    found.kube.delete(kube.path("v1", "pods", found.view.namespace, name), grace=check.grace)
    lost = _missing(found, others, letters, time.monotonic() + AT_ONCE)
    said = f"{len(letters)} messages read from {len(others)} others after {(time.monotonic() - started) * 1000:.0f} ms"
    if lost:
        said = f"{len({each.key for each in lost})} of {len(letters)} messages were lost: {_told(lost)}"
    end = started + check.seconds
    came, why = _back(found, pods, victim, end)
    ready = time.monotonic() - started
    if not came:
        return Outcome(f"{said}; not back after {ready:.1f} s: {why}", lost=bool(lost))
    stale = _missing(found, came, letters, min(end, time.monotonic() + check.within))
    has = f"without: {_told(stale)}" if stale else f"with all of them after {time.monotonic() - started:.1f} s"
    names = ", ".join(map(kube_objects.name, came))
    return Outcome(f"{said}; {names} ready again after {ready:.1f} s, {has}", lost=bool(lost), back=True, whole=not stale)


def _judged(check: Survives, name: str, seen: Outcome, load: Load | None) -> Check:
    said = f"pod {name} deleted: {seen.said}" + (f"; {front.figures(load)}" if load else "")
    wrong = [
        (seen.lost, "what was replicated was lost with it", "let a node say that it has a message once others have it, too"),
        (not seen.back, f"it was not back after {check.seconds:g} s", "kubectl describe the pod; more `seconds` where that is usual"),
        (seen.back and not seen.whole, "it came back without what the others have", "let a node be ready once it has what its peers have"),
        (
            bool(load and load.lost),
            f"{front.lost(load)}" if load and load.lost else "",
            "let the server ask another node where one does not answer",
        ),
    ]
    if faults := [(what, mend) for is_so, what, mend in wrong if is_so]:
        what = "; ".join(what for what, _ in faults)
        raise VerifyError(f"{check.name}: pod {name} was deleted: {what}", cause=said, mend=faults[0][1])
    return Check(check.name, True, said)


def _answered(check: Survives, load: Load | None) -> None:
    """Raises VerifyError where requests are lost before anything is deleted."""
    if load is None:
        return
    time.sleep(BEFORE)
    if load.lost:
        mend = "see why the front door does not answer"
        raise VerifyError(f"{check.name}: {front.lost(load)}; no pod was deleted", cause=front.figures(load), mend=mend)


def _back(found: Nodes, before: Sequence[Object], victim: Object, end: float) -> tuple[list[Object], str]:
    """Those that came in the victim's place, once as many as before are ready; none, and why, where that is not so at the `end`."""
    known = {uid_of(pod) for pod in before}
    while True:
        try:
            pods, _ = found.look()
        except Transient as error:
            pods, why = [], error.what
        else:
            why = (
                ", ".join(f"{kube_objects.name(pod)} {nodes.state(pod)}" for pod in pods if not kube_objects.ready(pod))
                or "it is not there"
            )
        new = [pod for pod in pods if uid_of(pod) not in known and kube_objects.ready(pod)]
        here = [pod for pod in pods if kube_objects.ready(pod) and uid_of(pod) != uid_of(victim)]
        if new and len(here) >= len(before):
            return new, ""
        if time.monotonic() > end:
            return [], why
        time.sleep(POLL)


def _missing(found: Nodes, pods: Sequence[Object], letters: Sequence[Letter], until: float) -> list[Missing]:
    """What some of the pods did not give until then."""
    wanted = [(pod, each) for pod in pods for each in letters]
    answers = found.read_all(wanted, until)
    return [Missing(each.key, kube_objects.name(pod), why) for (pod, each), (_, why) in zip(wanted, answers, strict=True) if why]


def _removed(found: Nodes, letters: Sequence[Letter]) -> None:
    with contextlib.suppress(Transient):
        pods = [pod for pod in found.look()[0] if kube_objects.ready(pod)]
        if pods:
            found.remove_all(pods[0], letters)


def _told(missing: Sequence[Missing]) -> str:
    """Which keys, on which nodes, and why."""
    keys = list(dict.fromkeys(each.key for each in missing))
    said = [f"{key} (" + ", ".join(f"{each.reader} {each.why}" for each in missing if each.key == key) + ")" for key in keys[:SHOWN]]
    return "; ".join(said) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")
