"""invoke in this project's words: what it cannot read is told as every other mistake, and it works from any folder below."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invoke.exceptions import Exit, ParseError

from pipeline.errors import ConfigError, explain
from pipeline.yamlfile import keys_like

UNKNOWN = re.compile(r"No idea what '(.*)' is!", re.DOTALL)  # the texts are those of invoke 2.2 and 3.0, parser/parser.py
NO_NUMBER = re.compile(r"invalid literal for int\(\) with base 10: (.*)", re.DOTALL)
STEPS = ("parse_tasks", "parse_cleanup")


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
                tokens[at + 1 :] = behind(tokens[at + 1 :], option, set(inspect.signature(tasks[token].body).parameters))
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


def told(program: Any, step: Callable[[], None]) -> Callable[[], None]:
    """`step` of the program, with its complaints turned into an Exit of code 2."""

    @functools.wraps(step)
    def parse() -> None:
        try:
            step()
        except (ParseError, ValueError) as error:
            if isinstance(error, ValueError) and not NO_NUMBER.fullmatch(str(error)):
                raise
            raise Exit(explain(meant(error, program)), code=ConfigError.exit_code) from error

    return parse


def meant(error: ParseError | ValueError, program: Any) -> ConfigError:
    """The complaint, with the task or option that is the nearest to what was written."""
    text = str(error)
    if number := NO_NUMBER.fullmatch(text):
        return ConfigError(f"{number[1]} is not a whole number", mend="inv --help TASK says what its options take")
    unknown = UNKNOWN.fullmatch(text)
    if unknown is None:
        return ConfigError(text.rstrip("!"), mend="inv --help TASK says what its options take")
    word = unknown[1]
    context: Any = getattr(error, "context", None)
    if word.startswith("-") and getattr(context, "name", None):
        known = [flag for flag in context.flags if flag.startswith("--")]
        return ConfigError(f"inv {context.name} has no option {word}{keys_like(word, known)}", mend=f"inv --help {context.name} lists them")
    tasks = [*program.collection.task_names] if program.collection else []
    return ConfigError(f"there is no task {word!r}{keys_like(word, tasks)}", mend="inv --list shows them all")
