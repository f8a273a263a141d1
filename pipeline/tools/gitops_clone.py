"""The bare clone of a GitOps repository on this machine: made on first use, held by one process at a time, set aside where damaged."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.clock import Clock
from pipeline.errors import Locked, PipelineError
from pipeline.records import actor
from pipeline.source.repository import Repository, refusal
from pipeline.tools.gitops_call import run

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
KEPT = 24 * 3600.0  # seconds
LOOSE = 2000  # objects, each a file
PATIENCE = 120.0  # seconds another process on this machine is waited for


class Gate:
    """Lets one process, and of this one one thread, at the clone in `folder`. Entered again by the same thread it stays open."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._path = folder.with_suffix(".lock")
        self._clock = clock
        self._threads = threading.RLock()
        self._depth = 0
        self._file = -1

    @contextlib.contextmanager
    def held(self, waiting: Callable[[str], None]) -> Iterator[None]:
        """Raises Locked where another process does not let go; `waiting` is told once who it is."""
        with self._threads:
            if not self._depth:
                self._file = self._take(waiting)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if not self._depth:
                    os.close(self._file)

    def _take(self, waiting: Callable[[str], None]) -> int:
        with _told(self._path.parent):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        end = self._clock.monotonic() + PATIENCE
        told = False
        try:
            while not _locked(file):
                holder = os.pread(file, 200, 0).decode(errors="replace").strip()
                if self._clock.monotonic() >= end:
                    raise Locked(
                        f"another process is at work in {self._path.with_suffix('.git')}", cause=holder, mend="wait until it is done"
                    )
                if not told:
                    waiting(holder)
                    told = True
                self._clock.sleep(0.1)
            with _told(self._path.parent):
                os.ftruncate(file, 0)
                os.pwrite(file, f"process {os.getpid()} of {actor()}\n".encode(), 0)
        except BaseException:
            os.close(file)
            raise
        return file


@dataclass(frozen=True)
class Bare(Repository):
    """The clone itself. A user's git may refuse every repository without a work tree (safe.bareRepository); this one is our own. It is
    tidied by `tidy`, and not by a process that each fetch would start."""

    def argv(self, *words: str) -> list[str]:
        return super().argv("-c", "safe.bareRepository=all", "-c", "maintenance.auto=false", *words)


def ensure(folder: Path, program: str) -> Repository:
    """The clone in `folder`, made empty where there is none. Raises ConfigError without git, ResourceError for a full disk."""
    made = Bare(folder, program)
    if not (folder / "HEAD").is_file():
        with _told(folder.parent):
            folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = folder.with_suffix(".new")
        for old in (new, folder):
            shutil.rmtree(old, ignore_errors=True)
        # no template: a user's own could bring hooks
        Repository(folder.parent, program).run("init", "--quiet", "--bare", "--template=", "--initial-branch=main", "--", new.name)
        with _told(folder.parent):
            new.rename(folder)
    return made


def set_aside(folder: Path) -> Path:
    """Move a damaged clone away, in place of an older one. Where it lies now."""
    aside = folder.with_suffix(".damaged")
    shutil.rmtree(aside, ignore_errors=True)
    with _told(folder.parent), contextlib.suppress(FileNotFoundError):
        folder.rename(aside)
    return aside


def ref(clone: Repository, name: str) -> str:
    """The commit that a ref of the clone names, "" where it is not there."""
    said = run(clone, "for-each-ref", "--format=%(objectname) %(objecttype)", "--", name).decode().split()
    return said[0] if said else ""


def contains(clone: Repository, older: str, newer: str) -> bool | None:
    """Whether `older` is `newer` or in its history; None where one of them is not here, or is no commit's whole name."""
    if not (COMMIT.fullmatch(older) and COMMIT.fullmatch(newer)):
        return None
    process = clone.start("merge-base", "--is-ancestor", older, newer)
    process.communicate()
    return {0: True, 1: False}.get(process.returncode)


def tidy(clone: Repository) -> None:
    """Pack what years of releases have left as files of their own; nothing is thrown away but what killed runs left, after a day. A failure
    waits for the next time."""
    for left in clone.path.glob("index-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > KEPT:
                shutil.rmtree(left)
    words = ("-c", f"gc.auto={LOOSE}", "-c", "gc.autoDetach=false", "-c", "gc.pruneExpire=never", "gc", "--auto", "--quiet")
    with contextlib.suppress(PipelineError):
        run(clone, *words)


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """What the file system refuses, as an error of this project."""
    try:
        yield
    except OSError as error:
        raise refusal(str(error), folder) from error


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
