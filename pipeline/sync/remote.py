"""The record of a clean commit in the site's git remote: pushed, never forced, and looked at again where the push ended in doubt."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

from pipeline.artifacts import Source
from pipeline.errors import Ambiguous, ConfigError
from pipeline.events import What
from pipeline.source.repository import Repository, environment
from pipeline.stage import Site
from pipeline.tools import git


def known(site: Site, via: str, source: Source) -> bool:
    """Whether this machine remembers that the remote has the commit: a branch that took it does not lose it without force."""
    return source.dirty or not via or site.records.hint(_name(via, source)) == "yes"


class Push:
    """A push that runs beside the sending. `finish` waits for it; `stop` ends it."""

    def __init__(self, site: Site, via: str, source: Source, branch: str) -> None:
        self._site, self._via, self._source = site, via, source
        self._remote = site.remote(via)
        self._url = git.remote_url(self._remote, site.app)
        self._ref = f"refs/heads/{git.branch_name(branch)}" if branch else f"refs/pipeline/{source.commit}"
        self._where = f"git remote {via} ({self._url})"
        self._repository = Repository(site.root, site.tool("git"))
        self._process = self._start(git.push(self._url, source.commit, self._ref))

    def finish(self) -> None:
        """Raises ConfigError where the branch went another way, and what `pipeline.tools.git.remote_error` says otherwise."""
        output, errors = self._process.communicate()
        pushed = git.read_push(output)
        if pushed is None or not pushed.done:
            if pushed is not None and pushed.behind:
                self._behind()
            else:
                error = git.remote_error(_text(errors) or (pushed.summary if pushed else ""), self._where, writing=True)
                if not isinstance(error, Ambiguous) or self._listed() != self._source.commit:
                    raise error
        self._site.records.remember(_name(self._via, self._source), "yes")

    def stop(self) -> None:
        if self._process.returncode is None:
            # its ssh as well, which holds the pipes that are read here
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()

    def _behind(self) -> None:
        """The remote's branch has commits that are not here: fine where ours is among their ancestors, else the histories went apart."""
        tip = self._listed()
        self._ask(git.fetch(self._url, self._ref))
        inside = self._start(("merge-base", "--is-ancestor", self._source.commit, tip))
        inside.communicate()
        branch = self._ref.removeprefix("refs/heads/")
        if inside.returncode:
            raise ConfigError(
                f"branch {branch} of {self._where} has another history",
                cause=f"here {self._source.commit[:12]}, there {tip[:12]}",
                mend=f"nothing is ever forced; take in what is there: {git.by_hand(self._remote)}git pull --rebase {self._url} {branch}\n"
                "or, where you rewrote it on purpose (amend, rebase), give it another name: git switch --create NAME; then run again",
            )
        self._site.tell(What.WARN, "sync", f"branch {branch} of {self._where} is ahead: this releases an older commit")

    def _listed(self) -> str:
        return git.read_listed(self._ask(git.list_ref(self._url, self._ref)))

    def _ask(self, words: tuple[str, ...]) -> bytes:
        process = self._start(words)
        output, errors = process.communicate()
        if process.returncode:
            raise git.remote_error(_text(errors), self._where)
        return output

    def _start(self, words: tuple[str, ...]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._repository.argv(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(git.environment(self._remote)),
            start_new_session=True,
        )


def _name(via: str, source: Source) -> str:
    return f"git/{via}/{source.commit}"


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
