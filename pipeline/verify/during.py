"""Ask for a page as users do while a release is made, and say how they fared."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pipeline.artifacts import Check
from pipeline.errors import Transient
from pipeline.events import What
from pipeline.stage import Site
from pipeline.verify.expect import Page
from pipeline.verify.front import figures, lost
from pipeline.verify.load import TIMEOUT, Load, Sent
from pipeline.verify.web import Ask, get

if TYPE_CHECKING:
    from pipeline.verify.checks import Checks

NAME = "while it was released"
STEP = 0.1  # seconds of load between two looks whether to go on
WATCHED = "users while it was released"  # where the site keeps it until the release is verified
MEND = "no request is lost if the old pod goes on serving until the front door knows it is gone: a preStop sleep, and maxUnavailable: 0"


class Users:
    """Requests at a steady rate from `start` to `stop`."""

    def __init__(self, ask: Callable[[float], Sent], rate: float) -> None:
        self._load = Load(ask, rate)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="users", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> Check:
        """Return what became of the requests, once each has its answer or counts as lost."""
        self._stop.set()
        self._thread.join(10 * STEP)
        self._load.__exit__()
        said = figures(self._load)
        return Check(NAME, True, f"{said}; {lost(self._load)}" if self._load.lost else said)

    @property
    def has_lost(self) -> bool:
        return bool(self._load.lost)

    def _go_on(self) -> None:
        while not self._stop.is_set():
            self._load.run(STEP)


@contextlib.contextmanager
def watch(spec: Checks, site: Site, front: Callable[[], str]) -> Iterator[None]:
    """Ask for the first page of the ingress, `spec.watch` times a second, while the block runs or until `told` is called.

    Nobody asks if there is no such page, or it does not answer as it should before the release: then no user has anything to lose.
    """
    page = next((each for each in spec.checks if isinstance(each, Page) and each.through == "ingress"), None)
    if page is None or not spec.watch:
        yield
        return
    ask = _asking(page, Ask(front(), spec.host, page.path, page.follow, page.method))
    if ask(TIMEOUT).lost:
        yield
        return
    users = Users(ask, spec.watch)
    users.start()
    site.shared[WATCHED] = users
    try:
        yield
    finally:
        tell(site)


def tell(site: Site) -> Check | None:
    """Return how the users of this run's release fared, and say so if one of them lost something; None if nobody asked, or it was told."""
    users: Users | None = site.shared.pop(WATCHED, None)
    if users is None:
        return None
    check = users.stop()
    if users.has_lost:
        site.tell(What.WARN, "verify", f"{NAME}: {check.evidence}; {MEND}")
    else:
        site.tell(What.LOG, "verify", f"{NAME}: {check.evidence}")
    return check


def _asking(page: Page, wanted: Ask) -> Callable[[float], Sent]:
    def ask(timeout: float) -> Sent:
        started = time.monotonic()
        try:
            status = get(wanted, timeout).status
        except Transient as error:
            return Sent(started, time.monotonic() - started, error.what)
        return Sent(started, time.monotonic() - started, f"status {status}" if status >= 400 and status != page.status else "")

    return ask
