"""Ask for a page as users do while a release is made, and say how they fared."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pipeline.artifacts import Check
from pipeline.events import What
from pipeline.stage import Site
from pipeline.verify.expect import Page
from pipeline.verify.front import asking_for, figures, keep_asking, lost
from pipeline.verify.load import TIMEOUT, Load
from pipeline.verify.web import Ask

if TYPE_CHECKING:
    from pipeline.verify.checks import Checks

NAME = "while it was released"
WATCHED = "users while it was released"  # where the site keeps it until the release is verified
MEND = "no request is lost if the old pod goes on serving until the front door knows it is gone: a preStop sleep, and maxUnavailable: 0"


@contextlib.contextmanager
def watch(spec: Checks, site: Site, front: Callable[[], str]) -> Iterator[None]:
    """Ask for the first page of the ingress, `spec.watch` times a second, while the block runs or until `tell` is called.

    Nobody asks if there is no such page, or it does not answer as it should before the release: then no user has anything to lose.
    """
    page = next((each for each in spec.checks if isinstance(each, Page) and each.through == "ingress"), None)
    if page is None or not spec.watch:
        yield
        return
    wanted = Ask(front(), spec.host, page.path, page.follow, page.method)
    ask = asking_for(wanted, lambda status: status >= 400 and status != page.status)
    if ask(TIMEOUT).lost:
        yield
        return
    with contextlib.ExitStack() as users:
        site.shared[WATCHED] = users.enter_context(keep_asking(ask, spec.watch)), users
        try:
            yield
        finally:
            tell(site)


def tell(site: Site) -> Check | None:
    """Return how the users of this run's release fared, and say so if one of them lost something; None if nobody asked, or it was told."""
    watched: tuple[Load, contextlib.ExitStack] | None = site.shared.pop(WATCHED, None)
    if watched is None:
        return None
    load, users = watched
    users.close()
    evidence = f"{figures(load)}; {lost(load)}" if load.lost else figures(load)
    if load.lost:
        site.tell(What.WARN, "verify", f"{NAME}: {evidence}; {MEND}")
    else:
        site.tell(What.LOG, "verify", f"{NAME}: {evidence}")
    return Check(NAME, True, evidence)
