"""Makes a release by commit: prove the pull, write only its lines, follow Flux and the pods, and take back what does not come up."""

from __future__ import annotations

from pipeline.artifacts import Images, Release
from pipeline.deploy import flux_file, flux_follow, flux_history, flux_message, flux_wanted, flux_world, pull, rollback, settle, values
from pipeline.deploy.by_flux import FluxWork, at_work
from pipeline.deploy.compare import release_of
from pipeline.deploy.flux_pods import Watched
from pipeline.deploy.flux_revert import taken_back
from pipeline.deploy.flux_settle import explained, served
from pipeline.deploy.flux_spec import Flux
from pipeline.deploy.flux_wanted import Lines
from pipeline.deploy.flux_world import World
from pipeline.deploy.values import Wanted
from pipeline.deploy.work import STAGE, ensure_namespace
from pipeline.errors import Cancelled, Expired, Locked, NotRolledBack
from pipeline.events import What
from pipeline.failpoint import failpoint
from pipeline.stage import Site
from pipeline.tools.flux_words import words
from pipeline.tools.kube_objects import pending

ELSEWHERE = ("undone", "older")  # git does not say any more what this run wrote


def make(spec: Flux, images: Images, site: Site) -> Release:
    """Release by a commit, and wait until it serves.

    Raises ConfigError, AuthError, IntegrityError before anything is written, where it cannot be tried; Locked where Flux is suspended or
    the lock was lost; Transient where the git server is down; RolledBack or NotRolledBack where it does not come up.
    """
    want = flux_wanted.wanted(spec, images, site)
    lines = flux_wanted.lines(want.values)
    with at_work(spec, site) as work:
        head = work.repository.look()
        found = flux_file.text(head, spec)
        flux_file.check(spec, found, work.where)
        world = work.look()
        _refuse_suspended(world)
        now = flux_file.lines(spec, found, work.where)
        if now != lines:
            _prepare(work, images, want, world)
            commit = _commit(work, images, want, lines, now, world)
        else:
            settle.keep_secret(work, want)
            commit = head.commit
            site.tell(What.LOG, STAGE, f"the lines are there, in {commit[:7]}: no commit is made, Flux is followed")
            _encourage(work, world)
        failpoint("deploy.committed")
        return _settled(work, images, want, lines, commit)


def _prepare(work: FluxWork, images: Images, want: Wanted, world: World) -> None:
    """All that can fail before anything is written, and the Secret last."""
    spec, site = work.spec, work.site
    newest = next((one for one in work.revisions() if one.status == "deployed"), None) if world.number else None
    rollback.check_way_back(work, newest)
    if spec.secret is not None or (spec.pull != "skip" and not site.cluster(spec.cluster).node):
        ensure_namespace(work.kube, spec, site)
    pull.prove(spec, images, want.values, work.kube, site)
    failpoint("deploy.proven")
    settle.keep_secret(work, want)
    failpoint("deploy.secret")


def _commit(work: FluxWork, images: Images, want: Wanted, lines: Lines, now: Lines, world: World) -> str:
    """Put the lines there; gives the head of the branch that holds them."""
    site, known = work.site, work.steps()
    if known and known[0].entry.human and known[0].lines == now and not flux_wanted.unmade(now):
        site.tell(What.WARN, STAGE, f"{known[0].entry.author} wrote these lines in {known[0].commit[:7]}; the blueprint wins")
    before = _before(known, world)
    mark = values.fingerprint(work.spec, want.data)
    message = flux_message.release(work.spec, site.app, images, want, before, mark)
    published = work.write(lines, now, message)
    if published.made:
        site.tell(What.LOG, STAGE, f"commit {published.commit[:7]}: {message.subject}")
    return published.commit


def _before(known: list[flux_history.Step], world: World) -> str:
    """The commit whose lines serve now; where nothing does, the newest that is known to be good."""
    if world.serves and world.lines and not any(map(pending, world.workloads)) and (serving := flux_history.of_lines(known, world.lines)):
        return serving.commit
    if known and (good := flux_history.good(known, known[0])):
        return good.commit
    return ""


def _encourage(work: FluxWork, world: World) -> None:
    """Let a HelmRelease that gave this very commit up try again: whoever runs a release again means that."""
    stalled = world.release is not None and world.release.stalled.status == "True"
    if stalled and flux_follow.retry(work.kube, work.site.clock, flux_world.target(work.spec)):
        work.site.tell(What.LOG, STAGE, f"HelmRelease {work.spec.release} had given up: it tries once more")


def _settled(work: FluxWork, images: Images, want: Wanted, lines: Lines, commit: str) -> Release:
    spec = work.spec
    watched = Watched(work, images)
    try:
        outcome = served(work, commit, lines, spec.deadline, pods=watched)
    except (KeyboardInterrupt, Cancelled) as stop:
        what = f"stopped while Flux takes up commit {commit[:7]}, which goes on: inv deploy waits for it, inv rollback takes it back"
        raise rollback.cancelled(stop, what) from stop
    failure = outcome.failure
    if failure is None:
        work.begun(outcome.number)
        return release_of(spec, images, outcome.number, want.inputs)
    if failure.kind == "fetch":
        raise Expired(failure.what, cause=failure.cause, mend=f"{failure.mend}\nthe commit {commit[:7]} stays: run again".strip())
    error = explained(work, failure, outcome.view or (watched.look() if failure.touched else None))
    if failure.kind in ELSEWHERE:
        raise NotRolledBack(failure.what, cause=failure.cause, mend=f"{failure.mend}\ninv status".strip(), log=error.log)
    made = flux_history.of_lines(work.steps(), lines)
    if made is None:
        raise NotRolledBack(f"{error.what}; git does not hold its lines any more", cause=error.cause, mend="inv status", log=error.log)
    raise taken_back(work, made, error, remediated=failure.remediated)


def _refuse_suspended(world: World) -> None:
    """A suspension is somebody's word that nothing shall change now."""
    for state in world.suspended:
        if why := words(state):
            raise Locked(why.what, cause="nothing was written: whoever suspended it wants no change now", mend=why.mend)
