"""Makes a release: prove the pull, keep the Secret in step, call helm, follow the rollout, and take back what does not come up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.artifacts import Images, Release
from pipeline.deploy import by_helm, chart, drift, history, layers, naming, process, pull, rollback, settle, stored, typos, values
from pipeline.deploy.chart import Chart
from pipeline.deploy.history import Revision
from pipeline.deploy.layers import Layers
from pipeline.deploy.spec import Helm
from pipeline.deploy.values import Wanted
from pipeline.deploy.work import STAGE, Work, at_work
from pipeline.errors import Ambiguous, ConfigError, NotRolledBack, PipelineError, Transient
from pipeline.events import What
from pipeline.failpoint import failpoint
from pipeline.stage import Site
from pipeline.tools import helm

RUN = 120.0  # seconds helm may take beyond the chart's hooks


def make(spec: Helm, images: Images, site: Site) -> Release:
    """Deploy and wait until it serves.

    Raises RolledBack or NotRolledBack where it does not come up, with the one cause that lies deepest and the file that holds the
    evidence; ConfigError, AuthError, IntegrityError where it cannot be tried; Locked where the lock was lost on the way.
    """
    made, want = prepared(spec, images, site)
    with at_work(spec, site) as work:
        revisions = rollback.repair(work)
        newest = revisions[0] if revisions else None
        now = stored.live(work.kube, spec, newest)
        if newest and settle.adopted(newest, want, images, now):
            site.tell(What.LOG, STAGE, f"revision {newest.number} holds this already; its rollout is waited for")
            return settle.settle(work, images, want, newest.number)
        revisions = settle.seen_good(work, revisions, now)
        rollback.check_way_back(work, history.good(revisions))
        pull.prove(spec, images, want.values, work.kube, site)
        if newest is not None and newest.inputs == want.inputs:
            strict, _ = naming.apart(work.kube, spec, newest, now, images)
            for text in drift.differences(work.kube, spec, newest, now, want, strict):
                site.tell(What.WARN, STAGE, f"{text}; the blueprint wins")
        failpoint("deploy.proven")
        secrets = settle.keep_secret(work, want, newest)
        failpoint("deploy.secret")
        number, notes = _upgrade(work, spec, images, want, newest, made, secrets)
        failpoint("deploy.upgraded")
        release = settle.settle(work, images, want, number, now)
        for line in notes:
            site.tell(What.LOG, STAGE, line)  # "answers at http://...": now it does
        return release


def prepared(spec: Helm, images: Images, site: Site) -> tuple[Chart, Wanted]:
    """Return the chart and what it is given. Raises ConfigError, AuthError for what is wrong with them, before the cluster is touched."""
    made = chart.whole(spec, site)
    want = values.wanted(spec, images, made.digest, site)
    typos.check(made, want.values, layers.read(site.root, spec.values_files, spec.values))
    chart.check_size(made, want.values)
    return made, want


def _upgrade(
    work: Work, spec: Helm, images: Images, want: Wanted, newest: Revision | None, made: Chart,
    secrets: Sequence[str],
) -> tuple[int, list[str]]:  # fmt: skip
    """Call helm; gives the new revision's number, which is above that of `newest`, and the chart's notes. If it changes nothing, the
    `secrets` go."""
    site, before, printed = work.site, newest.number if newest else 0, ""
    folder = site.root / ".pipeline" / "deploy" / spec.cluster / spec.namespace
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = values_files(folder, spec.release, want)
    labels = settle.labels(images, want, work)
    seconds = max(1, int(spec.deadline))
    argv = helm.upgrade(by_helm.target_of(work), str(made.folder), files, labels, seconds, validate=not _shaped_alike(newest, want))
    work.lease.assert_held()
    try:
        printed = process.call(site, argv, spec.deadline + RUN, process.Writing(work.lease, "helm upgrade", before + 1))
    except (PipelineError, KeyboardInterrupt) as error:
        now = rollback.looked(work, error)
        if not now or now[0].number == before:
            settle.forget_secret(work, secrets)  # what was not released leaves no trace
            raise _untouched(error, layers.read(site.root, spec.values_files, spec.values), made.name) from error
        done = now[0].status == "deployed" and now[0].inputs == want.inputs
        if not (done and isinstance(error, Transient)):
            raise rollback.halfway(work, now[0].number, error) from error
        site.tell(What.LOG, STAGE, f"{error.what}, but revision {now[0].number} is whole")
    now = work.revisions()
    if not now or now[0].number == before or now[0].inputs != want.inputs:
        raise Ambiguous("helm ended well, but the release is not there", mend="somebody else may deploy with another tool")
    return now[0].number, helm.notes(printed)


def _shaped_alike(newest: Revision | None, want: Wanted) -> bool:
    """Whether helm has let these field names through before: the same chart, given values of the same names."""
    if newest is None or newest.rollout != history.GOOD or not newest.parts:
        return False
    then, now = newest.parts, want.parts
    return then.get("chart") == now["chart"] and set(then.get("values") or ()) == set(now["values"])


def values_files(folder: Path, release: str, want: Wanted) -> list[str]:
    """What helm makes the values of, in private files, by names that let a person run the same helm again: the values files as they are
    written, and the blueprint's own values as JSON."""
    made = []
    for number, text in enumerate(want.files, 1):
        file = folder / (f"{release}.json" if number == len(want.files) else f"{release}.{number}.yaml")
        file.unlink(missing_ok=True)
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:  # noqa: PTH123  # the mode counts from the first byte
            stream.write(text.encode())
        made.append(str(file))
    return made


def _untouched(error: BaseException, layered: Layers, chart: str) -> BaseException:
    """Return the error to raise after helm ended before it changed anything: a wrong input is told with the place where it was written."""
    if isinstance(error, NotRolledBack):
        return ConfigError(error.what, cause=error.cause, mend=error.mend)
    return typos.explained(error, layered, chart) if isinstance(error, ConfigError) else error
