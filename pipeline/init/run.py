"""`inv init` from the look to the files: what is written, what stays as it is, and what to do next."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.init import decide, look, write
from pipeline.init.decide import Ask, Given
from pipeline.plan import NAME, blueprints, read_site
from pipeline.source.repository import Repository

SITE = "config/site.yml"
OURS = "from pipeline import"


@dataclass(frozen=True)
class Done:
    """What became of each file (name, `written` or why it stays), what is to be known, and what comes next. `texts` are shown if nothing
    was written."""

    files: tuple[tuple[str, str], ...]
    told: tuple[str, ...]
    next: tuple[str, ...]
    texts: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The same for a person."""
        width = max((len(name) for name, _ in self.files), default=0)
        shown = [line for name, text in self.texts.items() for line in (f"--- {name}", *text.rstrip("\n").split("\n"), "")]
        files = [f"{name:<{width}}  {state}" for name, state in self.files]
        notes = ["", *(f"note  {each}" for each in self.told)] if self.told else []
        return [*shown, *files, *notes, "", *(f"next  {each}" if n == 0 else f"      {each}" for n, each in enumerate(self.next))]

    def facts(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {"files": dict(self.files), "notes": list(self.told), "next": list(self.next), "texts": self.texts}


class Terminal:
    """Asks a person which of several it is."""

    def __call__(self, question: str, options: Sequence[str]) -> str:
        sys.stderr.write(f"{question}\n" + "".join(f"  {number}  {each}\n" for number, each in enumerate(options, 1)))
        while True:
            sys.stderr.write(f"1 to {len(options)} [1]: ")
            sys.stderr.flush()
            line = sys.stdin.readline()
            said = line.strip() or "1"
            if not line:
                raise ConfigError("nobody answered, and nothing was written", mend="say it on the command line: inv init --help")
            if said.isdigit() and 1 <= int(said) <= len(options):
                return options[int(said) - 1]


def first(home: Path, given: Given, ask: Ask | None, *, dry: bool) -> Done:
    """Write what is not there yet. Raises ConfigError, and then has written nothing."""
    root = top(home)
    seen = look.look(root)
    app = given.app or seen.name
    if not NAME.fullmatch(app):
        raise ConfigError(f"--app {app!r} is not a name", mend="write lower-case letters, digits and dashes, at most 53")
    there = blueprints(root / "config")
    if there and not (root / write.answers_name(app)).exists():
        named = ", ".join(f"config/{each}.yml" for each in there)
        raise ConfigError(
            f"there is a blueprint already, and none is overwritten: {named}",
            mend="inv plan shows what it does; another application of this repository gets one of its own: inv init --app NAME",
        )
    site_path = root / (given.site or SITE)
    if given.site and not site_path.exists():
        raise ConfigError(f"--site {given.site}: there is no such file", mend="leave it out, and config/site.yml is written")
    site = read_site(site_path, unfilled=True) if site_path.exists() else None
    decided = decide.decide(seen, given, site, ask)
    texts = write.render(decided.answers)
    states, new = [], {}
    for name, text in texts.items():
        if (root / name).exists():
            states.append((name, "is there, and stays"))
        else:
            states.append((name, "to be written" if dry else "written"))
            new[name] = text
    told = list(decided.told)
    if "tasks.py" not in new and OURS not in (root / "tasks.py").read_text(errors="replace"):
        told.append('tasks.py is yours and stays: add `from pipeline import collection` and `ns = collection("config")` to it')
    if not dry:
        write.put(root, new)
    fresh = SITE in new
    steps = [
        *([f"fill in what stands in <> in {SITE}"] if fresh else []),
        "git add the files above, and commit",
        "inv doctor    # asks every host, registry and cluster",
        "inv plan      # what a release would do",
        "inv release",
    ]
    return Done(tuple(states), tuple(told), tuple(steps), new if dry else {})


def top(home: Path) -> Path:
    """The folder of the working copy. Raises ConfigError if there is none."""
    if (home / "tasks.py").exists() or (home / "config").is_dir():
        return home
    return Path(Repository(home).run("rev-parse", "--show-toplevel").decode().rstrip("\n"))
