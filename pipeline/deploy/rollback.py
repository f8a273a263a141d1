"""Goes back: to the last good revision after a failed rollout, and out of the states that a killed helm leaves behind."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from typing import TypeVar

from pipeline.deploy import author, history, naming, stored, unfinished
from pipeline.deploy.history import Revision
from pipeline.deploy.work import LIMIT, STAGE, Held, Work
from pipeline.errors import Cancelled, Expired, IntegrityError, Locked, NotRolledBack, PipelineError, RolledBack, Transient
from pipeline.events import What
from pipeline.retry import Policy, retrying
from pipeline.stage import Site
from pipeline.tools import helm_stored, named
from pipeline.tools.kube_objects import name

T = TypeVar("T")
PATIENCE = Policy(attempts=60, patience=300.0, base=1.0, cap=10.0)  # going back has more of it than going there
SHOWN = 8  # objects that are named where all of them are left


def repair(work: Work) -> list[Revision]:
    """Bring a release out of pending-* that a run of ours left behind. Told by a warning; gives the revisions afterwards.

    Raises Locked if somebody else may be at work on it.
    """
    revisions = unfinished.checked(work)
    if not revisions or not revisions[0].pending:
        return revisions
    stuck, good = revisions[0], history.good(revisions)
    left = f"revision {stuck.number} was left {stuck.status} by a helm that is gone"
    goal = f"back to revision {good.number}" if good else "none was good before, so the release goes on over what is there"
    work.site.tell(What.WARN, STAGE, f"{left}: {goal}")
    if good is None:
        work.give_up(stuck.number)
    else:
        work.go_back(good.number)
    return work.revisions()


def check_way_back(work: Held, good: Revision | None) -> None:
    """Raise IntegrityError where the images of the revision to go back to are no longer in the registry: then there is no way back."""
    spec, site = work.spec, work.site
    if good is None or spec.rollback == "never":
        return
    for reference in naming.known(site, good, stored.images(work.stored(good.number))):
        if is_gone(site, reference):
            raise IntegrityError(
                f"a failed deploy would go back to revision {good.number}, but its image {reference} is gone from the registry",
                mend="push that image again (inv push at its commit), or set `rollback: never` to go on without a way back",
            )


def is_gone(site: Site, reference: str) -> bool:
    """Whether an image by digest is no longer in its registry. One in a registry that the site does not know counts as there."""
    client = named.registry_of(site, reference)
    return client is not None and not client.exists(reference)


def by_release(commit: str, live: str, *, again: bool = False) -> str:
    """Return how a person makes `commit` serve again if no way back leads to it: a release. It says that it goes over the commit that is
    `live`, and `again` that it means one that was taken back or never came up."""
    terms = (f" --over {live[:7]}" if live not in ("", commit) else "") + (" --again" if again else "")
    return f"git switch --detach {commit}, then inv release{terms}"


def patient(site: Site, act: Callable[[], T]) -> T:
    """Return what `act` gives; a fault that passes is waited out for as long as a way back is worth."""

    def notice(error: PipelineError, attempt: int, wait: float) -> None:
        text = f"going back: {error.what}; attempt {attempt + 1} in {wait:.1f} s"
        site.tell(What.RETRY, STAGE, text, attempt=attempt, wait=wait, error=error.what)

    return retrying(PATIENCE, site.clock, lambda _attempt: act(), notice)


def looked(work: Work, error: BaseException) -> list[Revision]:
    """Return the revisions as they are after a tool ended with `error`. Raises NotRolledBack if the cluster cannot be asked, Locked if
    somebody else is at work by now."""
    try:
        patient(work.site, work.lease.regain)
        return patient(work.site, work.revisions)
    except Locked:
        raise
    except PipelineError as silent:
        what = f"{error or 'the deploy was stopped'}; what the tool had changed by then is unknown: {silent.what}"
        raise NotRolledBack(what, cause=getattr(error, "cause", ""), mend="inv status, once the cluster answers") from error


def halfway(work: Work, number: int, error: BaseException) -> PipelineError:
    """Return the error to raise after the tool that began revision `number` failed, or was stopped: what is half done is taken back.

    A fault that passes stays what it is, so that the runner tries again, from the good revision; if there is none, over what is there.
    """
    stopped = isinstance(error, KeyboardInterrupt | Cancelled)
    why = error if isinstance(error, PipelineError) and not stopped else NotRolledBack("the deploy was stopped")
    passing = isinstance(why, Transient) and not isinstance(why, Expired)
    try:
        if passing and (work.spec.rollback == "never" or patient(work.site, lambda: history.good(work.revisions(), number)) is None):
            return why
    except PipelineError:
        return _unknown(number, why)
    outcome = taken_back(work, number, why)
    if isinstance(outcome, RolledBack) and passing:
        why.what = outcome.what
        return why
    if isinstance(outcome, RolledBack) and stopped:
        return cancelled(error, outcome.what)
    return outcome


def cancelled(error: BaseException, what: str) -> Cancelled:
    """Return the error of a run that Ctrl-C or another signal stopped, saying `what` is left."""
    return Cancelled(what, signal=error.exit_code - 128 if isinstance(error, Cancelled) else signal.SIGINT)


def taken_back(work: Work, failed: int, why: PipelineError) -> PipelineError:
    """Take revision `failed` back by the spec's policy. If nothing was good before it, all that is there stays: nothing is deleted.

    Return the error to raise: RolledBack, or NotRolledBack saying what is there and what to run.
    """
    spec, site = work.spec, work.site
    try:
        good = patient(site, lambda: history.good(work.revisions(), failed))
    except (PipelineError, KeyboardInterrupt):
        return _unknown(failed, why)
    words = work.engine.words(good.number if good else None)
    mend = f"{why.mend}\n" if why.mend else ""
    if spec.rollback == "never":
        what = f"{why.what}; revision {failed} is left as it is (rollback: never)"
        return NotRolledBack(what, cause=why.cause, mend=f"{mend}to go back: {words}", log=why.log)
    if good is None:
        return _left(work, failed, why)
    goal = f"revision {good.number}"
    site.tell(What.WARN, STAGE, f"{in_one_line(why)}; back to {goal}")
    try:
        patient(site, lambda: _restore(work, failed, good))
    except (PipelineError, KeyboardInterrupt) as error:
        seen = error if isinstance(error, PipelineError) else PipelineError("it was stopped")
        return NotRolledBack(
            f"{why.what}, and going back to {goal} failed: {seen.what}",
            cause="\n".join(filter(None, (why.cause, seen.cause))),
            mend=f"{mend}look: kubectl get pods -n {spec.namespace}; then: {words}",
            log=why.log,
        )
    return RolledBack(f"{why.what}; {goal} serves again", cause=why.cause, mend=why.mend, log=why.log)


def _restore(work: Work, failed: int, good: Revision) -> None:
    """Let revision `good` serve again. What an attempt before has done of it is found, and not done twice."""
    work.lease.regain()
    newest = work.revisions()[0]
    gone = newest.number > failed and newest.status == "deployed"
    if gone and stored.repeats(work.stored(newest.number)) != good.number:
        raise NotRolledBack(f"revision {newest.number} is live by now, which is left alone")
    if not gone:
        if newest.pending:
            work.lease.left = newest.number  # its tool has ended: whoever takes this up after us can tell
        work.mark(failed, history.BAD)
        work.go_back(good.number)
        newest = work.revisions()[0]
    author.claim(work, newest.number)
    failure, _ = work.follow(newest.number, LIMIT, "rollback: ")
    if failure is not None:
        raise NotRolledBack(f"the old pods do not come up: {failure.why}")
    work.note_good(newest.number, good.parts or stored.parts(work.stored(newest.number)))


def _unknown(failed: int, why: PipelineError) -> NotRolledBack:
    """Say that revision `failed` stays, since nobody could be asked what was good before it."""
    return NotRolledBack(
        f"{why.what}; revision {failed} is left as it is: what was good before it could not be asked",
        cause=why.cause, mend=f"{why.mend}\ninv status, then inv rollback".strip(), log=why.log,
    )  # fmt: skip


def _left(work: Work, failed: int, why: PipelineError) -> NotRolledBack:
    """Mark revision `failed`, for which there is no way back, and say what stays there."""
    with contextlib.suppress(PipelineError, KeyboardInterrupt):
        patient(work.site, lambda: _note_bad(work, failed))
    objects = [f"{each.get('kind')}/{name(each)}" for each in helm_stored.parsed(str(work.stored(failed).get("manifest") or ""))]
    there = ", ".join(objects[:SHOWN]) + (f" and {len(objects) - SHOWN} more" if len(objects) > SHOWN else "")
    return NotRolledBack(
        f"{why.what}; nothing was good before revision {failed}, so all of it is left as it is{f': {there}' if there else ''}",
        cause=why.cause,
        mend=f"{why.mend}\nrelease a good commit over it: inv release; or, if nothing of it is needed, its data neither: "
        f"{work.engine.words(None)}".strip(),
        log=why.log,
    )


def _note_bad(work: Work, failed: int) -> None:
    if any(one.number == failed and one.pending for one in work.revisions()):
        work.give_up(failed)
    work.mark(failed, history.BAD)


def in_one_line(why: PipelineError) -> str:
    """What went wrong and its cause, for a line of the story."""
    return f"{why.what}: {' '.join(why.cause.split()) or 'see above'}"
