"""inv, as `python -m pipeline`: what is wrong with Invoke's own flags is told in this project's words too, and `init` works where there is
no tasks.py yet, or one that knows nothing of this project.

Invoke reads its flags before it reads a tasks.py, so that `inv` itself knows nothing of this project by then.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from invoke import Collection, Exit
from invoke.main import program

from pipeline.ending import end_quietly
from pipeline.errors import ConfigError, explain
from pipeline.line import polite

INIT = "init"


def begin(program: Any) -> None:
    """Have `program` know the task `init` wherever it is called, and say what to do where there is no tasks.py."""
    step = program.load_collection

    def load() -> None:
        here = Path(program.args["search-root"].value or ".").absolute()
        tasks = next((each / "tasks.py" for each in (here, *here.parents) if (each / "tasks.py").is_file()), None)
        if program.args.collection.value or (tasks and "pipeline" in tasks.read_text(errors="replace")):
            step()
        elif INIT in (*program.core.unparsed[:1], program.args.help.value):
            from pipeline.cli import collection

            program.collection = Collection.from_module(_module(collection("config")), loaded_from=str(here))
        elif tasks is None:
            mend = "python -m pipeline init looks at the repository, and writes one"
            error = ConfigError(f"there is no tasks.py in {here} or above it", mend=mend)
            raise Exit(explain(error), code=error.exit_code)
        else:
            step()

    program.load_collection = load


def _module(tasks: Collection) -> Any:
    """The tasks as a tasks.py has them."""
    from types import ModuleType

    made = ModuleType("tasks")
    made.ns = tasks  # type: ignore[attr-defined]
    return made


if __name__ == "__main__":
    sys.argv[0] = "inv"
    end_quietly()
    begin(program)
    polite(program)
    program.run()
