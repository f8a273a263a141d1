"""Takes a release by commit back: a commit that writes the lines of before again, followed until the old ones serve."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.artifacts import Release
from pipeline.deploy import flux_file, flux_history, flux_message, rollback
from pipeline.deploy.by_flux import FluxWork, Moved, at_work
from pipeline.deploy.flux_history import Step
from pipeline.deploy.flux_settle import Outcome, served
from pipeline.deploy.flux_spec import Flux
from pipeline.deploy.flux_wanted import Lines
from pipeline.deploy.work import LIMIT, STAGE
from pipeline.errors import NotRolledBack, PipelineError, RolledBack
from pipeline.events import What
from pipeline.stage import Site
from pipeline.tools.gitops import Published

UNTOUCHED = 20.0  # seconds that Flux is given to see a way back from what it never took up


@dataclass(frozen=True)
class Way:
    """Back from the release `bad` to `goal`, None where nothing was live before. `lines` are what is written then; `file` is the whole file
    as it was, "" where the lines of before are not those of the commit right before."""

    bad: Step
    goal: Step | None
    lines: Lines
    file: str

    def __str__(self) -> str:
        return f"{self.goal}" if self.goal else "nothing, as before"


def undo(spec: Flux, release: Release, site: Site, why: str) -> None:
    """Take back a release that this run made, since `why`. Raises RolledBack or NotRolledBack, always."""
    with at_work(spec, site) as work:
        work.repository.look()
        known = work.steps()
        made = next((step for step in known if step.ours and not step.restores and step.entry.trailers.inputs == release.inputs), None)
        if made is None:
            raise NotRolledBack(f"{why}; git does not know its commit any more", mend="inv status")
        raise taken_back(work, made, NotRolledBack(why))


def taken_back(work: FluxWork, bad: Step, why: PipelineError, *, remediated: bool = False) -> PipelineError:
    """Take the release `bad` back by the spec's policy; `remediated` says that helm-controller has put the cluster back itself.

    Gives the error to raise: RolledBack, or NotRolledBack saying what is there and what to run.
    """
    spec, site = work.spec, work.site
    mend = f"{why.mend}\n" if why.mend else ""
    if spec.rollback == "never":
        what = f"{why.what}; commit {bad.commit[:7]} is left as it is (rollback: never)"
        return NotRolledBack(what, cause=why.cause, mend=f"{mend}to go back: inv rollback", log=why.log)
    try:
        rollback.patient(site, work.lease.regain)
        way = rollback.patient(site, lambda: way_back(work, bad))
    except (PipelineError, KeyboardInterrupt) as error:
        what = f"{why.what}; commit {bad.commit[:7]} is left as it is: what was live before it could not be asked"
        cause = "\n".join(filter(None, (why.cause, str(error))))
        return NotRolledBack(what, cause=cause, mend=f"{mend}inv status, then inv rollback", log=why.log)
    site.tell(What.WARN, STAGE, f"{rollback.in_one_line(why)}; back to {way}, by a commit")
    try:
        if way.goal is not None:
            goal = way.goal
            rollback.patient(site, lambda: work.put_secret_back(flux_message.secret_of(goal.entry), str(goal)))
        said = f"{why.what}: {why.cause}" if why.cause else why.what
        published = rollback.patient(site, lambda: _written(work, way, said))
        site.tell(What.LOG, STAGE, f"commit {published.commit[:7]} takes {bad.commit[:7]} back")
        outcome = rollback.patient(site, lambda: _followed(work, way, published))
    except Moved as moved:
        what = f"{why.what}; its lines have been changed by somebody else since, which are left alone"
        return NotRolledBack(what, cause="\n".join(filter(None, (why.cause, moved.cause))), mend=f"{mend}inv status", log=why.log)
    except (PipelineError, KeyboardInterrupt) as error:
        seen = error if isinstance(error, PipelineError) else PipelineError("it was stopped")
        return _failed(why, way, seen.what, "\n".join(filter(None, (seen.cause, seen.mend))))
    if way.goal is None:
        return NotRolledBack(
            f"{why.what}; nothing was live before: its commit is taken back, what Helm installed of it is left",
            cause=why.cause,
            mend=f"{mend}release a good commit over it: inv release; or: helm uninstall {spec.release} -n {spec.namespace}",
            log=why.log,
        )
    if outcome.failure is not None:
        return _failed(why, way, outcome.failure.what, "\n".join(filter(None, (outcome.failure.cause, outcome.failure.mend))))
    also = ", which helm-controller had put back already" if remediated else ""
    return RolledBack(
        f"{why.what}; {flux_history.origin(work.steps(), way.goal)} serves again{also}, by commit {published.commit[:7]}",
        cause=why.cause, mend=why.mend, log=why.log,
    )  # fmt: skip


def way_back(work: FluxWork, bad: Step) -> Way:
    """Where to go back to from `bad`: what served when it was made, as its commit says, else the newest that is known to be good."""
    known = work.steps()
    before = bad.entry.trailers.more.get(flux_message.BEFORE, "")
    goal = next((step for step in known if before and step.commit == before), None)
    if goal is None and bad in known:
        goal = flux_history.good(known, bad)
    entries = work.repository.history(work.spec.written, 2, bad.commit)
    head = work.repository.at(entries[1].commit) if len(entries) > 1 else None
    file = flux_file.text(head, work.spec) if head else ""
    stood = flux_file.then(work.spec, head, work.where) if head else {}
    return Way(bad, goal, goal.lines if goal else stood, file if goal is None or goal.lines == stood else "")


def _written(work: FluxWork, way: Way, why: str) -> Published:
    spec, app = work.spec, work.site.app
    ours = flux_file.text(work.repository.at(way.bad.commit), spec)

    def edit(found: str) -> str:
        if way.file and found == ours:
            return way.file  # nobody wrote into it since: it becomes what it was, which takes new keys out again
        if way.goal is None and flux_file.waits(spec, way.file, work.where):
            return flux_file.stopped(spec, found, way.lines)
        return flux_file.edited(spec, found, way.lines)

    if way.goal is None:
        message = flux_message.undone(spec, app, way.bad.entry, why)
    else:
        message = flux_message.again(spec, app, way.goal.entry, way.bad.commit, why)
    return work.write(way.lines, way.bad.lines, message, edit)


def _followed(work: FluxWork, way: Way, published: Published) -> Outcome:
    """Wait until the old ones serve; where Flux is kept from it, it may be that they never stopped."""
    if way.goal is None:
        return Outcome()
    world = work.look()
    untouched = world.serves and world.lines == way.lines  # the bad one was never taken up
    if world.release is not None and not world.release.settled and world.patience > LIMIT:
        work.site.tell(
            What.WAIT, STAGE, f"rollback: helm-controller waits up to {world.patience:.0f} s for the broken one before it goes on"
        )
    limit = UNTOUCHED if untouched else LIMIT + world.patience
    outcome = served(work, published.commit, way.lines, limit, "rollback: ", insist=True)
    if outcome.failure is None or not untouched or work.look().lines != way.lines:
        return outcome
    failure, _ = work.follow(world.number, LIMIT, "rollback: ")
    if failure is not None:
        return outcome
    work.site.tell(What.WARN, STAGE, f"Flux never took the commit up ({outcome.failure.what}): what was live before still is")
    return Outcome(world.number)


def _failed(why: PipelineError, way: Way, what: str, cause: str) -> NotRolledBack:
    return NotRolledBack(
        f"{why.what}, and going back to {way} failed: {what}",
        cause="\n".join(filter(None, (why.cause, cause))),
        mend="\n".join(filter(None, (why.mend, "look: inv flux.status; then: inv rollback"))),
        log=why.log,
    )
