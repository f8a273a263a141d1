"""Makes a release of manifests: render, try out, prove the pull, apply, follow the rollout, and take back what does not come up."""

from __future__ import annotations

from typing import Any

from pipeline.artifacts import Images, Release
from pipeline.deploy import (
    by_manifests,
    history,
    manifest_check,
    manifest_files,
    manifest_kinds,
    manifest_render,
    manifest_store,
    manifest_trial,
    pull,
    rollback,
    settle,
    stored,
    unfinished,
)
from pipeline.deploy.manifest_spec import Manifests
from pipeline.deploy.manifest_trial import Trial
from pipeline.deploy.values import Wanted
from pipeline.deploy.work import STAGE, Work, at_work
from pipeline.errors import PipelineError
from pipeline.events import What
from pipeline.failpoint import failpoint
from pipeline.host.local import LocalHost
from pipeline.stage import Site
from pipeline.tools import goyaml, kubecfg
from pipeline.tools.kube import connect, path
from pipeline.tools.kube_objects import INSTANCE, labels, notes

SHOWN = 12  # changes of one object that are told


def make(spec: Manifests, images: Images, site: Site) -> Release:
    """Deploy and wait until it serves.

    Raises ConfigError, AuthError, IntegrityError before anything is written, where it cannot be tried or the cluster would refuse it;
    RolledBack or NotRolledBack where it does not come up, with the one cause that lies deepest and the file that holds the evidence;
    Locked where the lock was lost on the way.
    """
    want, space, objects, places = prepared(spec, images, site)
    with at_work(spec, site) as work:
        revisions = unfinished.checked(work)
        newest = revisions[0] if revisions else None
        now = stored.live(work.kube, spec, newest)
        if newest and settle.adopted(newest, want, images, now):
            site.tell(What.LOG, STAGE, f"revision {newest.number} holds this already; its rollout is waited for")
            return settle.settle(work, images, want, newest.number)
        if newest and newest.pending:
            site.tell(What.WARN, STAGE, f"revision {newest.number} was left half applied by a run that is gone: it is applied anew")
        revisions = settle.seen_good(work, revisions, now)
        rollback.check_way_back(work, history.good(revisions))
        kept = manifest_store.inventory(work) if newest else {}
        ours = frozenset(place for those in kept.values() for place in those)
        trials = manifest_trial.attempt(work.kube, spec, objects, places, ours)
        manifest = goyaml.dump(objects)
        _tell(work, spec, trials, manifest)
        pull.prove(spec, images, {"imagePullSecrets": manifest_check.pull_secrets(objects)}, work.kube, site)
        failpoint("deploy.proven")
        _describe(work, space)
        settle.keep_secret(work, want, newest)
        failpoint("deploy.secret")
        number = (newest.number if newest else 0) + 1
        _apply(work, images, want, number, manifest, places)
        failpoint("deploy.applied")
        return settle.settle(work, images, want, number, now)


def prepared(spec: Manifests, images: Images, site: Site) -> tuple[Wanted, dict[str, Any], list[dict[str, Any]], list[str]]:
    """Return the release as it is wanted, its namespace as the manifests have it, its objects and where each lies.

    Raises ConfigError, AuthError for what is wrong with them, before the cluster is touched.
    """
    files = manifest_files.read(site.root, spec)
    want = manifest_render.wanted(spec, images, files, site)
    space, objects = manifest_check.apart(manifest_render.objects(spec, want, images, files, site))
    return want, space, objects, manifest_kinds.places(connect(site, spec.cluster), objects, spec.namespace)


def _describe(work: Work, space: dict[str, Any]) -> None:
    """Let the stage's namespace have the labels and annotations that the manifests give it, as those of pod security; others stay."""
    if not space:
        return
    where = path("v1", "namespaces", name=work.spec.namespace)
    had = work.kube.get(where) or {}
    marks = {key: value for key, value in labels(space).items() if key not in (INSTANCE, manifest_check.MANAGED)}
    wanted = {"labels": marks, "annotations": dict(notes(space))}
    if marks.items() <= labels(had).items() and notes(space).items() <= notes(had).items():
        return
    work.site.tell(What.LOG, STAGE, f"namespace {work.spec.namespace} gets the labels and annotations that the manifests give it")
    work.kube.merge(where, {"metadata": wanted})


def _apply(work: Work, images: Images, want: Wanted, number: int, manifest: str, places: list[str]) -> None:
    """Write revision `number` down, apply it, and note that it is there; what was applied in part is taken back."""
    engine = by_manifests.of(work)
    engine.writing(work, number).begin()
    manifest_store.begin(work, number, manifest, places, settle.labels(images, want, work), "Apply complete")
    failpoint("deploy.begun")
    try:
        engine.apply(work, manifest, number)
    except (PipelineError, KeyboardInterrupt) as error:
        rollback.looked(work, error)
        raise rollback.halfway(work, number, error) from error
    manifest_store.finish(work, number)


def _tell(work: Work, spec: Manifests, trials: list[Trial], manifest: str) -> None:
    """What will change, object by object, and whose fields are taken, before it is done."""
    site = work.site
    lines = {trial.called: list(trial.lines) for trial in trials}
    if spec.program == "kubecfg":
        lines = _compared(work, manifest) or lines
    for called, changes in lines.items():
        if changes == ["+"]:
            site.tell(What.LOG, STAGE, f"{called} is new")
            continue
        for text in changes[:SHOWN]:
            site.tell(What.LOG, STAGE, f"{called}: {text}")
        if len(changes) > SHOWN:
            site.tell(What.LOG, STAGE, f"{called}: {len(changes) - SHOWN} more changes")
    for trial in trials:
        for field, manager in trial.taken:
            site.tell(What.WARN, STAGE, f"{trial.called}: {field} was set by {manager}; the manifests win")


def _compared(work: Work, manifest: str) -> dict[str, list[str]]:
    """What kubecfg's own diff says, by object; {} where it says nothing that can be read."""
    from pipeline.host import Cmd

    engine = by_manifests.of(work)
    argv = kubecfg.diff(engine.target, engine.written(work.site, manifest))
    output = LocalHost().run(Cmd(argv, env={"KUBECFG_JPATH": ""}, cwd=str(work.site.root), secret=True))
    return dict(kubecfg.changes(output.stdout.decode(errors="replace")))
