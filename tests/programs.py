"""The programs that only tests need, installed and built: `python -m tests.programs`. No test has to build one within its own time."""

from __future__ import annotations

import os
import sys

from pipeline.errors import PipelineError, explain
from pipeline.lab import ALL, ON_REQUEST, packages, programs
from tests.real.terraform_parts import SPOT

NEEDED = ("helm", "tofu", SPOT, "actionlint", "helm3", "act")


def say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    """Install and build what is missing. The exit code."""
    try:
        packages.ensure(ALL | ON_REQUEST | {"ci"}, say=say, env=dict(os.environ))
        for each in NEEDED:
            programs.ensure(each, say=say)
    except PipelineError as error:
        print(explain(error), file=sys.stderr)
        return error.exit_code
    say("the programs that tests need are there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
