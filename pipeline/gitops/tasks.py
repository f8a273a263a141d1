"""The Invoke tasks of a GitOps repository: its layout, Flux brought to follow it, old kinds rewritten, and what Flux says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from invoke import Collection, Context, task

from pipeline.dry import only_looks, shown_by
from pipeline.errors import ConfigError, PipelineError
from pipeline.say import say, say_block

T = TypeVar("T")


def collection(
    polite: Callable[[Callable[..., Any]], Any],
    opened: Callable[[str, str, bool], AbstractContextManager[tuple[Any, Any]]],
    print_json: Callable[[dict[str, Any]], None],
    about: dict[str, str],
) -> Any:
    """`flux.init`, `flux.bootstrap`, `flux.migrate` and `flux.status`. What all tasks share is the face's: see `pipeline.operate.tasks`."""

    @shown_by("init", check=True)
    @polite
    def init(
        _c: Context, env: str = "", blueprint: str = "", json: bool = False, folder: str = "", check: bool = False, crds: str = ""
    ) -> None:
        """Bring the blueprint's files into the repository that Flux follows, by one commit; or into a folder with --folder.

        What people changed there is shown and kept, lines that a release wrote stay. --check writes nothing: exit 2 where a file would be.
        """
        from pipeline.gitops import init as work

        with opened(env, blueprint, json) as (found, site):
            place = _place(found)
            valid = _validator(place, site, crds)
            if folder:
                outcome = _patiently(site, lambda: work.into(Path(folder), place, site, valid, write=not check))
            elif check:
                outcome = work.Outcome(_patiently(site, lambda: work.look(place, site)[1]))
            else:
                outcome = _patiently(site, lambda: work.publish(place, site, valid))
        if check:
            _differs([each for each in outcome.verdicts if each.writes], "inv flux.init")
        if json:
            rows = [{"path": each.path, "state": each.state, "diff": each.lines()} for each in outcome.verdicts]
            print_json({"commit": outcome.commit, "files": rows})
            return
        for each in outcome.verdicts:
            if each.state != "same":
                say(f"{each.state:<8} {each.path}")
            if each.state == "kept":
                say(*(f"  {line}" for line in each.lines()))
        if outcome.commit:
            say(f"commit   {outcome.commit}")
        elif not any(each.writes for each in outcome.verdicts):
            say("nothing to do")

    @polite
    def bootstrap(_c: Context, env: str = "", blueprint: str = "", json: bool = False, components: str = "") -> None:
        """Make Flux follow the repository: components, key and objects, each where it is not there. Again goes on, or does nothing.

        --components names the install.yaml of a Flux release; without it the repository's own count, or those of the flux command.
        """
        import dataclasses

        from pipeline.gitops.bootstrap import bootstrap as make
        from pipeline.gitops.components import of_path

        with opened(env, blueprint, json) as (found, site):
            place = _place(found)
            given = of_path(Path(components)) if components else None
            done = _patiently(site, lambda: make(place, site, given))
        if json:
            print_json({"bootstrap": dataclasses.asdict(done)})
            return
        say(
            *(f"commit   {each}" for each in done.commits),
            f"follows  {done.revision}",
            *([f"key      {done.public}"] if done.public else []),
        )

    @shown_by("migrate", check=True)
    @polite
    def migrate(_c: Context, env: str = "", blueprint: str = "", json: bool = False, folder: str = "", check: bool = False) -> None:
        """Rewrite old versions of Flux's kinds in the repository, comments and all else kept, by one commit; or in a folder with --folder.

        --check writes nothing: exit 2 where something is old.
        """
        from pipeline.gitops import migrate as work

        with opened(env, blueprint, json) as (found, site):
            place = _place(found)
            served = _schemas(place, site, "")
            if folder:
                outcome = work.into(Path(folder), place, served, write=not check)
            else:
                outcome = _patiently(site, lambda: work.publish(place, site, served, write=not check))
        if check:
            _differs(list(outcome.changes), "inv flux.migrate")
        if json:
            rows = [{"path": each.path, "what": list(each.what), "diff": each.lines()} for each in outcome.changes]
            print_json({"commit": outcome.commit, "files": rows, "left": list(outcome.left)})
            return
        for each in outcome.changes:
            say(f"changed  {each.path}", *(f"  {what}" for what in each.what))
        for text in outcome.left:
            say(f"left     {text}")
        say(f"commit   {outcome.commit}" if outcome.commit else "" if outcome.changes else "nothing to do")

    @only_looks
    @polite
    def status(_c: Context, env: str = "", blueprint: str = "", json: bool = False) -> None:
        """What Flux says of the blueprint's objects: source, Kustomizations, HelmRelease."""
        from pipeline.gitops.status import as_json, gather, table
        from pipeline.tools.kube import connect

        with opened(env, blueprint, json) as (found, site):
            place = _place(found)
            rows = _patiently(site, lambda: gather(place, connect(site, place.flux.cluster)))
        if json:
            print_json({"flux": as_json(rows)})
        else:
            say_block(table(rows))

    folder_help = {
        "folder": "a folder of this machine, in place of the repository",
        "check": "write nothing; exit 2 where something would be",
    }
    tasks: Any = Collection("flux")
    tasks.add_task(task(init, help={**about, **folder_help, "crds": "folder with Flux's CRDs, in place of the cluster's"}))
    tasks.add_task(task(bootstrap, help={**about, "components": "file or folder: the install.yaml of a Flux release"}))
    tasks.add_task(task(migrate, help={**about, **folder_help}))
    tasks.add_task(task(status, help=about))
    return tasks


def _place(blueprint: Any) -> Any:
    from pipeline.gitops.place import of

    return of(blueprint.name, blueprint.app, blueprint.plan, blueprint.gitops)


def _validator(place: Any, site: Any, crds: str) -> Callable[[Mapping[str, bytes]], None]:
    """What looks at the repository's files before they are committed. The schemas are fetched when there is something to look at."""

    def check(files: Mapping[str, bytes]) -> None:
        from pipeline.gitops.validate import check as valid

        valid(files, place, _schemas(place, site, crds))

    return check


def _schemas(place: Any, site: Any, crds: str) -> Any:
    """The schemas of a folder, or of the cluster; none, and a word about it, where that has no Flux or cannot be asked."""
    from pipeline.events import What
    from pipeline.gitops.place import STAGE
    from pipeline.gitops.schemas import Schemas, of_cluster, of_folder
    from pipeline.tools.kube import connect

    if crds:
        return of_folder(Path(crds))
    try:
        found = of_cluster(connect(site, place.flux.cluster))
        why = "it has no Flux yet (inv flux.bootstrap)"
    except PipelineError as error:
        found, why = Schemas({}), error.what
    if not found:
        site.tell(What.WARN, STAGE, f"the cluster's schemas are not to be had: {why}; the fields of the files are not checked")
    return found


def _patiently(site: Any, act: Callable[[], T]) -> T:
    from pipeline.gitops.place import STAGE
    from pipeline.retry import Policy, retrying
    from pipeline.runner.heard import heard

    return retrying(Policy(), site.clock, lambda _attempt: act(), heard(site, STAGE))


def _differs(changed: list[Any], mend: str) -> None:
    """Raises ConfigError where a check found something to do."""
    if changed:
        lines = [line for each in changed for line in each.lines()]
        raise ConfigError(
            f"{', '.join(each.path for each in changed)}: not as it would be written", cause="\n".join(lines[-10:]), mend=mend
        )
