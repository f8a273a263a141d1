"""Takes a release back to what was live before, because a person says so: chosen first, proved to be there, then gone to and watched."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence

from pipeline.artifacts import Release
from pipeline.deploy import author, history, naming, rollback, stored, unfinished
from pipeline.deploy.compare import release_at
from pipeline.deploy.history import Revision
from pipeline.deploy.settle import explained
from pipeline.deploy.spec import Engined
from pipeline.deploy.work import STAGE, Work, at_work
from pipeline.errors import Cancelled, ConfigError, IntegrityError, NotRolledBack, PipelineError, Transient
from pipeline.events import What
from pipeline.stage import Return, Site

NAME = re.compile(r"[0-9]+|[0-9a-f]{4,40}")


@contextlib.contextmanager
def back(spec: Engined, to: str, despite_freeze: bool, site: Site) -> Iterator[Return]:
    """The way back to revision or commit `to`, to the newest good revision before what is live where `to` is "", under the lock.

    What was gone back to already is not "before" what is live: a second rollback goes further back, never forth again. Raises
    ConfigError where there is no such revision, or it never came up; IntegrityError where an image of it is gone from the registry;
    Locked where somebody is at work or deploys are frozen.
    """
    with at_work(spec, site, despite_freeze) as work:
        revisions = unfinished.checked(work)
        if not revisions:
            raise ConfigError(f"{spec.release} was never released, so there is no way back", mend="inv release")
        newest = revisions[0]
        origin = _origin(work, newest.number)
        # a run that was stopped on its way back, or a helm by hand: that way is finished before a further one is begun
        was_cut = origin != newest.number and (newest.pending or newest.rollout == history.STARTED or newest.foreign)
        named = str(origin) if was_cut and not to else to
        goal = chosen(revisions, origin, named, lambda number: stored.images(work.stored(number)))
        images = _proved(work, goal)
        repeated = newest.status == "deployed" and origin in (goal.number, _origin(work, goal.number))
        there = repeated and newest.rollout == history.GOOD and newest.noted
        now = release_at(spec, newest, naming.running(work.site, newest, work.running(newest)))
        if there:
            yield Return(now, now, str(goal.number), _live(goal, newest), None)
        else:
            why = f"from {_called(newest)}{'' if newest.status == 'deployed' else f' ({newest.status})'} back to {_called(goal)}"
            if repeated:
                why = f"the way back to {_called(goal)} was begun as revision {newest.number}, and is finished"
            left = revisions[1] if repeated and len(revisions) > 1 else newest
            yield Return(now, release_at(spec, goal, images), str(goal.number), why, lambda: _go(work, newest, goal, left, repeated))


def chosen(revisions: Sequence[Revision], origin: int, to: str, images: Callable[[int], list[str]] = lambda _number: []) -> Revision:
    """The revision `to` names by number or commit, else the newest good one before `origin`, the revision that made what is live, with
    another image or other code than that. `images` tells those of a revision by its number. Raises ConfigError if there is none."""
    if not to:
        newest = revisions[0]
        other = [one for one in revisions if one.number < origin and _is_other(one, newest, images)]
        if found := history.good(other, origin):
            return found
        raise ConfigError(
            f"there is no good revision before {_called(revisions[0])} with another image or other code",
            cause=_known(revisions),
            mend=f"name one with --to; or release a good commit again: {rollback.by_release('COMMIT', _live_commit(revisions))}",
        )
    if not NAME.fullmatch(to):
        raise ConfigError(f"{to!r} is neither a revision nor a commit", mend="write a number, or at least 4 digits of a commit")
    named = [one for one in revisions if str(one.number) == to]
    named = named or [one for one in revisions if len(to) >= 4 and one.labels.get("commit", "").startswith(to)]
    if len({one.labels.get("commit") for one in named}) > 1:
        raise ConfigError(f"several commits begin with {to}", cause=_known(revisions), mend="write more of it")
    whole = [one for one in named if one.status in ("deployed", "superseded") and one.rollout != history.BAD]
    if not whole:
        what = f"{_called(named[0])} never came up" if named else f"there is no revision {to} any more"
        commit = named[0].labels.get("commit", "COMMIT") if named else "COMMIT"
        words = rollback.by_release(commit, _live_commit(revisions), again=bool(named))
        raise ConfigError(what, cause=_known(revisions), mend=f"name one of these; or release that commit again: {words}")
    return next((one for one in whole if one.rollout == history.GOOD), whole[0])


def _live_commit(revisions: Sequence[Revision]) -> str:
    return next((one.labels.get("commit", "") for one in revisions if one.status == "deployed"), "")


def _is_other(one: Revision, newest: Revision, images: Callable[[int], list[str]]) -> bool:
    """Whether something else would run than now: by the code that both name; else, if one was made by others or before codes were noted, by
    the images of both, and by their inputs if these name none."""
    if newest.foreign or not one.inputs:
        return True
    then, now = one.labels.get("code"), newest.labels.get("code")
    if then and now:
        return then != now
    were, are = images(one.number), images(newest.number)
    return were != are if were or are else one.inputs != newest.inputs


def _go(work: Work, newest: Revision, goal: Revision, left: Revision, repeated: bool) -> Release:
    """Let the engine go back, unless it has, and wait until it serves; what was live comes back where it does not. What is `left` behind is
    marked as taken back: nobody releases it again by mistake."""
    spec = work.spec
    if not repeated:
        _call(work, newest, goal)
    number = work.revisions()[0].number
    author.claim(work, number)
    failure, view = work.follow(number, spec.deadline, "rollback: ")
    if failure is None:
        work.note_good(number, goal.parts or stored.parts(work.stored(number)))
        if left.number > goal.number and left.rollout in (history.GOOD, history.STARTED):
            work.mark(left.number, history.TAKEN)
        newest = work.revisions()[0]
        return release_at(spec, newest, naming.running(work.site, newest, work.running(newest)))
    error = explained(work, view, failure.why)
    if newest.rollout == history.GOOD and not repeated:
        raise rollback.taken_back(work, number, error)
    raise NotRolledBack(
        f"{_called(goal)} does not come up either", cause=error.cause, log=error.log,
        mend=f"{error.mend}\nname another one: inv rollback --to REVISION ({work.engine.listing})".strip(),
    )  # fmt: skip


def _call(work: Work, newest: Revision, goal: Revision) -> None:
    try:
        work.go_back(goal.number)
    except Transient:
        raise  # the next attempt looks first what came of it
    except (KeyboardInterrupt, Cancelled) as error:
        what = f"stopped on the way back to {_called(goal)}: inv rollback --to {goal.number} finishes it"
        raise rollback.cancelled(error, what) from error
    except PipelineError as error:
        if work.revisions()[0].number == newest.number:
            raise  # nothing was changed
        raise NotRolledBack(
            f"going back to {_called(goal)} stopped half-way: {error.what}",
            cause=error.cause,
            mend=f"{error.mend}\nlook: inv status; then: inv rollback --to {goal.number}".strip(),
        ) from error


def _origin(work: Work, number: int) -> int:
    """The revision that made what revision `number` repeats: itself, unless it came of a rollback."""
    while before := stored.repeats(work.stored(number)):
        if before >= number:
            break
        number = before
    return number


def _proved(work: Work, goal: Revision) -> list[str]:
    """The goal's images, by reference. X01: what is gone to must be whole before anything is changed."""
    found = naming.known(work.site, goal, stored.images(work.stored(goal.number)))
    if not found:
        work.site.tell(What.WARN, STAGE, f"{_called(goal)} names no image by digest: whether the registry has it cannot be asked")
    commit = goal.labels.get("commit", "")
    words = rollback.by_release(commit, _live_commit(work.revisions()), again=goal.rollout == history.TAKEN)
    again = f"{words}: it is built and pushed again" if commit else "name another: --to REVISION"
    gone = [each for each in found if rollback.is_gone(work.site, each)] + naming.lost(goal, found)
    if gone:
        raise IntegrityError(f"{_called(goal)} cannot come back: its image is gone from the registry", cause="\n".join(gone), mend=again)
    return found


def _live(goal: Revision, newest: Revision) -> str:
    return f"{_called(goal)} is live already" + ("" if goal is newest else f", as revision {newest.number}")


def _called(revision: Revision) -> str:
    commit = revision.labels.get("commit", "")
    dirty = f"-dirty-{revision.labels.get('tree', '')[:8]}" if revision.labels.get("dirty") == "true" else ""
    return f"revision {revision.number}" + (f" ({commit[:7]}{dirty})" if commit else "")


def _known(revisions: Sequence[Revision]) -> str:
    lines = [f"{_called(one)}  {one.status}, rollout {one.rollout or 'unknown'}, since {one.since}" for one in revisions]
    return "\n".join(lines)
