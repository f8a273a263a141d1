"""One local git process at a time, in an environment that nobody else can bend."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError, PipelineError, ResourceError

# GIT_* of a surrounding hook or shell would point at another index, object store or work tree
INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "XDG_CONFIG_HOME", "SYSTEMROOT")
FIXED = {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1"}
# a repository's own settings must not start programs: hooks and the file monitor are the ones that would here
QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.safecrlf=false", "-c", "gc.auto=0")
MISSING = "install it: apt install git, apk add git, or dnf install git"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The allowed part of this process's environment, with `extra` on top."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ} | FIXED | dict(extra or {})


@dataclass(frozen=True)
class Repository:
    """The git working copy that `path` lies in; `program` is the git to call."""

    path: Path
    program: str = "git"

    def argv(self, *words: str) -> list[str]:
        return [self.program, "-C", str(self.path), *QUIET, *words]

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

    def _read(self, code: int, output: bytes, errors: bytes) -> bytes:
        if code:
            raise refusal(errors.decode(errors="replace"), self.path)
        return output


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
