"""`inv build push deploy` is one plan: the whole line is seen before anything of it runs."""

from __future__ import annotations

from typing import Any

from invoke.exceptions import Exit
from invoke.executor import Executor
from invoke.tasks import Task

RELEASE = "release"


class Chain(Executor):
    """Runs neighbouring stage tasks as one: the furthest verb of them, once, with the options given to any of them.

    Two different values for one option are refused before anything starts. Other tasks run where they stand in the line.
    """

    def execute(self, *tasks: Any) -> Any:
        line: list[tuple[str, dict[str, Any]]] = []
        group: list[tuple[str, dict[str, Any]]] = []
        for call in self.normalize(tasks):
            name = call.called_as or call.task.name
            stage = is_stage(call.task)
            if group and not (stage and home(name) == home(group[0][0])):
                line += merged(group, self.collection)
                group = []
            (group if stage else line).append((name, dict(call.kwargs)))
        return super().execute(*line, *merged(group, self.collection))


def is_stage(task: Task[Any]) -> bool:
    """Whether the task is a verb of the plan."""
    return hasattr(task.body, "stage_order")


def home(name: str) -> str:
    """The collection that a task stands in: the same verbs in two collections are the stages of two blueprints."""
    return name.rpartition(".")[0]


def merged(group: list[tuple[str, dict[str, Any]]], collection: Any) -> list[tuple[str, dict[str, Any]]]:
    """One call for a group of stage calls. A chain that ends in verify is a release: alone, verify only checks what is live."""
    if not group:
        return []
    options: dict[str, Any] = {}
    for _name, given in group:
        for option, value in given.items():
            if not value:
                continue  # not given: every option of a stage is empty or off by default
            if options.get(option, value) != value:
                raise Exit(f"--{option} is given as {options[option]!r} and as {value!r} in one line: choose one", code=2)
            options[option] = value
    names = [name for name, _ in group]
    furthest = max(names, key=lambda name: collection[name].body.stage_order)
    if furthest.rpartition(".")[2] == "verify" and len(set(names)) > 1:
        furthest = ".".join(filter(None, (home(furthest), RELEASE)))
    return [(furthest, options)]
