"""The chart's tasks: pack it, publish it in a registry."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from invoke import Collection, Context, task

from pipeline.say import say

COMMIT = "commit"


def collection(
    polite: Callable[[Callable[..., Any]], Any],
    opened: Callable[[str, str, bool], AbstractContextManager[tuple[Any, Any]]],
    print_json: Callable[[dict[str, Any]], None],
    about: dict[str, str],
) -> Any:
    """`chart.package`, `chart.push`. What all tasks share is the face's: see `pipeline.operate.tasks`."""

    @polite
    def package(_c: Context, env: str = "", blueprint: str = "", json: bool = False, to: str = "", app_version: str = "") -> None:
        """The deploy stage's `source` as one file, the same bytes for the same content; prints its path. Nothing is published."""
        from pipeline.deploy import publish

        with opened(env, blueprint, json) as (found, site):
            spec = publish.source_of(found.plan)
            ready = publish.package(spec, site, _app_version(site, app_version))
            publish.lint(ready.folder, site)
        folder = Path(to) if to else found.root / ".pipeline" / "packages"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{ready.name}-{ready.version}.tgz"
        file.write_bytes(ready.made.archive)
        if json:
            print_json({"chart": ready.name, "version": ready.version, "file": str(file), "digest": ready.made.digest})
        else:
            say(str(file))

    @polite
    def push(_c: Context, env: str = "", blueprint: str = "", json: bool = False, app_version: str = "") -> None:
        """Publish the deploy stage's `source` where its `chart` is, under the version in Chart.yaml; prints it with its digest.

        A version never changes: the same content is found there, another is refused.
        """
        import dataclasses

        from pipeline.deploy import publish
        from pipeline.retry import Policy, retrying
        from pipeline.runner.heard import heard
        from pipeline.source import snapshot

        with opened(env, blueprint, json) as (found, site):
            spec, source = publish.source_of(found.plan), snapshot(site.root, private=site.private)
            version = _app_version(site, app_version)
            done = retrying(Policy(), site.clock, lambda _attempt: publish.push(spec, site, source, version), heard(site, publish.STAGE))
        if json:
            print_json({"chart": dataclasses.asdict(done)})
        else:
            say(f"{done.reference}@{done.digest}  {done.state}")

    help_version = {"app-version": f"the appVersion to write into it; {COMMIT!r} is this commit"}
    tasks: Any = Collection("chart")
    tasks.add_task(task(package, help={**about, **help_version, "to": "the folder for the file"}))
    tasks.add_task(task(push, help={**about, **help_version}))
    return tasks


def _app_version(site: Any, given: str) -> str:
    from pipeline.source import snapshot

    return str(snapshot(site.root, private=site.private).label) if given == COMMIT else given
