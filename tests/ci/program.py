"""A gh that gives recorded answers in order, the last one for ever; and what it was asked."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = """#!{python}
import os, pathlib, sys
here = pathlib.Path(__file__).parent
with (here / "asked").open("a") as asked:
    asked.write(" ".join(sys.argv[1:]) + "\\n")
answers = sorted(here.glob("*.answer"))
code, _, text = answers[0].read_text().partition("\\n")
if len(answers) > 1:
    answers[0].unlink()
(sys.stdout if code == "0" else sys.stderr).write(text)
sys.exit(int(code))
"""


@dataclass
class Program:
    """A folder for PATH with that gh in it."""

    folder: Path
    count: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        file = self.folder / "gh"
        file.write_text(SCRIPT.format(python=sys.executable))
        file.chmod(0o755)

    @property
    def path(self) -> str:
        return f"{self.folder}{os.pathsep}{os.environ['PATH']}"

    def answers(self, *texts: str | tuple[int, str] | dict[str, Any] | list[Any]) -> Program:
        for text in texts:
            self.count += 1
            code, body = text if isinstance(text, tuple) else (0, text if isinstance(text, str) else json.dumps(text))
            (self.folder / f"{self.count:03}.answer").write_text(f"{code}\n{body}")
        return self

    @property
    def asked(self) -> list[str]:
        return (self.folder / "asked").read_text().splitlines()


def recorded(name: str) -> tuple[int, str]:
    """(exit code, output) of tests/cases/gh."""
    _, code, output = (Path(__file__).parents[1] / "cases" / "gh" / f"{name}.txt").read_text().split("\n", 2)
    return int(code.removeprefix("exit ")), output
