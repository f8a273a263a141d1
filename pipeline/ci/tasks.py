"""The Invoke tasks of continuous integration: the workflow written from the blueprint, and its run followed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from invoke import Collection, Context, task

from pipeline.errors import ConfigError


def collection(
    polite: Callable[[Callable[..., Any]], Any],
    print_json: Callable[[dict[str, Any]], None],
    config: Callable[[], Path],
    about: dict[str, str],
) -> Collection:
    """`ci.generate`. What all tasks share is the face's: `polite` turns errors into sentences and exit codes, `config` is the folder of
    the blueprints, `about` the help of the options that many tasks have."""

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
            print("\n".join(files))

    return Collection("ci", task(generate, help={"check": "only compare", "blueprint": about["blueprint"], "json": about["json"]}))
