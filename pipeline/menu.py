"""The blueprints there are, named where one is chosen: in the list of tasks, in their help, and by `inv blueprints`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invoke import Collection, Context, Task, task

from pipeline.dry import only_looks
from pipeline.say import say

ABOUT = "What can be released, with its environments: what --blueprint (-b) and --env (-e) take."
OPTION = "blueprint: config/<blueprint>.yml"


@dataclass(frozen=True)
class Choice:
    """A blueprint: its environments, the one taken where none is named ("" where one has to be), and what its first line says of it."""

    name: str
    environments: tuple[str, ...]
    environment: str
    about: str


def task_for(polite: Callable[[Callable[..., Any]], Any], print_json: Callable[[dict[str, Any]], None], folder: Callable[[], Path],
             default: str) -> Any:  # fmt: skip
    """The task `blueprints` over those in `folder`; `default` is the one that is meant where none is named."""

    @only_looks
    @polite
    def blueprints(_c: Context, json: bool = False) -> None:
        found = choices(folder())
        if json:
            print_json({"blueprints": [{**each.__dict__, "default": each.name == default} for each in found]})
        else:
            say(*rows(found, default) or [f"none yet: write {folder()}/<app>.yml"])

    blueprints.__doc__ = ABOUT
    return task(blueprints, help={"json": "as JSON on stdout"})


def choices(folder: Path) -> list[Choice]:
    """What stands in the folder, read without judging it: a mistake in one file is told when that one is chosen."""
    from pipeline.errors import ConfigError
    from pipeline.plan import blueprints, environments
    from pipeline.yamlfile import read

    found = []
    for name in blueprints(folder):
        file = folder / f"{name}.yml"
        try:
            data = read(file).data
        except ConfigError:
            data = None
        usual = str(data.get("environment") or "") if isinstance(data, dict) else ""
        first = file.read_text(errors="replace").partition("\n")[0]
        found.append(Choice(name, tuple(environments(folder, name)), usual, first.removeprefix("#").strip() if first[:1] == "#" else ""))
    return found


def rows(found: list[Choice], default: str) -> list[str]:
    """Two lines for each blueprint: what it is, and its environments; what is taken where nothing is named is marked."""
    names = [marked(each.name, default) for each in found]
    width = max(map(len, names), default=0)
    lines = []
    for name, each in zip(names, found, strict=True):
        where = ", ".join(marked(env, each.environment) for env in each.environments)
        lines += [f"{name:<{width}}  {each.about}".rstrip(), f"{'':<{width}}  " + (f"--env {where}" if where else "no environments")]
    return lines


def marked(name: str, usual: str) -> str:
    return f"{name} (usual)" if name == usual else name


def announce(program: Any, tasks: Collection, folder: Callable[[], Path], default: str) -> None:
    """Have invoke's `program` name the blueprints in the help of `tasks`, once it knows where it is and before it reads the line.

    invoke finds the folder of the tasks.py only after that file was loaded. By then it has copied the tasks, so that they are known by
    their bodies, and it takes their help when it starts to parse.
    """
    step = program.parse_tasks
    bodies = {id(each.body) for each in every(tasks)}

    @functools.wraps(step)
    def parse() -> None:
        from pipeline.plan import blueprints

        names = [marked(name, default) for name in blueprints(folder())]
        for each in every(program.collection):
            if names and id(each.body) in bodies:
                if "blueprint" in each.help:
                    each.help["blueprint"] = f"{OPTION}; one of {', '.join(names)}"
                if each.__doc__ == ABOUT:
                    each.__doc__ = f"What can be released: {', '.join(names)}. With the environments of each."
        step()

    program.parse_tasks = parse


def every(tasks: Collection | None) -> Iterator[Task[Any]]:
    """The tasks of a collection and of those in it."""
    if tasks is not None:
        yield from tasks.tasks.values()
        for below in tasks.collections.values():
            yield from every(below)
