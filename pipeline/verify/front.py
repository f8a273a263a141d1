"""The way that users go, for a load: one request of one of them, and how all of them fared."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from pipeline.errors import Transient
from pipeline.verify.load import Load, Sent
from pipeline.verify.question import World
from pipeline.verify.through import USER_WAYS, parse
from pipeline.verify.view import View
from pipeline.verify.web import Ask, get

MOST = 100.0  # requests a second
STEP = 0.1  # seconds of load between two looks whether to go on


def rated(rate: float) -> None:
    """Raises ValueError for a load that is none, or too much."""
    if not 0 < rate <= MOST:
        raise ValueError(f"a rate of {rate:g} requests a second is not between 0 and {MOST:g}")


def trodden(through: str) -> None:
    """Raises ValueError for a way that no user goes."""
    if parse(through).kind not in USER_WAYS:
        raise ValueError("the load goes by the way that users go: the ingress, an address, a load-balancer")


def asking(path: str, through: str, world: World, view: View) -> Callable[[float], Sent]:
    """What asks for the page `path` once, within so many seconds. Raises ConfigError and Transient where there is no such way."""
    way = parse(through)
    if way.kind == "ingress":
        base = world.front()
    else:
        address = world.ways.address(way, view)
        base = f"{way.scheme}://{address}"
    return asking_for(Ask(base, world.host or "localhost", path, follow=False), lambda status: status >= 500)


def asking_for(wanted: Ask, is_lost: Callable[[int], bool]) -> Callable[[float], Sent]:
    """Return what asks for `wanted` once, within so many seconds: without an answer, or with a status that `is_lost`, it counts as lost."""

    def ask(timeout: float) -> Sent:
        started = time.monotonic()
        try:
            status = get(wanted, timeout).status
        except Transient as error:
            return Sent(started, time.monotonic() - started, error.what)
        return Sent(started, time.monotonic() - started, f"status {status}" if is_lost(status) else "")

    return ask


@contextlib.contextmanager
def users(path: str, rate: float, through: str, world: World, view: View) -> Iterator[Load | None]:
    """Those who go on asking for the page as long as this takes; None, and nobody, where `path` is empty. All answers are there, or
    lost, once it is left."""
    if not path:
        yield None
        return
    with keep_asking(asking(path, through, world, view), rate) as load:
        yield load


@contextlib.contextmanager
def keep_asking(ask: Callable[[float], Sent], rate: float) -> Iterator[Load]:
    """Ask `rate` times a second as long as this takes. All answers are there, or lost, once it is left."""
    stop = threading.Event()
    with Load(ask, rate) as load:

        def go_on() -> None:
            while not stop.is_set():
                load.run(STEP)

        thread = threading.Thread(target=go_on, name="users", daemon=True)
        thread.start()
        try:
            yield load
        finally:
            stop.set()
            thread.join(10 * STEP)


def lost(load: Load) -> str:
    """How many requests were lost, when the first one and why."""
    first = load.lost[0]
    return f"{len(load.lost)} of {len(load.sent)} requests were lost, the first after {first.started - load.started:.1f} s: {first.lost}"


def figures(load: Load) -> str:
    """How many requests there were, how many of them were lost, and the slowest."""
    slowest = max((each.seconds for each in load.sent), default=0.0)
    return f"{len(load.sent)} requests, {len(load.lost)} lost, the slowest {slowest * 1000:.0f} ms"
