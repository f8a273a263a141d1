"""The files of `inv init`, by copier: rendered and merged aside, and only then put where they belong.

copier wants its template as a git repository whose tags are the versions, and merges by what the version that wrote the files would have
written of the same answers. So each version of the template stays as a folder of its own here.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.source.repository import Repository
from pipeline.tools import goyaml

TEMPLATES = Path(__file__).parent / "templates"
HOME = "pipeline"  # what an answers file calls the template
BY = ("-c", "user.name=pipeline", "-c", "user.email=pipeline@localhost", "-c", "commit.gpgsign=false")
CONFLICT = re.compile(r"^<<<<<<< .*?^>>>>>>> [^\n]*", re.MULTILINE | re.DOTALL)


def answers_name(app: str) -> str:
    """The file that says what the others were made from."""
    return f"config/.copier-answers.{app}.yml"


def versions() -> list[str]:
    """The versions of the template, the newest last."""
    return sorted((each.name for each in TEMPLATES.iterdir() if each.is_dir()), key=lambda name: [int(part) for part in name.split(".")])


def answers_of(path: Path) -> dict[str, Any]:
    """What an answers file says, with `_commit`, the version of the template. Raises ConfigError if it is none of ours."""
    found = goyaml.values(path.read_text(errors="replace"), str(path))
    if len(found) != 1 or not isinstance(found[0], dict) or found[0].get("_src_path") != HOME:
        raise ConfigError(f"{path} was not written by inv init", mend="move it away, and run inv init again")
    if found[0].get("_commit") not in versions():
        what = f"{path} was written by another version ({found[0].get('_commit')}), whose template is not here"
        raise ConfigError(what, mend="update by that version of pipeline, or a newer one")
    return found[0]


def render(answers: Mapping[str, Any]) -> dict[str, str]:
    """What copier makes of the newest template: the text of each file, by its name. Nothing is written to the working copy."""
    with _aside() as (home, there):
        from copier import run_copy

        with _quiet():
            run_copy(str(home), there, data=dict(answers), defaults=True, quiet=True, vcs_ref=versions()[-1])
        return _texts(there, home)


def merge(root: Path, names: list[str], answers: Mapping[str, Any], app: str) -> dict[str, str]:
    """The files as they are in `root`, with what changed between the answers of then and these laid over them. A conflict stands in
    the text between the marks of git. Nothing is written to the working copy."""
    with _aside() as (home, there):
        for name in names:
            if (root / name).is_file():
                (there / name).parent.mkdir(parents=True, exist_ok=True)
                text = (root / name).read_text()
                (there / name).write_text(
                    text.replace(f"_src_path: {HOME}\n", f"_src_path: {home}\n") if name == answers_name(app) else text
                )
        _commit(Repository(there), "as it is")
        from copier import run_update

        with _quiet():
            run_update(
                there, data=dict(answers), answers_file=answers_name(app), defaults=True, overwrite=True, quiet=True,
                vcs_ref=versions()[-1], conflict="inline",
            )  # fmt: skip
        return _texts(there, home)


def conflicts(text: str) -> list[str]:
    """The parts of a merged text on which both sides insist."""
    return CONFLICT.findall(text)


@contextlib.contextmanager
def _aside() -> Iterator[tuple[Path, Path]]:
    """(the template as a git repository, an empty folder), both gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="init-") as folder:
        home, there = Path(folder) / "template", Path(folder) / "there"
        for version in versions():
            shutil.rmtree(home / "files", ignore_errors=True)
            shutil.copytree(TEMPLATES / version, home, dirs_exist_ok=True)
            _commit(Repository(home), version)
            Repository(home).run("tag", version)
        there.mkdir()
        yield home, there


def _commit(repository: Repository, message: str) -> None:
    repository.run("init", "--quiet")
    repository.run("add", "--all", "--force")
    repository.run(*BY, "commit", "--quiet", "--no-verify", "--allow-empty", "--message", message)


def _texts(folder: Path, home: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(".git/"):
            found[name] = path.read_text().replace(str(home), HOME)
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """copier tells what it does on both streams: nobody asked."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def put(root: Path, texts: Mapping[str, str], before: Mapping[str, str]) -> None:
    """Write each file whole. Raises ConfigError, and has left that file alone, if it is not any more as it was read (`before`)."""
    for name, text in texts.items():
        path = root / name
        now = path.read_text() if path.exists() else None
        if now != before.get(name):
            raise ConfigError(f"{name} was changed meanwhile", mend="run it again: what stands there stays")
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.write_text(text, encoding="utf-8")
        if now is not None:
            shutil.copymode(path, new)
        os.replace(new, path)  # noqa: PTH105  # atomic, and says so
