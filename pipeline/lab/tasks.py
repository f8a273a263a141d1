"""The Invoke tasks of the lab: up, status, logs, down."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from invoke import Collection, Context, Exit, task

from pipeline.dry import only_looks
from pipeline.say import say


def collection(
    polite: Callable[[Callable[..., Any]], Any],
    print_json: Callable[[dict[str, Any]], None],
    story: Callable[[], AbstractContextManager[Callable[[str], None]]],
    home: Callable[[], Path],
) -> Collection:
    """`lab.up`, `lab.status`, `lab.logs`, `lab.down`.

    What all tasks share is the face's: `polite` turns errors into sentences and exit codes, `print_json` writes a result, `story`
    shows what goes on, `home` is the working copy.
    """
    help_root = {"json": "as JSON on stdout"}

    @task(help={"with": "parts beside those of the main system, with commas between them: docker,hub,kubecfg,flux"})
    @polite
    def up(_c: Context, with_: str = "") -> None:
        """Start every node of the blueprint, real, on this machine; prints the site file. Installs and builds what is missing first."""
        from pipeline import lab

        more = frozenset(word.strip() for word in with_.split(",") if word.strip())
        with story() as tell:
            say(str(lab.up(home(), parts=lab.ALL | more, say=tell)))

    @task(help=help_root)
    @only_looks
    @polite
    def status(_c: Context, json: bool = False) -> None:
        """What of the lab runs and where it listens. Exit 18 where something of it does not run, or there is no lab."""
        import dataclasses

        from pipeline import lab
        from pipeline.errors import VerifyError
        from pipeline.lab.table import table, verdict

        nodes = lab.status(home())
        if json:
            print_json({"nodes": [dataclasses.asdict(node) for node in nodes]})
        elif nodes:
            say(*table(nodes))
        if wrong := verdict(nodes):
            raise Exit(wrong, code=VerifyError.exit_code)

    @task(help={"node": "which node; without it: the names of all"})
    @only_looks
    @polite
    def logs(_c: Context, node: str = "") -> None:
        """The log of one node on stdout; without a node, the names of all that have one."""
        from pipeline import lab

        if not node:
            say(*lab.logged(home()))
            return
        with lab.logs(home(), node).open(errors="replace") as lines:
            for line in lines:
                say(line.removesuffix("\n"))

    @task
    @polite
    def down(_c: Context) -> None:
        """Stop the lab and take away all it made: processes, mounts, interfaces, rules, files. Built programs stay in the cache."""
        from pipeline import lab

        with story() as say:
            lab.down(home(), say=say)

    return Collection("lab", up, status, logs, down)
