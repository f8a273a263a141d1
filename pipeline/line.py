"""invoke in this project's words: what it cannot read is told as every other mistake, and it works from any folder below."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invoke.exceptions import CollectionNotFound, Exit, ParseError

from pipeline.dry import is_ours
from pipeline.errors import ConfigError, explain
from pipeline.yamlfile import keys_like

UNKNOWN = re.compile(r"No idea what '(.*)' is!", re.DOTALL)  # the texts are those of invoke 2.2 and 3.0, parser/parser.py
NO_NUMBER = re.compile(r"invalid literal for int\(\) with base 10: (.*)", re.DOTALL)
NO_VALUE = re.compile(r"Flag <Argument: ([\w-]+).*> needed value and was not given one!", re.DOTALL)
CUT = "No closing quotation"  # shlex's words: the shell asks how a line goes on whose quote is not closed yet
FORMATS = ("flat", "nested", "json")
STEPS = ("parse_core", "parse_collection", "parse_tasks", "parse_cleanup", "update_config")
REFUSED = {  # of Invoke's own flags, that say something of commands which tasks of ours do not run by it: what to write in their place
    "command-timeout": "timeout 600 inv {task}: it is stopped in order; how long a rollout may take is the deploy stage's `deadline`",
    "config": "name what is meant behind the task: inv {task} --blueprint NAME --env NAME",
    "debug": "inv {task} --json tells every event on stderr, with secrets masked",
    "echo": "leave it out: stderr tells what is done; if an environment is meant, it stands behind the task: inv {task} --env NAME",
    "hide": "inv {task} 2>/dev/null: stdout has the result alone",
    "no-dedupe": "run inv once for each: the stages of one line are one plan",
    "prompt-for-sudo-password": "leave it out: no task here uses sudo; who logs in to a host is written in the site file",
    "pty": "leave it out: no task here needs a terminal",
    "warn-only": "leave it out: what comes after a stage that failed has nothing to work with; in a script: inv {task} || true",
}


def polite(program: Any) -> None:
    """Have invoke's `program` tell what it cannot read in this project's words. Again is once."""
    for step in STEPS:
        if step not in vars(program):
            setattr(program, step, told(program, getattr(program, step)))


def gather(program: Any) -> None:
    """Have what stands behind a task that says so (`rest` of its body) be the values of that option of it. Again is once."""
    step = program.parse_tasks
    if hasattr(step, "gathers"):
        return

    @functools.wraps(step)
    def parse() -> None:
        tokens, tasks = program.core.unparsed, program.collection
        for at, token in enumerate(tokens):
            option = getattr(tasks[token].body, "rest", "") if token in tasks.task_names else ""
            if option:
                rest = [*tokens[at + 1 :], *program.core.remainder.split()]  # what stands behind a -- as well
                tokens[at + 1 :] = behind(rest, option, set(inspect.signature(tasks[token].body).parameters))
                break
        step()

    parse.gathers = True  # type: ignore[attr-defined]
    program.parse_tasks = parse


def behind(tokens: list[str], option: str, own: set[str]) -> list[str]:
    """The `tokens` behind a task, each that is no option of its `own` as a value of `option`; behind the first strange option all are."""
    flags = {"-h", "--help"} | {f"--{no}{name}" for name in own for no in ("", "no-")}
    at = next((at for at, token in enumerate(tokens) if token.startswith("-") and token.partition("=")[0] not in flags), len(tokens))
    return [token if number < at and token.startswith("-") else f"--{option}={token}" for number, token in enumerate(tokens)]


def home(program: Any) -> Path:
    """The folder of the tasks.py that was loaded: inv finds it from any folder below, where there is no config."""
    return Path(getattr(program.collection, "loaded_from", None) or ".").absolute()


def told(program: Any, step: Callable[..., None]) -> Callable[..., None]:
    """`step` of the program, with its complaints turned into an Exit of code 2."""

    @functools.wraps(step)
    def parse(*given: Any) -> None:
        try:
            refuse(program, step.__name__)
            step(*given)
        except (ParseError, ValueError) as error:
            if str(error) == CUT and program.args.complete.value:
                raise Exit(code=0) from error
            if isinstance(error, ValueError) and not NO_NUMBER.fullmatch(str(error)):
                raise
            raise Exit(explain(meant(error, program)), code=ConfigError.exit_code) from error
        except Exit as error:
            if not isinstance(absent := error.__context__, CollectionNotFound):
                raise
            what = f"there is no {absent.name or 'tasks'}.py in {absent.start or Path.cwd()}, nor in a folder above it"
            mend = "go into the folder that has it, or name it: inv --search-root FOLDER"
            raise Exit(explain(ConfigError(what, mend=mend)), code=ConfigError.exit_code) from error

    return parse


def refuse(program: Any, step: str) -> None:
    """Raise Exit of code 2 for a flag of Invoke's that would do nothing, or a way to list that there is not, before it is acted on."""
    error = None
    if step == "parse_collection" and program.args.collection.value == "":
        error = ConfigError("--collection needs a value", mend="leave it out: the tasks stand in a tasks.py")
    if step == "parse_collection" and (root := program.args["search-root"].value) and not Path(root).is_dir():
        error = ConfigError(f"--search-root {root!r} is no folder", mend="name the one that has the tasks.py, or one below it")
    if step == "parse_cleanup" and (way := program.args["list-format"].value) not in FORMATS:
        error = ConfigError(f"--list-format {way!r} is not known{keys_like(way, list(FORMATS))}", mend=f"one of: {', '.join(FORMATS)}")
    if step == "parse_cleanup" and isinstance(under := program.args.list.value, str) and under not in program.collection.collections:
        known = [*program.collection.collections]
        error = ConfigError(f"there are no tasks {under}.*{keys_like(under, known)}", mend=f"inv --list, or one of: {', '.join(known)}")
    if step == "update_config":
        ours = [each.name for each in program.tasks if is_ours(program.collection[each.name].body)]
        given = [flag for flag in REFUSED if program.args[flag].value]
        if ours and given:
            what = f"--{given[0]} is a flag of Invoke's for commands that it runs: it has no meaning for inv {ours[0]}, and nothing was run"
            error = ConfigError(what, mend=REFUSED[given[0]].format(task=ours[0]))
    if error is not None:
        raise Exit(explain(error), code=error.exit_code)


def meant(error: ParseError | ValueError, program: Any) -> ConfigError:
    """The complaint, with the task or option that is the nearest to what was written."""
    text = str(error)
    if number := NO_NUMBER.fullmatch(text):
        return ConfigError(f"{number[1]} is not a whole number", mend="inv --help, or inv --help TASK, says what the options take")
    if flag := NO_VALUE.fullmatch(text):
        return ConfigError(f"--{flag[1]} needs a value", mend="inv --help, or inv --help TASK, says what the options take")
    unknown = UNKNOWN.fullmatch(text)
    if unknown is None:
        return ConfigError(text.rstrip("!"), mend="inv --help TASK says what its options take")
    word = unknown[1]
    context: Any = getattr(error, "context", None)
    if word.startswith("-") and getattr(context, "name", None):
        known = [flag for flag in context.flags if flag.startswith("--")]
        return ConfigError(f"inv {context.name} has no option {word}{keys_like(word, known)}", mend=f"inv --help {context.name} lists them")
    tasks = [*program.collection.task_names] if getattr(program, "collection", None) else []
    return ConfigError(f"there is no task {word!r}{keys_like(word, tasks)}", mend="inv --list shows them all")
