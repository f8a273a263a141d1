"""A message written through one node of a replicated service is read from all the others: how late, is measured for each.

It acts: it writes a message through each node, once, after everything else has held.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from pipeline.artifacts import Check
from pipeline.errors import Transient, VerifyError
from pipeline.events import What
from pipeline.schema import keyed
from pipeline.tools import kube_objects
from pipeline.verify import nodes
from pipeline.verify.message import Letter, Message, letter
from pipeline.verify.nodes import MANY, Nodes
from pipeline.verify.parallel import at_once
from pipeline.verify.question import World
from pipeline.verify.through import parse
from pipeline.verify.view import View
from pipeline.verify.web import Ask, get

Object = Mapping[str, Any]
SHOWN = 3  # writers whose readers are named one by one
READY = 10.0  # seconds that all nodes may take to be ready


@dataclass(frozen=True)
class Replicated:
    """Every node has what any of them was given.

    `replicated` names the nodes: StatefulSet/NAME, or the label of their pods (KEY=VALUE). One `message` is written through each of them
    and read from all the others `within` so many seconds of its writing; where `through` names a way (ingress, an address, a load-balancer,
    a port-forward), one by that way, and read from all. `nodes` is how many there are at least. Raises ValueError where something is none
    of that.
    """

    in_cluster: ClassVar[bool] = True

    replicated: str
    message: Message
    within: float = 5.0
    nodes: int = 2
    through: str = ""

    def __post_init__(self) -> None:
        nodes.refuse(self.replicated)
        with keyed("within"):
            if not 0 < self.within <= 60:
                raise ValueError(f"{self.within:g} s are not between 0 and 60")
        with keyed("nodes"):
            if not 2 <= self.nodes <= MANY:
                raise ValueError(f"{self.nodes} nodes are not between 2 and {MANY}: with one of them nothing is replicated")
        with keyed("through"):
            if self.through:
                parse(self.through)

    @property
    def ways(self) -> tuple[str, ...]:
        """How it reaches the application, as it is written."""
        return (self.through,) if self.through else ()

    @property
    def name(self) -> str:
        return f"replicated {self.replicated}" + (f" through {self.through}" if self.through else "")


@dataclass(frozen=True)
class Had:
    """That one node had a letter, `seconds` after its writing, or `why` it did not."""

    letter: Letter
    reader: str
    seconds: float
    why: str


def held(check: Replicated, world: World, view: View) -> Check:
    """The check that every node had what the others were given, with how late. Raises VerifyError where one did not have it in time or
    took nothing, and what the client of the API raises."""
    found = Nodes(check.replicated, check.message, view)
    try:
        pods = found.ready(check.nodes, READY, "nothing was written")
        world.site.tell(What.WAIT, "verify", f"{check.name}: writing through {_names(pods)}")
        letters = [letter(check.through)] if check.through else [letter(kube_objects.name(pod)) for pod in pods]
        try:
            written = write(check, found, pods, letters, world, view)
            seen = spread(found, pods, written, check.within)
        finally:
            if check.message.remove:
                found.remove_all(pods[0], letters)
    finally:
        found.close()
    late = [each for each in seen if each.why]
    if late:
        raise VerifyError(
            f"{check.name}: {len(late)} of {len(seen)} copies were not there within {check.within:g} s",
            cause="\n".join(f"{each.letter.key}, written through {each.letter.writer}: {each.reader} {each.why}" for each in late),
            mend=f"look how the nodes reach one another (names, the port between them, network policies): "
            f"kubectl logs --namespace {world.release.namespace} {late[0].reader}",
        )
    return Check(check.name, True, evidence(seen))


def write(
    check: Replicated, found: Nodes, pods: Sequence[Object], letters: Sequence[Letter], world: World, view: View
) -> list[tuple[Letter, float]]:
    """Each letter and when its writing was answered. Raises VerifyError where one was not taken."""
    by_name = {kube_objects.name(pod): pod for pod in pods}

    def one(each: Letter) -> tuple[Letter, float]:
        if each.writer in by_name:
            found.write(by_name[each.writer], each)
        else:
            _through(check, each, world, view)
        return each, time.monotonic()

    answers = at_once([partial(one, each) for each in letters], nodes.REQUEST + 1)
    refused = [(each, answer) for each, answer in zip(letters, answers, strict=True) if isinstance(answer, Exception)]
    for each, answer in refused:
        if not isinstance(answer, Transient):
            raise answer
        raise VerifyError(
            f"{check.name}: {each.writer} did not take a message",
            cause=answer.what,
            mend="correct `message` (path, method, headers), or the application",
        )
    return [answer for answer in answers if not isinstance(answer, Exception)]


def spread(found: Nodes, pods: Sequence[Object], written: Sequence[tuple[Letter, float]], within: float) -> list[Had]:
    """Who had each letter when, of all nodes but the one that it was written through."""
    wanted = [(pod, each, at) for each, at in written for pod in pods if kube_objects.name(pod) != each.writer]
    until = max(at for _, at in written) + within
    answers = found.read_all([(pod, each) for pod, each, _ in wanted], until)
    return [
        Had(each, kube_objects.name(pod), when - at, why or ("" if when - at <= within else f"had it after {when - at:.1f} s"))
        for (pod, each, at), (when, why) in zip(wanted, answers, strict=True)
    ]


def evidence(seen: Sequence[Had]) -> str:
    """Who had what after how many milliseconds."""
    writers = list(dict.fromkeys(each.letter.writer for each in seen))
    said = []
    for writer in writers[:SHOWN]:
        readers = [f"{each.reader} after {each.seconds * 1000:.0f} ms" for each in seen if each.letter.writer == writer]
        said.append(f"through {writer}: {', '.join(readers[: nodes.MANY])}")
    slowest = max(seen, key=lambda each: each.seconds)
    rest = f"; {len(writers) - SHOWN} writers more" if len(writers) > SHOWN else ""
    return f"{'; '.join(said)}{rest}; the slowest of {len(seen)} copies after {slowest.seconds * 1000:.0f} ms"


def _through(check: Replicated, each: Letter, world: World, view: View) -> None:
    """Write by the way that the check names. Raises Transient where it was not taken."""
    way, message = parse(check.through), check.message
    if way.kind == "ingress":
        url, host = world.front(), world.host
    else:
        address = world.ways.address(way, view)
        url, host = f"{way.scheme}://{address}", world.host or "localhost"
    wanted = Ask(url, host, each.path(message), False, message.method, each.body(message), tuple(message.headers.items()))
    with world.ways.told(way):
        answer = get(wanted, nodes.REQUEST)
    if not 200 <= answer.status < 300:
        raise Transient(f"{wanted.method} {wanted.path}: status {answer.status}")


def _names(pods: Sequence[Object]) -> str:
    return ", ".join(kube_objects.name(pod) for pod in pods)
