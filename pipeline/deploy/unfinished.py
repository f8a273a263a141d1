"""A revision that is half-done: whose it is, and whether anybody still works on it. Only what a run of ours left is ever repaired."""

from __future__ import annotations

import datetime

from pipeline.deploy import author, history
from pipeline.deploy.history import Revision
from pipeline.deploy.spec import HELM
from pipeline.deploy.work import STAGE, Work
from pipeline.errors import Locked
from pipeline.events import What

SETTLE = 3.0  # seconds a tool is given to be gone after its run
TICK = 0.1


def checked(work: Work) -> list[Revision]:
    """The release's revisions. The newest is half-done only if a run of ours left it so, and nobody works on it any more.

    Raises Locked for one that somebody else left or makes, or whose run cannot be proven to have ended, once this run has waited as long
    as it means to.
    """
    clock, begun = work.site.clock, work.lease.begun
    start, told = clock.monotonic(), False
    while True:
        revisions = work.revisions()
        newest = revisions[0] if revisions else None
        if newest is None or not newest.pending:
            return revisions
        ours = begun is not None and begun.made(newest.number, newest.labels)
        if ours and begun is not None and begun.surely_over:
            work.lease.left = newest.number
            return revisions
        spent = clock.monotonic() - start
        if spent >= max(work.site.wait, SETTLE if ours else 0.0):
            raise _locked(work, newest, history.good(revisions), ours=ours)
        if not told:
            told = True
            work.site.tell(What.WAIT, STAGE, f"revision {newest.number} is {newest.status}{_age(work, newest)}: is somebody still at work?")
        clock.sleep(1.0 if spent > SETTLE else TICK)
        work.lease.check()


def _locked(work: Work, newest: Revision, good: Revision | None, *, ours: bool) -> Locked:
    begun, tool = work.lease.begun, work.spec.keeper.owner
    what = f"revision {newest.number} of {work.spec.release} is {newest.status}{_age(work, newest)}"
    if ours and begun is not None and begun.tool is not None and begun.surely_at_work:
        why = f"the {begun.doing} of {begun.holder.person} is still at work on this machine, pid {begun.tool.pid}"
    elif ours and begun is not None:
        why = f"a {begun.doing} of {begun.holder.person}; whether it has ended cannot be seen from here, only on {begun.holder.host}"
    else:
        by = author.name(newest.labels)
        why = f"no run of this pipeline that has ended left it so: somebody calls {tool} by hand, or did"
        why += f"; its labels name {by}" if by else ""
    where = f"run inv deploy on {begun.holder.host}, which can see that; or, " if ours and begun is not None else "wait for it; or, "
    return Locked(f"{what}: it is not touched", cause=why, mend=f"{where}if nobody is at work on it any more: {_words(work, newest, good)}")


def _words(work: Work, newest: Revision, good: Revision | None) -> str:
    """The command by which a person ends it, who knows that nobody is at work."""
    secret, namespace = work.secret(newest.number).rpartition("/")[2], work.spec.namespace
    if work.spec.keeper is not HELM:
        return f"kubectl label secret {secret} -n {namespace} status=failed --overwrite, then inv deploy"
    if good is not None:
        return f"{work.engine.words(good.number)}, then inv deploy"
    return f"kubectl delete secret {secret} -n {namespace} (helm forgets that revision; no object of it is deleted), then inv deploy"


def _age(work: Work, revision: Revision) -> str:
    """For how long it has been there, by the cluster's clock and this machine's; "" if that is not known."""
    try:
        seconds = work.site.clock.now() - datetime.datetime.fromisoformat(revision.since).timestamp()
    except ValueError:
        return ""
    amount = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
    return f" since {revision.since}" + (f" ({amount})" if seconds >= 0 else "")
