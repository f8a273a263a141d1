"""`inv build push deploy` is one plan: the whole line is seen before anything of it runs. With --dry nothing of it is done."""

from __future__ import annotations

import inspect
from typing import Any

from invoke.exceptions import Exit
from invoke.executor import Executor
from invoke.tasks import Task

from pipeline.dry import MARK, is_ours
from pipeline.errors import ConfigError, explain

RELEASE = "release"
Calls = list[tuple[str, dict[str, Any]]]


class Chain(Executor):
    """Runs neighbouring stage tasks as one: the furthest verb of them, once, with the options given to any of them.

    Two different values for one option are refused before anything starts. Other tasks run where they stand in the line. With Invoke's
    --dry (or `run.dry` of its configuration) tasks of ours that only look run, the others show what they would do, and one that cannot
    show it has the whole line refused.
    """

    def execute(self, *tasks: Any) -> Any:
        line: Calls = []
        group: Calls = []
        for call in self.normalize(tasks):
            name = call.called_as or call.task.name
            stage = is_stage(call.task)
            if group and not (stage and home(name) == home(group[0][0])):
                line += merged(group, self.collection)
                group = []
            (group if stage else line).append((name, dict(call.kwargs)))
        line += merged(group, self.collection)
        return super().execute(*(self._shown(line) if self._is_dry() else line))

    def _is_dry(self) -> bool:
        self.config.load_shell_env()  # INVOKE_RUN_DRY counts as well
        return bool(self.config.run.dry)

    def _shown(self, line: Calls) -> Calls:
        """The tasks that show what those of the line would do. Raises Exit if one of them, or one that runs before or after it, cannot."""
        unable = [name for name, _ in line if not can_show(self.collection[name])]
        calls = [] if unable else [shown(name, options, self.collection) for name, options in line]
        direct = [self.collection[name] for name, _ in calls]
        beside = [call.task for call in self.expand_calls(self.normalize(tuple(calls))) if call.task not in direct]
        unable += [each.name for each in beside if is_ours(each.body) and not only_looks(each)]
        if unable:
            error = ConfigError(
                f"inv {unable[0]} acts, and nothing shows what it would do: under --dry nothing of this line was run",
                mend="leave --dry out if it is meant; inv plan, inv status and inv --dry release only look",
            )
            raise Exit(explain(error), code=error.exit_code)
        return calls


def can_show(task: Task[Any]) -> bool:
    """Whether the task may be named under --dry: another's, whose commands Invoke prints, or one of ours that looks or is shown."""
    return not is_ours(task.body) or bool(getattr(task.body, MARK))


def only_looks(task: Task[Any]) -> bool:
    """Whether the task of ours changes nothing."""
    return bool(getattr(task.body, MARK)) and not getattr(task.body, MARK)[0]


def shown(name: str, options: dict[str, Any], collection: Any) -> tuple[str, dict[str, Any]]:
    """The call that shows what another one would do: itself if it only looks. Options that the shown task alone has are left out."""
    task = collection[name]
    if not is_ours(task.body) or only_looks(task):
        return name, options
    other, more = getattr(task.body, MARK)
    instead = ".".join(filter(None, (home(name), other)))
    known = inspect.signature(collection[instead].body).parameters
    return instead, {**{option: value for option, value in options.items() if option in known}, **more}


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
