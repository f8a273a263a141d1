"""`inv init` from the look to the files: what is written, what stays as it is, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline import say
from pipeline.errors import ConfigError
from pipeline.init import decide, look, write
from pipeline.init.decide import Ask, Decided, Given
from pipeline.plan import NAME, blueprints, read_site
from pipeline.source.repository import Repository
from pipeline.yamlfile import keys_like

SITE = "config/site.yml"
OURS = "from pipeline import"
TASKS = 'tasks.py is yours and stays: add `from pipeline import collection` and `ns = collection("config")` to it'
ANSWERS = ".copier-answers."


@dataclass(frozen=True)
class Done:
    """What became of each file (name, `written` or why it stays), what is to be known, and what comes next. `texts` are shown if nothing
    was written."""

    files: tuple[tuple[str, str], ...]
    told: tuple[str, ...] = ()
    next: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The same for a person."""
        width = max((len(name) for name, _ in self.files), default=0)
        lines = [line for name, text in self.texts.items() for line in (f"--- {name}", *text.rstrip("\n").split("\n"), "")]
        lines += [f"{name:<{width}}  {state}" for name, state in self.files]
        for word, those in (("note", self.told), ("next", self.next)):
            lines += (
                ["", *(f"{word if word == 'note' or not number else '':<4}  {each}" for number, each in enumerate(those))] if those else []
            )
        return lines

    def facts(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {"files": dict(self.files), "notes": list(self.told), "next": list(self.next), "texts": dict(self.texts)}


class Terminal:
    """Asks a person which of several it is."""

    def __call__(self, question: str, options: Sequence[str]) -> str:
        listed = "\n".join((question, *(f"  {number}  {each}" for number, each in enumerate(options, 1)), ""))
        while True:
            line, listed = say.ask(f"{listed}1 to {len(options)} [1]: "), ""
            said = line.strip() or "1"
            if not line:
                raise ConfigError("nobody answered, and nothing was written", mend="say it on the command line: inv init --help")
            if said.isdigit() and 1 <= int(said) <= len(options):
                return options[int(said) - 1]


def first(home: Path, given: Given, ask: Ask | None, *, dry: bool) -> Done:
    """Write what is not there yet. Where it was all written before, only look. Raises ConfigError, and then has written nothing."""
    root = top(home)
    seen = look.look(root)
    app = _app(root, given, seen.name)
    if (root / write.answers_name(app)).exists():
        return _again(root, seen, given, app)
    if there := blueprints(root / "config"):
        named = ", ".join(f"config/{each}.yml" for each in there)
        if app in there or not given.app:
            raise ConfigError(
                f"there is a blueprint already, and none is overwritten: {named}",
                mend="inv plan shows what it does; another application of this repository gets one of its own: inv init --app NAME",
            )
    decided = decide.decide(seen, given, _site(root, given), ask)
    texts = write.render(decided.answers)
    new = {name: text for name, text in texts.items() if not (root / name).exists()}
    state = "to be written" if dry else "written"
    told = [*decided.told, *([TASKS] if "tasks.py" not in new and not _is_ours(root) else [])]
    if not dry:
        write.put(root, new, {})
    fill = [f"fill in what stands in <> in {SITE}"] if SITE in new else []
    steps = (*fill, "git add the files above, and commit", "inv doctor    # asks every host, registry and cluster",
             "inv plan      # what a release would do", "inv release")  # fmt: skip
    shown = {name: text for name, text in new.items() if name != write.answers_name(app)}
    return Done(tuple((name, state if name in new else "is there, and stays") for name in texts), tuple(told), steps, shown if dry else {})


def update(home: Path, given: Given, *, dry: bool, marks: bool) -> Done:
    """Lay over the files what changed in the repository and in the template since they were written; what was edited in them stays.

    Raises ConfigError, and then has written nothing: where an edit and a change meet in the same lines, for one, unless `marks` has them
    written into the file between git's marks.
    """
    root = top(home)
    seen = look.look(root)
    app = _app(root, given, seen.name)
    if not (root / write.answers_name(app)).exists():
        raise ConfigError(f"{write.answers_name(app)} is not there: inv init has written nothing for {app}", mend="inv init")
    _, decided = _both(root, seen, given, app)
    names = _names(root, app)
    before = {name: (root / name).read_text() for name in names if (root / name).is_file()}
    after = write.merge(root, names, decided.answers, app)
    changed = {name: text for name, text in after.items() if before.get(name) != text}
    met = {name: found for name, text in changed.items() if (found := write.conflicts(text))}
    if met and not marks and not dry:
        raise ConfigError(
            f"your edit and what is new meet in the same lines of {', '.join(met)}, and nothing was written",
            cause="\n".join(line for found in met.values() for each in found for line in each.splitlines()),
            mend="make the lines in your file as they shall be, either of the two, and run it again;\n"
            "or inv init --update --marks writes both into the file, for you to choose there",
        )
    if not dry:
        write.put(root, changed, before)
    files = tuple((name, _state(name, changed, before, met, dry=dry)) for name in after)
    return Done(
        files,
        tuple(decided.told),
        ("git diff, inv plan, and commit",) if changed and not dry else (),
        _diffs(changed, before) if dry else {},
    )


def _names(root: Path, app: str) -> list[str]:
    return [name for name in (write.answers_name(app), f"config/{app}.yml", SITE, "tasks.py") if (root / name).is_file()]


def _state(name: str, changed: Mapping[str, str], before: Mapping[str, str], met: Mapping[str, Any], *, dry: bool) -> str:
    if name not in changed:
        return "is as it would be written" if name in before else "is gone, and stays so"
    if name in met:
        return f"{len(met[name])} conflicts, between <<<<<<< and >>>>>>>"
    return ("to be " if dry else "") + ("updated" if name in before else "written")


def _diffs(changed: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    return {
        name: "\n".join(list(difflib.unified_diff(before.get(name, "").splitlines(), text.splitlines(), lineterm="", n=1))[2:])
        for name, text in changed.items()
        if ANSWERS not in name
    }


def _again(root: Path, seen: look.Seen, given: Given, app: str) -> Done:
    """What a second run has to say: nothing is written by it."""
    old, decided = _both(root, seen, given, app)
    differs = sorted(key for key, value in decided.answers.items() if old.get(key) != value)
    files = _names(root, app)
    if not differs and old["_commit"] == write.versions()[-1]:
        return Done(tuple((name, "is there, and stays") for name in files), ("nothing to do: the repository is as it was looked at",))
    why = f"what is seen now differs in {', '.join(differs)}" if differs else "the template is newer"
    steps = ("inv init --update --dry-run    # what would change", "inv init --update              # your edits stay")
    return Done(tuple((name, "is there, and stays") for name in files), (why,), steps)


def _both(root: Path, seen: look.Seen, given: Given, app: str) -> tuple[dict[str, Any], Decided]:
    """(the answers of then, what is decided now). What was said then and is not said now still counts."""
    old = write.answers_of(root / write.answers_name(app))
    said = old.get("said") or {}
    kept: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in said.items() if key in Given.__dataclass_fields__
    }
    now = replace(given, **{key: value for key, value in kept.items() if not getattr(given, key)})
    decided = decide.decide(seen, now, _site(root, now), None)
    decided.answers["site_file"] = old.get("site_file") or {}
    return old, decided


def _app(root: Path, given: Given, name: str) -> str:
    """The application: as it is said, else the only one that was written here before, else by the repository's name."""
    known = sorted(each.name[len(ANSWERS) : -len(".yml")] for each in (root / "config").glob(f"{ANSWERS}*.yml"))
    app = given.app or (known[0] if len(known) == 1 else name)
    if len(known) > 1 and app not in known and not given.app:
        raise ConfigError("which application?", mend=f"inv init --app with one of: {', '.join(known)}")
    if not NAME.fullmatch(app):
        raise ConfigError(f"--app {app!r} is not a name", mend="write lower-case letters, digits and dashes, at most 53")
    return app


def _site(root: Path, given: Given) -> Any:
    """The site file as far as it is filled in, None if there is none. Raises ConfigError for one that is named and not there."""
    path = root / (given.site or SITE)
    if given.site and not path.exists():
        near = keys_like(given.site, [SITE])
        raise ConfigError(f"--site {given.site}: there is no such file{near}", mend="leave it out, and config/site.yml is written")
    return read_site(path, unfilled=True) if path.exists() else None


def _is_ours(root: Path) -> bool:
    return OURS in (root / "tasks.py").read_text(errors="replace")


def top(home: Path) -> Path:
    """The folder of the working copy. Raises ConfigError if there is none."""
    if (home / "tasks.py").exists() or (home / "config").is_dir():
        return home
    return Path(Repository(home).run("rev-parse", "--show-toplevel").decode().rstrip("\n"))
