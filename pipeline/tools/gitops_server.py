"""The server side of a GitOps repository: one connection to look, one to push, and a third only where a push ended in doubt."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import Ambiguous, AuthError, ConfigError, HostKeyError, PipelineError, Transient
from pipeline.source.repository import Repository
from pipeline.stage import Remote
from pipeline.tools import git
from pipeline.tools import gitops_call as call
from pipeline.tools.gitops_clone import contains, ref

TIMEOUT = 300.0  # seconds; a dead line is noticed by ssh in 45


class Raced(Transient):
    """The branch had moved when the push arrived: what was made goes on top of what is there now."""


@dataclass(frozen=True)
class Server:
    """`branch` of the repository at `url`, as the bare `clone` here speaks to it; `where` is how errors call it."""

    clone: Repository
    remote: Remote
    url: str
    branch: str
    where: str

    @property
    def ref(self) -> str:
        return f"refs/heads/{self.branch}"

    def fetch(self) -> bool:
        """Bring the branch's commits here and move its ref in the clone; False where the server has no such branch. One connection."""
        done = self._ask(*git.fetch(self.url, f"+{self.ref}:{self.ref}"))
        if not done.code:
            return True
        if "couldn't find remote ref" in done.errors:
            return False
        if call.is_broken(done.errors):
            raise call.damaged(self.clone, done.errors)
        raise call.machine_error(done.errors, self.clone.path) or call.server_error(done.errors, self.where)

    def lost(self, before: str, now: str) -> str:
        """What to tell where the branch went from `before` to `now` and left commits behind, which the clone keeps; "" where it did not."""
        if not before or before == now or contains(self.clone, before, now):
            return ""
        kept = f"refs/pipeline/lost/{before}"
        call.run(self.clone, "update-ref", "--", kept, before)
        said = f"{self.where} was rewritten by force: {before[:12]}, its head before, is not in it any more"
        return f"{said}; git -C {self.clone.path} log {now[:12]}..{kept} shows what was lost"

    def gone(self, before: str) -> ConfigError:
        """Why the branch is not there; `before` is where it was when it was seen last ("" never). One connection."""
        if before:
            back = f"{git.by_hand(self.remote)}git -C {self.clone.path} push {self.url} {before}:{self.ref}"
            return ConfigError(
                f"{self.where} is gone; its head was {before[:12]}",
                mend=f"put it back: {back}\nor, where the repository was made anew: rm -r {self.clone.path}",
            )
        there = self._branches()
        return ConfigError(
            f"there is no {self.where}",
            cause=f"it has {', '.join(there[:10])}" if there else "the repository is empty",
            mend="name one of its branches in the deploy stage" if there else "inv flux.bootstrap makes the first commit",
        )

    def push(self, commit: str, parent: str) -> bool:
        """Move the branch from `parent` to `commit`; whether the branch had to be made. Raises as `gitops.Repository.push`."""
        done = self._ask(*git.push(self.url, commit, self.ref))
        pushed = git.read_push(done.output)
        if pushed is not None and pushed.done:
            self._move(commit)
            return pushed.flag == "*"
        if call.raced(pushed):
            raise Raced(f"{self.where} has moved on from {parent[:12]}", cause=pushed.summary if pushed else "")
        if pushed is None and call.is_broken(done.errors):
            raise call.damaged(self.clone, done.errors)
        told = "\n".join(filter(None, (done.errors, pushed.summary if pushed else "")))
        self._decide(commit, parent, call.server_error(told, self.where, writing=True), sent="Connection refused" not in told)
        return False

    def _decide(self, commit: str, parent: str, error: PipelineError, *, sent: bool) -> None:
        """Raises `error`, unless the server has the commit all the same."""
        if isinstance(error, AuthError | HostKeyError | ConfigError) or not sent:
            raise error
        try:
            there = git.read_listed(self._listed(self.ref).encode())
        except Transient as second:
            raise Ambiguous(
                f"whether {self.where} took commit {commit[:12]} is not known",
                cause="\n".join(filter(None, (error.cause, second.cause))),
                mend="run it again: what arrived is found, and nothing is committed twice",
            ) from error
        if there == commit:
            self._move(commit)
            return
        if there != parent:
            self.fetch()
            if contains(self.clone, commit, ref(self.clone, self.ref)):
                return
            raise Raced(f"{self.where} has moved on from {parent[:12]}", cause=error.cause)
        raise Transient(f"{self.where} did not take commit {commit[:12]}", cause=error.cause or str(error), mend=error.mend) from error

    def _branches(self) -> list[str]:
        lines = self._listed("refs/heads/*").splitlines()
        return sorted(line.partition("\t")[2].removeprefix("refs/heads/") for line in lines if "\t" in line)

    def _move(self, commit: str) -> None:
        call.run(self.clone, "update-ref", "--", self.ref, commit)

    def _listed(self, pattern: str) -> str:
        done = self._ask(*git.list_ref(self.url, pattern))
        if done.code:
            raise call.server_error(done.errors, self.where)
        return done.output.decode(errors="replace")

    def _ask(self, *words: str) -> call.Done:
        return call.call(self.clone, *words, env=git.environment(self.remote), timeout=TIMEOUT)
