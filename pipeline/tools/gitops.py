"""A GitOps repository as an object: looked at, read and committed to through a bare clone in the state folder, without a work tree."""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from pipeline.errors import ConfigError, Transient
from pipeline.events import What
from pipeline.source.repository import Repository as Clone
from pipeline.stage import Site
from pipeline.tools import git, gitops_clone, gitops_commit, gitops_history, gitops_message
from pipeline.tools.gitops_call import Damaged
from pipeline.tools.gitops_commit import Changes
from pipeline.tools.gitops_history import Entry, Past, taken_back
from pipeline.tools.gitops_message import Message, Trailers
from pipeline.tools.gitops_server import Raced, Server

__all__ = ["Changes", "Entry", "Head", "Message", "Published", "Raced", "Repository", "Trailers", "taken_back"]

T = TypeVar("T")
TRIES = 5  # pushes that meet somebody else's


@dataclass(frozen=True)
class Head:
    """The repository at one commit; `commit` is "" where the branch is not there yet. Nothing here asks the server."""

    repository: Repository
    commit: str

    def read(self, path: str) -> bytes | None:
        """The bytes of a file, None where there is none. Raises ConfigError where a folder or a link stands there."""
        files = self.repository._past.files
        if (self.commit, path) not in files:
            files[self.commit, path] = self.repository._healed(lambda clone: gitops_commit.content(clone, self.commit, path))
        return files[self.commit, path]

    def need(self, path: str) -> bytes:
        """As `read`. Raises ConfigError, with the commit and what to do, where there is no such file."""
        found = self.read(path)
        if found is None:
            raise ConfigError(
                f"there is no file {path} in {self.repository.where} at {self.commit[:12] or 'its beginning'}",
                mend="make it, as inv flux.init does, and push it; or name another path",
            )
        return found

    def names(self, folder: str = "") -> tuple[str, ...]:
        """The paths of all files below `folder` (below the root where it is ""), sorted; none where there is no such folder."""
        return self.repository._healed(lambda clone: gitops_commit.names(clone, self.commit, folder))


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
        return f"branch {self.branch} of {self.url}"

    @property
    def folder(self) -> Path:
        """The bare clone: below .pipeline/gitops of the working copy, made on first use."""
        name = re.sub(r"[^A-Za-z0-9_-]", "-", self.remote)
        return self.site.root / ".pipeline" / "gitops" / f"{name}-{hashlib.sha256(self.url.encode()).hexdigest()[:8]}.git"

    def check(self) -> None:
        """Whether the site knows the remote and branch and address can be used; contacts nobody. Raises ConfigError."""
        git.branch_name(self.branch)
        _ = self.url

    def look(self, *, first: bool = False) -> Head:
        """The branch as it is now: one connection, and only objects that are not here yet travel.

        Raises ConfigError where the branch is not there (`first`: gives a Head without a commit, for a repository that is empty). A history
        that was rewritten by force is told as a warning, and the head known before is kept as refs/pipeline/lost/<commit>.
        """
        with self._alone():
            return self._healed(lambda clone: self._look(clone, first))

    def seen(self) -> Head | None:
        """The head as of the last look or push, without asking the server; None before the first."""
        commit = self._healed(lambda clone: gitops_clone.ref(clone, f"refs/heads/{git.branch_name(self.branch)}"))
        return Head(self, commit) if commit else None

    def at(self, commit: str) -> Head:
        """The repository at a commit that is here. Raises ConfigError where it is not."""
        if commit not in self._past.commits and self.contains(commit, commit) is None:
            raise ConfigError(f"there is no commit {commit!r} in {self.where}", mend="git log there shows those there are")
        return Head(self, commit)

    def contains(self, older: str, newer: str) -> bool | None:
        """Whether `older` is `newer` or in its history; None where one of them is not here."""
        return gitops_clone.contains(gitops_clone.ensure(self.folder, self._program), older, newer)

    def commit(self, parent: str, changes: Changes, message: Message) -> str:
        """A commit on `parent` ("" for the first of all) with `changes` and nothing else, here; the server does not know of it yet.

        Author and committer are the user's own git identity, or pipeline <pipeline@HOST>. Raises ConfigError for a path that leads out of
        the repository, through a link or a submodule, and where signing is refused (with the reason).
        """
        who = gitops_commit.author(self.site.root, self._program)

        def made(clone: Clone) -> str:
            tree = gitops_commit.tree(clone, parent, changes)
            return gitops_commit.commit(clone, tree, parent, gitops_message.text(message), who, sign=self.sign)

        return self._healed(made)

    def push(self, commit: str, parent: str) -> None:
        """Move the branch from `parent` to `commit`, never by force.

        Raises Raced where the branch is not at `parent` any more. Where the answer was lost, the server is asked: nothing is raised where
        the branch holds the commit, Transient where it does not, Ambiguous where it cannot be asked. ConfigError: a hook or a protected
        branch refuses it.
        """
        with self._alone():
            try:
                made = self._server(gitops_clone.ensure(self.folder, self._program)).push(commit, parent)
            except Damaged as error:
                clone = self._renewed(error)
                if not gitops_clone.contains(clone, commit, self._start(clone, "")):
                    raise Raced(f"{self.where} did not get commit {commit[:12]}", cause=error.cause) from error
            else:
                if made and parent:
                    self._warn(f"{self.where} had been deleted meanwhile; it is there again, with all its commits")

    def publish(self, change: Callable[[Head], Changes], message: Message, *, first: bool = False) -> Published:
        """One commit with what `change` makes of the head, pushed; nothing where that leaves every file as it is.

        Where somebody else pushes meanwhile, `change` is asked again for the new head: up to 5 times, with jitter; what it raises goes
        through. Two connections, or one where nothing changes. Raises as `look`, `commit` and `push`, Transient where the race is not won.
        """
        with self._alone():
            for attempt in range(TRIES):
                head = self.look(first=first)
                wanted = change(head)
                changes = {path: content for path, content in wanted.items() if head.read(gitops_commit.checked(path)) != content}
                if not changes:
                    return Published(head.commit, False)
                made = self.commit(head.commit, changes, message)
                try:
                    self.push(made, head.commit)
                except Raced as error:
                    self.site.tell(What.WAIT, self.stage, f"{error}: the change is made again on what is there now")
                    self.site.clock.sleep(random.uniform(0.05, 0.2) * 2**attempt)  # noqa: S311 - two who met shall not meet again
                else:
                    gitops_clone.tidy(gitops_clone.ensure(self.folder, self._program))
                    return Published(made, True)
        raise Transient(f"somebody else pushed to {self.where} each of {TRIES} times", mend="run it again when they are done")

    def history(self, path: str, limit: int = 50, at: str = "") -> tuple[Entry, ...]:
        """Commits that touched a file or folder, newest first, from `at` (by default the head seen last). Asks nobody."""
        found = self._healed(lambda clone: gitops_history.log(clone, self._start(clone, at), path, limit))
        commits = [entry.commit for entry in found]
        files = self._healed(lambda clone: gitops_history.contents(clone, commits, path))
        self._past.commits.update(commits)
        self._past.files.update({(commit, path): content for commit, content in files.items()})
        return found

    def last(self, path: str, line: int, at: str = "") -> Entry:
        """The commit that a line (from 1) of a file stems from: who to name where it is not what was expected. Asks nobody."""
        commit = self._healed(lambda clone: gitops_history.blamed(clone, self._start(clone, at), path, line))
        return self.history("", 1, commit)[0]

    @property
    def url(self) -> str:
        return git.remote_url(self.site.remote(self.remote), self.site.app)

    @property
    def _program(self) -> str:
        return self.site.tool("git")

    def _server(self, clone: Clone) -> Server:
        return Server(clone, self.site.remote(self.remote), self.url, git.branch_name(self.branch), self.where)

    @property
    def _past(self) -> Past:
        return cast(Past, self.site.share(f"gitops/{self.folder}/past", Past))

    def _start(self, clone: Clone, at: str) -> str:
        commit = at or gitops_clone.ref(clone, f"refs/heads/{self.branch}")
        if not gitops_clone.COMMIT.fullmatch(commit):
            why = f"{at!r} is not a commit's whole name" if at else f"{self.where} was not looked at yet"
            raise ConfigError(why, mend="look at it first: inv status")
        return commit

    def _look(self, clone: Clone, first: bool) -> Head:
        server = self._server(clone)
        before = gitops_clone.ref(clone, server.ref)
        if not server.fetch():
            if first and not before:
                return Head(self, "")
            raise server.gone(before)
        now = gitops_clone.ref(clone, server.ref)
        if lost := server.lost(before, now):
            self._warn(lost)
        return Head(self, now)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        gate = self.site.share(f"gitops/{self.folder}", lambda: gitops_clone.Gate(self.folder, self.site.clock))
        with gate.held(lambda holder: self.site.tell(What.WAIT, self.stage, f"waits for {holder or 'another process'}")):
            yield

    def _healed(self, action: Callable[[Clone], T]) -> T:
        """What `action` does with the clone; with a new one where this one is damaged."""
        try:
            return action(gitops_clone.ensure(self.folder, self._program))
        except Damaged as error:
            return action(self._renewed(error))

    def _renewed(self, error: Damaged) -> Clone:
        with self._alone():
            aside = gitops_clone.set_aside(self.folder)
            self._warn(f"{error}, and is made anew; the damaged one lies in {aside}")
            clone = gitops_clone.ensure(self.folder, self._program)
            self._server(clone).fetch()
        return clone

    def _warn(self, text: str) -> None:
        self.site.tell(What.WARN, self.stage, text)
