"""One local git process at a time, in an environment that nobody else can bend."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.environment import GIT, passed
from pipeline.errors import ConfigError, PipelineError, ResourceError

FIXED = {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1"}
# a repository's own settings must not start programs: hooks, the file monitor, filters and what names an alternate's refs would here
QUIET = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.alternateRefsCommand=:"),
    *("-c", "core.safecrlf=false", "-c", "gc.auto=0"),
)
NO_FILTER = "pipeline-runs-no-filter"  # a program that is not there
MISSING = "install it: apt install git, apk add git, or dnf install git"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What git gets of this process's environment, with `extra` on top."""
    return passed(GIT, os.environ) | FIXED | dict(extra or {})


@dataclass(frozen=True)
class Repository:
    """The git working copy that `path` lies in; `program` is the git to call."""

    path: Path
    program: str = "git"

    def argv(self, *words: str) -> list[str]:
        return [self.program, "-C", str(self.path), *QUIET, *self._unfiltered(), *words]

    def _unfiltered(self) -> list[str]:
        """Return the settings under which a filter of the repository's own fails in place of its program being run.

        Git then refuses the file that it is for: without the filter other bytes would travel, the secret ones of git-crypt for one. The
        filters of the user's own settings are the user's, and run.
        """
        if not any(word in text for text in _settings(self.path) for word in (b"[filter", b"[include")):
            return []
        command = (self.program, "-C", str(self.path), "config", "--local", "--includes", "-z", "--name-only", "--get-regexp", r"^filter\.")
        done = subprocess.run(command, capture_output=True, env=environment(), check=False)
        names = {name.rpartition(".")[0] for name in os.fsdecode(done.stdout).split("\0") if name}
        instead = ("process=", f"clean={NO_FILTER}", f"smudge={NO_FILTER}", "required=true")
        return [word for name in sorted(names) for setting in instead for word in ("-c", f"{name}.{setting}")]

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Begin `git words…`, to be read with `finish`. Raises ConfigError where git is not installed."""
        try:
            return subprocess.Popen(
                self.argv(*words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(),
            )
        except FileNotFoundError as error:
            raise _missing(self) from error

    def finish(self, process: subprocess.Popen[bytes]) -> bytes:
        """What a started process wrote. Raises as `run` does."""
        output, errors = process.communicate()
        return self._read(process.returncode, output, errors)

    def run(self, *words: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        """The output of `git words…`.

        Raises ConfigError where git or the repository is at fault, ResourceError where the disk is full.
        """
        try:
            done = subprocess.run(self.argv(*words), input=stdin, capture_output=True, env=environment(env), check=False)
        except FileNotFoundError as error:
            raise _missing(self) from error
        return self._read(done.returncode, done.stdout, done.stderr)

    def ask(self, *words: str, stdin: bytes = b"") -> bytes:
        """Return the output of `git words…`, for a question whose answer is no: 1. Raises as `run` does."""
        done = subprocess.run(self.argv(*words), input=stdin, capture_output=True, env=environment(), check=False)
        return self._read(0 if done.returncode == 1 else done.returncode, done.stdout, done.stderr)

    def _read(self, code: int, output: bytes, errors: bytes) -> bytes:
        if code:
            raise refusal(errors.decode(errors="replace"), self.path)
        return output


def _settings(path: Path) -> Iterator[bytes]:
    """Yield the text of the settings that lie in the repository around `path`, in small letters."""
    for folder in (path.absolute(), *path.absolute().parents):
        git = folder / ".git"
        try:
            if git.is_file():  # a further work tree: its folder names that of the repository
                git = folder / os.fsdecode(git.read_bytes().partition(b":")[2].strip())
            if not git.is_dir():
                continue
            common = git / "commondir"
            home = git / os.fsdecode(common.read_bytes().strip()) if common.exists() else git
            for file in (home / "config", git / "config.worktree"):
                if file.exists():
                    yield file.read_bytes().lower()
        except OSError:
            yield b"[include"  # let git say what it finds
        return


def refusal(text: str, path: Path) -> PipelineError:
    """git's complaint about a working copy, in this project's words. The texts are git 2.39's, in the C locale."""
    cause = "\n".join(text.strip().splitlines()[-5:])
    if "dubious ownership" in text:
        command = next((line.strip() for line in text.splitlines() if "safe.directory" in line), "")
        return ConfigError(
            f"{path} belongs to another user, and git does not trust it",
            cause=cause,
            mend=command or f"git config --global --add safe.directory {path}",
        )
    if "not a git repository" in text:
        return ConfigError(
            f"{path} is not in a git repository",
            cause=cause,
            mend="git init && git add --all && git commit -m 'First version', or run in a working copy",
        )
    if NO_FILTER in text or re.search(r"clean filter '.*' failed", text):
        return ConfigError(
            f"a file of {path} is for a filter that the repository's own settings name, and those start no programs here",
            cause=cause,
            mend="git commit the file, or git config --unset the filter: one that you trust is set --global",
        )
    if "must be run in a work tree" in text:
        return ConfigError(f"{path} is a bare repository: there is no working copy", cause=cause, mend="git clone it, and run there")
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return ResourceError(f"no space left for git in {path}", cause=cause, mend=f"free some space: df -h {path}")
    if "insufficient permission" in text or "Permission denied" in text:
        return ConfigError(
            f"git may not read or write something in {path}", cause=cause, mend=f"ls -l the file; chown it to {os.geteuid()}"
        )
    return ConfigError(f"git cannot use {path}", cause=cause, mend=f"git -C {path} status; git -C {path} fsck")


def _missing(repository: Repository) -> ConfigError:
    if repository.path.is_dir():
        return ConfigError(f"{repository.program} is not installed on this machine", mend=MISSING)
    return ConfigError(f"{repository.path} is not a folder", mend="run in a git working copy")
