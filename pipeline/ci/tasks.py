"""The Invoke tasks of continuous integration: the workflow written from the blueprint, and its run followed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from invoke import Collection, Context, task

from pipeline.dry import shown_by
from pipeline.errors import ConfigError
from pipeline.say import say


def collection(
    polite: Callable[[Callable[..., Any]], Any],
    print_json: Callable[[dict[str, Any]], None],
    story: Callable[[], AbstractContextManager[Callable[[str], None]]],
    config: Callable[[], Path],
    about: dict[str, str],
) -> Collection:
    """`ci.generate` and `ci.watch`. What all tasks share is the face's: `polite` turns errors into sentences and exit codes, `config` is
    the folder of the blueprints, `story` shows what goes on, `about` is the help of the options that many tasks have."""

    @shown_by("generate", check=True)
    @polite
    def generate(_c: Context, check: bool = False, blueprint: str = "", json: bool = False) -> None:
        """Write the workflows that the blueprints describe; prints their paths. --check writes nothing: exit 2 where one differs."""
        from pipeline.ci.workflows import wanted
        from pipeline.generate.files import differences, write

        files = wanted(config(), blueprint)
        changed = differences(config().parent, files)
        if check and changed:
            lines = [line for each in changed for line in each.lines()]
            raise ConfigError(
                f"{', '.join(each.path for each in changed)}: not what the blueprint says",
                cause="\n".join(lines[-10:]),
                mend="inv ci.generate, then commit the difference",
            )
        write(config().parent, changed)
        if json:
            print_json({"workflows": [{"path": name, "changed": name in {each.path for each in changed}} for name in files]})
        else:
            say(*files)

    @polite
    def watch(_c: Context, run: str = "", commit: str = "", env: str = "", blueprint: str = "", json: bool = False) -> None:
        """Follow the run of this commit on GitHub to its end, say what failed, and look at what it published; prints the images.

        With `run` in the blueprint's section ci, what was published is pulled by digest and run by itself, and its ports are asked.

        Waits for the run to appear. Stopped and started again, it goes on where the run is.
        """
        import dataclasses

        from pipeline.ci.watched import watched

        with story() as tell:
            found = watched(config(), blueprint, env, run, commit, tell)
        if json:
            print_json(dataclasses.asdict(found))
        else:
            say(*(f"{package.reference} {' '.join(package.tags)}" for package in found.packages))

    shared = {"blueprint": about["blueprint"], "json": about["json"]}
    return Collection(
        "ci",
        task(generate, help={**shared, "check": "only compare"}),
        task(
            watch,
            help={
                **shared,
                "run": "the number of a run, in place of this commit's newest",
                "commit": "another commit",
                "env": about["env"],
            },
        ),
    )
