"""The files of `inv init`, by copier: rendered aside first, and only then put where nothing stands yet."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.source.repository import Repository

TEMPLATE = Path(__file__).parent / "template"
VERSION = "1.0.0"  # of the template
HOME = "pipeline"  # what an answers file calls it
BY = ("-c", "user.name=pipeline", "-c", "user.email=pipeline@localhost", "-c", "commit.gpgsign=false")


@dataclass(frozen=True)
class Made:
    """The text of each file, by its name in the working copy."""

    texts: Mapping[str, str]


def answers_name(app: str) -> str:
    """The file that says what the others were made from."""
    return f"config/.copier-answers.{app}.yml"


def render(answers: Mapping[str, Any]) -> dict[str, str]:
    """What copier makes of the template: the text of each file, by its name. Nothing is written to the working copy."""
    with tempfile.TemporaryDirectory(prefix="init-") as folder:
        home = _template(Path(folder) / "template")
        there = Path(folder) / "there"
        with _quiet():
            from copier import run_copy

            run_copy(str(home), there, data=dict(answers), defaults=True, quiet=True, vcs_ref=VERSION)
        return _texts(there, home)


def _template(folder: Path) -> Path:
    """The template as the git repository that copier wants, with its version as a tag."""
    shutil.copytree(TEMPLATE, folder)
    repository = Repository(folder)
    repository.run("init", "--quiet")
    repository.run("add", "--all")
    repository.run(*BY, "commit", "--quiet", "--no-verify", "--message", VERSION)
    repository.run("tag", VERSION)
    return folder


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


def put(root: Path, texts: Mapping[str, str]) -> list[str]:
    """Write each file that is not there yet, and return their names. Raises ConfigError if one appeared meanwhile."""
    written = []
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError as error:
            raise ConfigError(f"{name} is there by now", mend="run it again: what stands there stays") from error
        written.append(name)
    return written
