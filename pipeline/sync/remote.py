"""The record of a clean commit in the site's git remote: pushed, never forced, and looked at again where the push ended in doubt."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

from pipeline.artifacts import Source
from pipeline.errors import Ambiguous, ConfigError
from pipeline.events import What
from pipeline.host.child import Child
from pipeline.source.repository import Repository, environment
from pipeline.stage import Site
from pipeline.tools import git


class Line:
    """git's way to the remote `via`, for one commit."""

    def __init__(self, site: Site, via: str, source: Source) -> None:
        self.site, self.source = site, source
        self.remote = site.remote(via)
        self.url = git.remote_url(self.remote, site.app)
        self.where = f"git remote {via} ({self.url})"
        self.repository = Repository(site.root, site.tool("git"))
        self._name = f"git/{via}/{source.commit}"

    def holder(self) -> tuple[str, str]:
        """Return the ref that was seen to hold the commit, and where it stood then; twice "" if none was seen."""
        ref, _, tip = (self.site.records.hint(self._name) or "").partition(" ")
        return (ref, tip) if tip else ("", "")

    def remember(self, ref: str, tip: str) -> None:
        """Keep that `tip` of `ref` holds the commit, which stays so: what the remote has now is asked each time."""
        self.site.records.remember(self._name, f"{ref} {tip}")

    def start(self, words: tuple[str, ...]) -> Child[bytes]:
        return Child(
            self.repository.argv(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(git.environment(self.remote)),
        )

    def ask(self, ref: str) -> Child[bytes]:
        return self.start(git.list_ref(self.url, ref))

    def tip(self, question: Child[bytes]) -> str:
        """Return where the ref that was asked for is, "" if it is not there, or the repository is not.

        Raises what `pipeline.tools.git.remote_error` says.
        """
        output, errors = question.communicate()
        if question.returncode and not git.is_missing(_text(errors)):
            raise git.remote_error(_text(errors), self.where)
        return "" if question.returncode else git.read_listed(output)

    def is_in(self, tip: str) -> bool:
        """Whether the commit is `tip` or one of its ancestors, if the objects of `tip` are here."""
        inside = self.start(("merge-base", "--is-ancestor", self.source.commit, tip))
        inside.communicate()
        return not inside.returncode

    def fetch(self, ref: str) -> None:
        """Bring the objects of `ref` here. Raises as `tip` does."""
        fetching = self.start(git.fetch(self.url, ref))
        _, errors = fetching.communicate()
        if fetching.returncode:
            raise git.remote_error(_text(errors), self.where)


class Known:
    """Whether the remote holds the commit: asked beside other work, `answer` waits for it.

    What was seen before only says which ref to ask about; without that nothing is asked, and a push finds out.
    """

    def __init__(self, site: Site, via: str, source: Source) -> None:
        self._none_needed = source.dirty or not via
        self._process: Child[bytes] | None = None
        if self._none_needed:
            return
        self._line = Line(site, via, source)
        self._ref, self._seen = self._line.holder()
        if self._ref:
            self._process = self._line.ask(self._ref)

    def answer(self) -> bool:
        """Raise what `pipeline.tools.git.remote_error` says if the remote cannot be asked."""
        if self._process is None:
            return self._none_needed
        tip = self._line.tip(self._process)
        if not tip:
            return False
        if tip not in (self._seen, self._line.source.commit) and not self._line.is_in(tip):
            self._line.fetch(self._ref)
            if not self._line.is_in(tip):
                return False
        self._line.remember(self._ref, tip)
        return True

    def stop(self) -> None:
        _end(self._process)


class Push:
    """A push that runs beside the sending. `finish` waits for it; `stop` ends it."""

    def __init__(self, site: Site, via: str, source: Source, branch: str) -> None:
        self._line = Line(site, via, source)
        self._ref = f"refs/heads/{git.branch_name(branch)}" if branch else f"refs/pipeline/{source.commit}"
        self._process = self._line.start(git.push(self._line.url, source.commit, self._ref))

    def finish(self) -> None:
        """Raise ConfigError if the branch went another way, and what `pipeline.tools.git.remote_error` says otherwise."""
        line, tip = self._line, self._line.source.commit
        output, errors = self._process.communicate()
        pushed = git.read_push(output)
        if pushed is None or not pushed.done:
            if pushed is not None and pushed.behind:
                tip = self._behind()
            else:
                error = git.remote_error(_text(errors) or (pushed.summary if pushed else ""), line.where, writing=True)
                if not isinstance(error, Ambiguous) or line.tip(line.ask(self._ref)) != tip:
                    raise error
        line.remember(self._ref, tip)

    def stop(self) -> None:
        _end(self._process)

    def _behind(self) -> str:
        """Return where the remote's branch is. It has commits that are not here: fine if ours is among their ancestors."""
        line = self._line
        tip = line.tip(line.ask(self._ref))
        line.fetch(self._ref)
        branch = self._ref.removeprefix("refs/heads/")
        if not line.is_in(tip):
            raise ConfigError(
                f"branch {branch} of {line.where} has another history",
                cause=f"here {line.source.commit[:12]}, there {tip[:12]}",
                mend=f"nothing is ever forced; take in what is there: {git.by_hand(line.remote)}git pull --rebase {line.url} {branch}\n"
                "or, where you rewrote it on purpose (amend, rebase), give it another name: git switch --create NAME; then run again",
            )
        line.site.tell(What.WARN, "sync", f"branch {branch} of {line.where} is ahead: this releases an older commit")
        return tip


def _end(process: Child[bytes] | None) -> None:
    if process is not None and process.returncode is None:
        # its ssh as well, which holds the pipes that are read here
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
