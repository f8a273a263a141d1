"""The tasks of tags: where those that move stand, and putting one somewhere by hand."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from invoke import Collection, Context, task

from pipeline.dry import only_looks
from pipeline.say import say


def collection(
    polite: Callable[[Callable[..., Any]], Any],
    opened: Callable[[str, str, bool], AbstractContextManager[tuple[Any, Any]]],
    print_json: Callable[[dict[str, Any]], None],
    about: dict[str, str],
) -> Any:
    """`tags.show`, `tags.put`. What all tasks share is the face's: see `pipeline.operate.tasks`."""

    @only_looks
    @polite
    def show(_c: Context, env: str = "", blueprint: str = "", json: bool = False) -> None:
        """Where the tags that move stand: digest, version, commit, and what each was before. Changes nothing."""
        import dataclasses

        from pipeline.build.placing import show
        from pipeline.source import snapshot

        with opened(env, blueprint, json) as (found, site):
            rows = show(found.plan, site, snapshot(site.root, private=site.private))
        if json:
            print_json({"tags": [dataclasses.asdict(row) for row in rows]})
        for row in () if json else rows:
            said = ", ".join(filter(None, (row.version, row.commit and f"commit {row.commit[:7]}")))
            was = f", before {row.before[:19]}" if row.before else ""
            say(f"{row.repository}:{row.tag}  {row.digest[:19] or 'not there'}{f' ({said})' if said else ''}{was}")

    @polite
    def put(_c: Context, tag: str, to: str = "", image: str = "", env: str = "", blueprint: str = "", json: bool = False) -> None:
        """Let a tag that moves stand for another image, an older one too: --to TAG, DIGEST or `before`. What it stood for is recorded."""
        import dataclasses

        from pipeline.build.placing import put
        from pipeline.errors import ConfigError
        from pipeline.retry import Policy, retrying
        from pipeline.runner.heard import heard
        from pipeline.source import snapshot

        if not to:
            raise ConfigError("what is it to stand for?", mend=f"inv tags.put {tag} --to v1.2.3, a digest, or before")
        with opened(env, blueprint, json) as (found, site):
            source = snapshot(site.root, private=site.private)
            done = retrying(Policy(), site.clock, lambda _attempt: put(found.plan, site, source, tag, to, image), heard(site, "tags"))
        if json:
            print_json(
                {"images": [dataclasses.asdict(each) for each in done.images], "moved": [dataclasses.asdict(each) for each in done.moved]}
            )
        for each in () if json else done.images:
            say(each.reference)

    tasks: Any = Collection("tags")
    tasks.add_task(task(show, help=about))
    help_put = {"tag": "the tag", "to": "another tag, a digest, or the word before", "image": "one image of the set"}
    tasks.add_task(task(put, help={**about, **help_put}, positional=["tag"]))
    return tasks
