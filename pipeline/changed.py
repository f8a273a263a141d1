"""Which unit tests a change concerns: changed ones, those named for a changed module, and those that import it."""

from __future__ import annotations

import ast
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MOST = 30  # files of tests: more are no quick answer
BASES = ("origin/main", "main")  # where the work of a branch began
GIT = shutil.which("git") or "git"
OWN, NAMED, IMPORTS, INDIRECT = range(4)  # how near a test is to a change


@dataclass(frozen=True)
class Choice:
    """The test files that a change concerns, nearest first, and how many more there are than `MOST`. Of those equally near, first come
    the ones that import the least beside it."""

    files: tuple[str, ...]
    left_out: int


def changed(home: Path) -> list[str]:
    """The files of the working copy that are not as they are on main, those among them that git does not know yet.

    Of a working copy of main itself, or without a main, those that are not as they were committed.
    """
    base = next((found for name in BASES if (found := _git(home, "merge-base", "HEAD", name))), ["HEAD"])[0]
    names = [*_git(home, "diff", "--name-only", "--no-renames", base), *_git(home, "ls-files", "--others", "--exclude-standard")]
    return sorted(set(names))


def _git(home: Path, *words: str) -> list[str]:
    argv = [GIT, "-C", str(home), "-c", "core.quotePath=false", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


def choose(home: Path, files: Iterable[str], but: tuple[str, ...]) -> Choice:
    """The tests in `home` that the changed `files` concern, less those whose path begins with one of `but`."""
    texts = {path.relative_to(home).as_posix(): path.read_text(errors="replace") for path in sorted((home / "tests").rglob("*.py"))}
    parts = {path.relative_to(home).as_posix(): path.read_text(errors="replace") for path in sorted((home / "pipeline").rglob("*.py"))}
    known = {module_of(name) for name in (*texts, *parts)}
    uses = {name: imported(name, text, known) for name, text in texts.items()}
    files = set(files)
    for file in [file for file in files if not file.endswith(".py")]:  # a script or data: the modules that name it
        files |= {name for name, text in parts.items() if Path(file).name in text}
    ranks: dict[str, int] = {}
    for file in files:
        for test, rank in _concerned(file, texts, uses):
            ranks[test] = min(rank, ranks.get(test, INDIRECT))
    # A test that imports little beside has more to do with the change, and costs less, than one of a whole deploy.
    found = sorted((test for test in ranks if not test.startswith(but)), key=lambda test: (ranks[test], len(uses[test]), test))
    return Choice(tuple(found[:MOST]), len(found[MOST:]))


def _concerned(file: str, texts: Mapping[str, str], uses: Mapping[str, set[str]]) -> Iterator[tuple[str, int]]:
    path, module = Path(file), module_of(file)
    stem = path.parent.name if path.stem == "__init__" else path.stem
    folder = "/".join(("tests", *path.parent.parts[1:]))
    for test in texts:
        if not Path(test).name.startswith("test_"):
            continue
        if test == file:
            yield test, OWN
        elif not file.endswith(".py"):
            if path.name in texts[test] or (path.parts[0] == "tests" and f'"{path.parent.name}"' in texts[test]):
                yield test, IMPORTS
        elif test.startswith((f"{folder}/test_{stem}.", f"{folder}/test_{stem}_")):
            yield test, NAMED
        elif module in uses[test]:
            yield test, IMPORTS
        elif any(module in uses.get(_file(helper), ()) for helper in uses[test]):
            yield test, INDIRECT


def module_of(file: str) -> str:
    """The dotted name of a module by its path."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _file(module: str) -> str:
    return module.replace(".", "/") + ".py"


def imported(file: str, text: str, known: set[str]) -> set[str]:
    """Those of the `known` modules that this one imports, wherever it does."""
    try:
        nodes = list(_statements(ast.parse(text, file).body))
    except SyntaxError:
        return set()  # the style check tells it
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & known


def _statements(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The statements of `nodes` and all below them. No expression holds an import, and most of a file is expressions."""
    for node in nodes:
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from _statements(getattr(node, part, ()))
