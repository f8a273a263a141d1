"""Makes a release: prove the pull, keep the Secret in step, call helm, follow the rollout, and take back what does not come up."""

from __future__ import annotations

import json
import os
from typing import Any

from pipeline.artifacts import Images, Release
from pipeline.deploy import author, capture, chart, history, pull, rollback, secret, values
from pipeline.deploy.compare import differences, other_images, release_of
from pipeline.deploy.diagnosis import cause
from pipeline.deploy.history import Revision
from pipeline.deploy.rollout import View
from pipeline.deploy.spec import Helm
from pipeline.deploy.values import Wanted
from pipeline.deploy.work import STAGE, Work, at_work
from pipeline.errors import Ambiguous, ConfigError, NotRolledBack, PipelineError
from pipeline.events import What
from pipeline.failpoint import failpoint
from pipeline.stage import Site
from pipeline.tools import helm
from pipeline.tools.kube_objects import pending

RUN = 120.0  # seconds helm may take beyond the chart's hooks


def make(spec: Helm, images: Images, site: Site) -> Release:
    """Deploy and wait until it serves.

    Raises RolledBack or NotRolledBack where it does not come up, with the one cause that lies deepest and the file that holds the
    evidence; ConfigError, AuthError, IntegrityError where it cannot be tried; Locked where the lock was lost on the way.
    """
    with at_work(spec, site) as work:
        made = chart.read(site.root, spec.chart)
        want = values.wanted(spec, images, made, site)
        chart.check_size(made, want.values)
        revisions = rollback.repair(work)
        newest = revisions[0] if revisions else None
        now = work.deployments() if newest else []
        if newest and _adopted(newest, want, images, now):
            site.tell(What.LOG, STAGE, f"revision {newest.number} holds this already; its rollout is waited for")
            return _settle(work, images, want, newest.number)
        if newest and newest.status == "deployed" and newest.rollout != history.GOOD and now and not any(map(pending, now)):
            work.mark(newest.number, history.GOOD)  # nobody saw it come up, but it serves
            revisions = work.revisions()
        rollback.check_way_back(work, history.good(revisions))
        pull.prove(spec, images, want.values, work.kube, site)
        if newest is not None and newest.inputs == want.inputs:
            for text in differences(newest, now, want, images, spec.release):
                site.tell(What.WARN, STAGE, f"{text}; the blueprint wins")
        failpoint("deploy.proven")
        if spec.secret is not None:
            work.lease.assert_held()
            changed, before = secret.keep(work.kube, spec.namespace, spec.secret.name, want.data)
            site.shared.pop(rollback.secret_key(spec), None)
            if changed:
                site.shared[rollback.secret_key(spec)] = before
        failpoint("deploy.secret")
        number = _upgrade(work, images, want, newest.number if newest else 0)
        failpoint("deploy.upgraded")
        return _settle(work, images, want, number)


def undo(spec: Helm, release: Release, site: Site, why: str) -> None:
    """Take back a release that this run made, since `why`. Raises RolledBack or NotRolledBack, always."""
    with at_work(spec, site) as work:
        revisions = work.revisions()
        if not revisions or revisions[0].number != release.revision:
            newest = f"revision {revisions[0].number}" if revisions else "nothing"
            raise NotRolledBack(f"{why}; {newest} is live by now, which is left alone", mend="inv status")
        raise rollback.taken_back(work, release.revision, NotRolledBack(why))


def _upgrade(work: Work, images: Images, want: Wanted, before: int) -> int:
    """Call helm; gives the new revision's number, which is above `before`."""
    spec, site = work.spec, work.site
    file = _values_file(spec, site, want)
    labels = _labels(images, want, work)
    argv = helm.upgrade(work.target, str(chart.place(site.root, spec.chart)[1]), file, labels, max(1, int(spec.deadline)))
    try:
        work.call(argv, spec.deadline + RUN)
    except (NotRolledBack, ConfigError) as error:
        now = work.revisions()
        if not now or now[0].number == before:
            raise _untouched(error) from error
        raise rollback.taken_back(work, now[0].number, error) from error
    now = work.revisions()
    if not now or now[0].number == before or now[0].inputs != want.inputs:
        raise Ambiguous("helm ended well, but the release is not there", mend="somebody else may deploy with another tool")
    return now[0].number


def _settle(work: Work, images: Images, want: Wanted, number: int) -> Release:
    """Wait for the rollout of revision `number`, note that it was complete, or take it back."""
    failure, view = work.follow(work.spec.deadline)
    if failure is None:
        work.note_good(number, want.parts, view)
        return release_of(work.spec, images, number, want.inputs)
    raise rollback.taken_back(work, number, explained(work, view, failure.why))


def explained(work: Work, view: View, why: str) -> NotRolledBack:
    """The evidence, kept and judged before anything is taken back."""
    spec, site, kube = work.spec, work.site, work.kube
    evidence = capture.capture(kube, spec.namespace, spec.release, view.new_pods, list(view.deployments.values()))
    found = cause(evidence)
    sentence = found.sentence if found.rank < 90 else f"{found.sentence}; {why}"
    log = capture.write(site.root, spec.release, found, evidence, site.clock, site.secrets.mask)
    return NotRolledBack(f"{spec.release} did not come up", cause=sentence, mend=found.mend, log=log)


def _adopted(newest: Revision, want: Wanted, images: Images, deployments: list[dict[str, Any]]) -> bool:
    """Whether helm has done its part already: another run was stopped while it waited."""
    same = newest.status == "deployed" and newest.inputs == want.inputs and bool(deployments)
    return same and newest.rollout == history.STARTED and not other_images(deployments, images)


def _labels(images: Images, want: Wanted, work: Work) -> dict[str, str]:
    """What the release says of itself to whoever asks the cluster."""
    source = images.source
    found = {
        "inputs": want.inputs, "commit": source.commit, "tree": source.tree, "dirty": str(source.dirty).lower(),
        "run": work.lease.holder.run, "rollout": history.STARTED, "tag": author.word(images.images[0].tag if images.images else ""),
        **author.marks(work),
    }  # fmt: skip
    return {key: value for key, value in found.items() if value}


def _values_file(spec: Helm, site: Site, want: Wanted) -> str:
    """The values as JSON in a private file, by a name that lets a person run the same helm again."""
    folder = site.root / ".pipeline" / "deploy" / spec.cluster / spec.namespace
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / f"{spec.release}.json"
    file.unlink(missing_ok=True)
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:  # noqa: PTH123  # the mode counts from the first byte
        json.dump(want.values, stream, indent=1)
    return str(file)


def _untouched(error: PipelineError) -> PipelineError:
    """helm refused before it changed anything: not a failed deploy, a wrong input."""
    if isinstance(error, NotRolledBack):
        return ConfigError(error.what, cause=error.cause, mend=error.mend)
    return error
