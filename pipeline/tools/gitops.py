"""A GitOps repository as an object: looked at, read and committed to through a bare clone in the state folder, without a work tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.stage import Site
from pipeline.tools.gitops_history import Entry
from pipeline.tools.gitops_message import Message

Changes = Mapping[str, bytes | None]  # a path's new content; None takes the file away


@dataclass(frozen=True)
class Head:
    """The repository at one commit; `commit` is "" where the branch is not there yet. Nothing here asks the server."""

    repository: Repository
    commit: str

    def read(self, path: str) -> bytes | None:
        """The bytes of a file, None where there is none. Raises ConfigError where a folder or a link stands there."""
        raise NotImplementedError

    def need(self, path: str) -> bytes:
        """As `read`. Raises ConfigError, with the commit and what to do, where there is no such file."""
        raise NotImplementedError

    def names(self, folder: str = "") -> tuple[str, ...]:
        """The paths of all files below `folder` (below the root where it is ""), sorted; none where there is no such folder."""
        raise NotImplementedError


@dataclass(frozen=True)
class Published:
    """The head of the branch after `publish`; `made` says whether this call put a commit there. Where it did not, the lines were there."""

    commit: str
    made: bool


@dataclass(frozen=True)
class Repository:
    """The branch of the site's git remote `remote`. `sign` signs each commit with the key that the user's git is set up for; `stage` is
    whose events are told.

    All of it raises as git does: HostKeyError, AuthError, Transient where the server is down, ConfigError for the rest.
    """

    site: Site
    remote: str
    branch: str = "main"
    sign: bool = False
    stage: str = "deploy"

    @property
    def where(self) -> str:
        """How errors and events call it."""
        raise NotImplementedError

    @property
    def folder(self) -> Path:
        """The bare clone: below .pipeline/gitops of the working copy, made on first use."""
        raise NotImplementedError

    def check(self) -> None:
        """Whether the site knows the remote and branch and address can be used; contacts nobody. Raises ConfigError."""
        raise NotImplementedError

    def look(self, *, first: bool = False) -> Head:
        """The branch as it is now: one connection, and only objects that are not here yet travel.

        Raises ConfigError where the branch is not there (`first`: gives a Head without a commit, for a repository that is empty). A history
        that was rewritten by force is told as a warning, and the head known before is kept as refs/pipeline/lost/<commit>.
        """
        raise NotImplementedError

    def seen(self) -> Head | None:
        """The head as of the last look or push, without asking the server; None before the first."""
        raise NotImplementedError

    def at(self, commit: str) -> Head:
        """The repository at a commit that is here. Raises ConfigError where it is not."""
        raise NotImplementedError

    def contains(self, older: str, newer: str) -> bool | None:
        """Whether `older` is `newer` or in its history; None where one of them is not here."""
        raise NotImplementedError

    def commit(self, parent: str, changes: Changes, message: Message) -> str:
        """A commit on `parent` ("" for the first of all) with `changes` and nothing else, here; the server does not know of it yet.

        Author and committer are the user's own git identity, or pipeline <pipeline@HOST>. Raises ConfigError for a path that leads out of
        the repository, through a link or a submodule, and where signing is refused (with the reason).
        """
        raise NotImplementedError

    def push(self, commit: str, parent: str) -> None:
        """Move the branch from `parent` to `commit`, never by force.

        Raises Raced where the branch is not at `parent` any more. Where the answer was lost, the server is asked: nothing is raised where
        the branch holds the commit, Transient where it does not, Ambiguous where it cannot be asked. ConfigError: a hook or a protected
        branch refuses it.
        """
        raise NotImplementedError

    def publish(self, change: Callable[[Head], Changes], message: Message, *, first: bool = False) -> Published:
        """One commit with what `change` makes of the head, pushed; nothing where that leaves every file as it is.

        Where somebody else pushes meanwhile, `change` is asked again for the new head: up to 5 times, with jitter; what it raises goes
        through. Two connections, or one where nothing changes. Raises as `look`, `commit` and `push`, Transient where the race is not won.
        """
        raise NotImplementedError

    def history(self, path: str, limit: int = 50, at: str = "") -> tuple[Entry, ...]:
        """Commits that touched a file or folder, newest first, from `at` (by default the head seen last). Asks nobody."""
        raise NotImplementedError

    def last(self, path: str, line: int, at: str = "") -> Entry:
        """The commit that a line (from 1) of a file stems from: who to name where it is not what was expected. Asks nobody."""
        raise NotImplementedError
