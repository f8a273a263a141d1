"""The record of a clean commit in the site's git remote: pushed to a ref of its own, and looked at again if the push ended in doubt."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

from pipeline.artifacts import Source
from pipeline.errors import Ambiguous, ConfigError
from pipeline.host.child import Child
from pipeline.source.repository import Repository, environment
from pipeline.stage import Site
from pipeline.tools import git

SHALLOW = "shallow update not allowed"  # builtin/receive-pack.c


class Line:
    """git's way to the remote `via`, for one commit."""

    def __init__(self, site: Site, via: str, source: Source) -> None:
        self.commit, self.ref = source.commit, git.kept_ref(source.commit)
        self._remote = site.remote(via)
        self._url = git.remote_url(self._remote, site.app)
        self.where = f"git remote {via} ({self._url})"
        self._repository = Repository(site.root, site.tool("git"))

    def ask(self) -> Child[bytes]:
        return self._start(git.list_ref(self._url, self.ref))

    def holds(self, question: Child[bytes]) -> bool:
        """Whether the answer to `ask` is that the remote has the commit; it has not if the repository is not there.

        Raises what `pipeline.tools.git.remote_error` says.
        """
        output, errors = question.communicate()
        if question.returncode and not git.is_missing(_text(errors)):
            raise git.remote_error(_text(errors), self.where)
        return not question.returncode and git.read_listed(output) == self.commit

    def push(self) -> Child[bytes]:
        return self._start(git.push(self._url, self.commit, self.ref))

    def _start(self, words: tuple[str, ...]) -> Child[bytes]:
        return Child(
            self._repository.argv(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(git.environment(self._remote)),
        )


class Known:
    """Whether the remote holds the commit: asked beside other work, `answer` waits for it."""

    def __init__(self, site: Site, via: str, source: Source) -> None:
        self._line = None if source.dirty or not via else Line(site, via, source)
        self._process = self._line.ask() if self._line else None

    def answer(self) -> bool:
        """Raise what `pipeline.tools.git.remote_error` says if the remote cannot be asked."""
        return self._line is None or self._process is None or self._line.holds(self._process)

    def stop(self) -> None:
        _end(self._process)


class Push:
    """A push that runs beside the sending. `finish` waits for it; `stop` ends it."""

    def __init__(self, site: Site, via: str, source: Source) -> None:
        self._line = Line(site, via, source)
        self._process = self._line.push()

    def finish(self) -> None:
        """Raise what `pipeline.tools.git.remote_error` says."""
        output, errors = self._process.communicate()
        pushed = git.read_push(output)
        if pushed is None or not pushed.done:
            reason = pushed.summary if pushed else ""
            error = git.remote_error(_text(errors) or reason, self._line.where, writing=True)
            if SHALLOW in reason:  # git's own word for it
                mend = "git fetch --unshallow (in a workflow: fetch-depth: 0 at actions/checkout), then run again"
                raise ConfigError(f"{self._line.where} takes no commit of a clone whose history is cut off", cause=reason, mend=mend)
            if reason and reason not in error.cause:
                error.cause = f"{reason}\n{error.cause}".strip()
            in_doubt = pushed is not None or isinstance(error, Ambiguous)  # a ref is refused too if another run made it first
            if not in_doubt or not self._line.holds(self._line.ask()):
                raise error

    def stop(self) -> None:
        _end(self._process)


def _end(process: Child[bytes] | None) -> None:
    if process is not None and process.returncode is None:
        # its ssh as well, which holds the pipes that are read here
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
