"""Acting on one stage: under its lock, the intent on disk first, a look before each further attempt and one after the last."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Artifact, Release, Report
from pipeline.errors import Cancelled, Drifted, NotRolledBack, PipelineError, RolledBack, Transient, VerifyError
from pipeline.events import What
from pipeline.failpoint import failpoint
from pipeline.records import MADE
from pipeline.retry import retrying
from pipeline.runner import over
from pipeline.stage import Site, Stage

if TYPE_CHECKING:
    from pipeline.runner.walk import Walk

ALWAYS = "always asked afresh"


def act(walk: Walk, number: int, given: Artifact, why: str) -> Artifact:
    """Make the artifact of stage `number` from `given`, or find that somebody else just did.

    Raises what the driver raised, after recording it: an interrupt as Cancelled, a defect of the driver as it is.
    """
    stage, site = walk.plan[number], walk.site
    verb, key, parent = stage.verb, walk.keys[number + 1], walk.keys[number]
    started = site.clock.now()
    attempts: list[dict[str, Any]] = []
    walk.check(number)
    walk.check_live(number)
    site.shared.pop(_waited(verb), None)
    try:
        with contextlib.ExitStack() as held:
            if stage.driver.exclusive:
                _lock(walk, stage, given, held, attempts)
                if artifact := (finding := walk.find(number, given)).artifact:
                    return walk.found(number, artifact, finding.why)  # somebody else did it while this one waited for the lock
            if stage.driver.live and (told := over.check(stage.standing(site), walk.source, site, walk.over, again=walk.again)):
                site.tell(What.WARN, verb, told)
            started, began = site.clock.now(), site.clock.monotonic()  # waiting for somebody else's lock is not this stage's time
            site.tell(What.ACT, verb, why, usual=site.records.usual(verb))
            site.records.intend(walk.id, verb, key, parent, why)
            failpoint(f"{verb}.intended")
            walk.warm(number)
            walk.watch(number)
            artifact = _make(walk, number, given, attempts)
            failpoint(f"{verb}.made")
    except PipelineError as error:
        reason = _undone(walk, error) if isinstance(error, VerifyError) else error
        raise walk.gave_up(number, reason, started, attempts) from (None if reason is error else error)
    except KeyboardInterrupt as error:
        raise walk.gave_up(number, Cancelled(f"{verb} was stopped", signal=signal.SIGINT), started, attempts) from error
    except BaseException as error:
        walk.gave_up(number, PipelineError(f"a defect in {verb} ({stage.driver.name}): {error!r}"), started, attempts)
        raise
    walk.done[number] = artifact
    walk.made.append(number)
    waited = min(site.shared.pop(_waited(verb), 0.0), site.clock.monotonic() - began)  # who joins late waited for a part of it
    started, began = started + waited, began + waited
    try:
        walk.records[number] = site.records.outcome(
            walk.id, verb, key, parent, MADE, artifact, started, {"why": why, "attempts": attempts, "tries": len(attempts) + 1}
        )
    except PipelineError as error:
        raise walk.failed(verb, error)  # noqa: B904  # the same error, filled in
    failpoint(f"{verb}.recorded")
    site.tell(What.MADE, verb, artifact.id, artifact=artifact, seconds=site.clock.monotonic() - began)
    if isinstance(artifact, Report):
        confirm(walk, artifact.release)
    return artifact


def count_wait(site: Site, verb: str, seconds: float) -> None:
    """Note that stage `verb` only waited for somebody else's lock all that time: it does not tell how long its work takes."""
    site.shared[_waited(verb)] = site.shared.get(_waited(verb), 0.0) + seconds


def _waited(verb: str) -> str:
    return f"waited for a lock: {verb}"


def confirm(walk: Walk, release: Release) -> None:
    """Let the stage that made a release note that it was verified. What goes wrong with that is told, and changes nothing."""
    for stage in walk.plan:
        if stage.driver.confirm and isinstance(release, stage.driver.gives):
            try:
                stage.driver.confirm(stage.spec, release, walk.site)
            except PipelineError as error:
                walk.site.tell(What.WARN, stage.verb, f"that {release.id} was verified could not be noted: {error.what}")


def _lock(walk: Walk, stage: Stage, given: Artifact, held: contextlib.ExitStack, attempts: list[dict[str, Any]]) -> None:
    exclusive = stage.driver.exclusive
    if exclusive:
        retrying(
            walk.patience(stage),
            walk.site.clock,
            lambda _attempt: held.enter_context(exclusive(stage.spec, given, walk.site)),
            walk.notice(stage.verb, attempts),
        )


def _make(walk: Walk, number: int, given: Artifact, attempts: list[dict[str, Any]]) -> Artifact:
    stage, site = walk.plan[number], walk.site
    driver = stage.driver

    def attempt(count: int) -> Artifact:
        if count > 1 and not driver.fresh:
            finding = driver.find(stage.spec, given, site)
            if finding.artifact:
                return finding.artifact  # the attempt before had succeeded after all
        return driver.make(stage.spec, given, site)

    try:
        artifact = retrying(walk.patience(stage), site.clock, attempt, walk.notice(stage.verb, attempts))
    except Transient:
        # so may the last attempt have, and only its answer was lost
        if driver.fresh or (found := _found(walk, stage, given)) is None:
            raise
        return found
    if not driver.fresh:
        _compare(walk, number, given, artifact)
    return artifact


def _found(walk: Walk, stage: Stage, given: Artifact) -> Artifact | None:
    with contextlib.suppress(PipelineError):  # the failure of the attempt is the one to tell
        return stage.driver.find(stage.spec, given, walk.site).artifact
    return None


def _compare(walk: Walk, number: int, given: Artifact, made: Artifact) -> None:
    finding = walk.find(number, given)
    if finding.artifact is None or finding.artifact.id != made.id:
        verb = walk.plan[number].verb
        raise Drifted(
            f"{verb} made {made.id}, but looking again shows something else",
            cause=finding.artifact.id if finding.artifact else finding.why,
            mend=f"somebody else may be changing it; run `inv {verb}` again",
        )


def _undone(walk: Walk, error: VerifyError) -> PipelineError:
    """What a failed verification means: a release that this very run deployed is taken back where its driver can do that."""
    for number in reversed(walk.made):
        if undo := walk.plan[number].driver.undo:
            return _taken_back(walk, number, undo, error)
    return error


def _taken_back(walk: Walk, number: int, undo: Callable[[Any, Any, Site, str], None], error: VerifyError) -> PipelineError:
    """RolledBack, or NotRolledBack whatever went wrong with it: then somebody has to look."""
    stage, site, made = walk.plan[number], walk.site, walk.done[number]
    site.tell(What.WARN, stage.verb, f"{error.what}: taking {made.id} back")
    try:
        with contextlib.ExitStack() as held:
            _lock(walk, stage, walk.done[number - 1], held, [])
            going = walk.notice(stage.verb, [])
            retrying(walk.patience(stage), site.clock, lambda _attempt: undo(stage.spec, made, site, error.what), going)
        cause = f"{stage.driver.name} did not say what became of it"
    except (RolledBack, NotRolledBack) as outcome:
        outcome.cause = "\n".join(filter(None, (error.cause, outcome.cause)))
        return outcome
    except (Exception, KeyboardInterrupt) as broken:
        cause = "\n".join(filter(None, (str(broken) or type(broken).__name__, getattr(broken, "cause", ""))))
    return NotRolledBack(
        f"{error.what}, and {made.id} was not taken back",
        cause="\n".join(filter(None, (error.cause, cause))),
        mend="it is live now: look at it (inv status), then deploy a good commit or roll back by hand",
        log=error.log,
    )
