"""What every way of deploying does around its tool: the marks on a revision, the wait for its rollout, the evidence, and taking back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.artifacts import Images, Release
from pipeline.deploy import author, capture, history, naming, rollback, secret
from pipeline.deploy.compare import other_images, release_of
from pipeline.deploy.diagnosis import Cause, cause
from pipeline.deploy.history import Revision
from pipeline.deploy.rollout import View
from pipeline.deploy.spec import Engined
from pipeline.deploy.values import Wanted
from pipeline.deploy.work import STAGE, Held, Work, at_work
from pipeline.errors import Cancelled, NotRolledBack
from pipeline.events import What
from pipeline.stage import Site
from pipeline.tools import manifest
from pipeline.tools.kube_objects import pending


def undo(spec: Engined, release: Release, site: Site, why: str) -> None:
    """Take back a release that this run made, since `why`. Raises RolledBack or NotRolledBack, always."""
    with at_work(spec, site) as work:
        revisions = work.revisions()
        if not revisions or revisions[0].number != release.revision:
            newest = f"revision {revisions[0].number}" if revisions else "nothing"
            raise NotRolledBack(f"{why}; {newest} is live by now, which is left alone", mend="inv status")
        raise rollback.taken_back(work, release.revision, NotRolledBack(why))


def settle(work: Work, images: Images, want: Wanted, number: int, before: Sequence[Mapping[str, Any]] = ()) -> Release:
    """Wait for the rollout of revision `number`, note that it was complete, or take it back; say so if it has left the pods alone of the
    workloads that were there `before`. Raises Cancelled if it is stopped meanwhile: the revision stays then, and comes up or not without
    anybody."""
    try:
        failure, view = work.follow(number, work.spec.deadline)
    except (KeyboardInterrupt, Cancelled) as error:
        what = f"stopped while the pods of revision {number} start, which goes on: inv deploy waits for them, inv rollback takes them back"
        raise rollback.cancelled(error, what) from error
    if failure is None:
        if wrong := naming.unproven(work.spec, work.site, work.kube, view.workloads, naming.tagged(view.workloads, images)):
            mend = 'let the chart name it by digest, too: tag: "{tag}@{digest}" in its values'
            raise rollback.taken_back(work, number, NotRolledBack(f"{work.spec.release} runs another image", cause=wrong[0], mend=mend))
        work.note_good(number, want.parts)
        if before and _pods_of(view.workloads) == _pods_of(before):
            what = f"the pods are left alone: revision {number} runs what the one before it ran, and names {images.source.label}"
            work.site.tell(What.LOG, STAGE, what)
        return release_of(work.spec, images, number, want.inputs)
    raise rollback.taken_back(work, number, explained(work, view, failure.why))


def _pods_of(workloads: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What each workload makes its pods of."""
    return {manifest.place_of(each): each["spec"].get("template") for each in workloads}


def explained(work: Held, view: View, why: str) -> NotRolledBack:
    """The evidence, kept and judged before anything is taken back."""
    found, log = judged(work, view)
    sentence = found.sentence if found.rank < 90 else f"{found.sentence}; {why}"
    return NotRolledBack(f"{work.spec.release} did not come up", cause=sentence, mend=found.mend, log=log)


def judged(work: Held, view: View) -> tuple[Cause, str]:
    """The deepest cause that the pods show, and the file that holds all they show."""
    spec, site = work.spec, work.site
    evidence = capture.capture(work.kube, spec.namespace, view.new_pods, view.workloads)
    found = cause(evidence)
    return found, capture.write(site.root, spec.release, found, evidence, site.clock, site.secrets.mask)


def adopted(newest: Revision, want: Wanted, images: Images, deployments: list[dict[str, Any]]) -> bool:
    """Whether helm has done its part already: another run was stopped while it waited."""
    same = newest.status == "deployed" and newest.inputs == want.inputs and bool(deployments)
    strict = naming.less(images, naming.tagged(deployments, images))
    return same and newest.rollout == history.STARTED and not other_images(deployments, strict)


def seen_good(work: Work, revisions: list[Revision], deployments: Sequence[dict[str, Any]]) -> list[Revision]:
    """The revisions, the newest marked as good where nobody saw it come up, but it serves."""
    newest = revisions[0] if revisions else None
    unseen = newest is not None and newest.status == "deployed" and newest.rollout not in (history.GOOD, history.BAD)
    if newest and unseen and deployments and not any(map(pending, deployments)):
        work.mark(newest.number, history.GOOD)
        return work.revisions()
    return revisions


def keep_secret(work: Held, want: Wanted, newest: Revision | None = None) -> tuple[str, ...]:
    """Bring the stage's Secret in step. Return the paths of the Secrets that were not there.

    What the plain one held is kept for `newest`, if that was made before revisions said which content they have.
    """
    spec = work.spec
    if spec.secret is None:
        return ()
    work.lease.assert_held()
    if newest and not newest.labels.get("secret") and (mark := secret.remember(work.kube, spec, want.data)):
        work.kube.merge(history.where(spec.namespace, spec.release, newest.number, spec.keeper), {"metadata": {"labels": {"secret": mark}}})
    return secret.keep(work.kube, spec, want.data)


def forget_secret(work: Work, made: Sequence[str]) -> None:
    """Take back what `keep_secret` did for a revision that nothing was made of."""
    for place in made:
        work.kube.delete(place)
    revisions = work.revisions()
    if revisions and (mark := revisions[0].labels.get("secret")):
        secret.put_back(work.kube, work.spec, mark)


def labels(images: Images, want: Wanted, work: Work) -> dict[str, str]:
    """What the release says of itself to whoever asks the cluster."""
    source = images.source
    found = {
        "inputs": want.inputs, "code": want.code, "commit": source.commit, "tree": source.tree, "dirty": str(source.dirty).lower(),
        "run": work.lease.holder.run, "rollout": history.STARTED, "tag": author.word(images.images[0].tag if images.images else ""),
        "secret": str(want.parts.get("secret") or ""), **author.marks(work), **naming.labels(images),
    }  # fmt: skip
    return {key: value for key, value in found.items() if value}
