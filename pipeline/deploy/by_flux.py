"""A release by commit under its lock: the repository it is written to, the one commit that is made, and the wait until Flux runs it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.deploy import flux_file, flux_follow, flux_history, flux_wanted, flux_world, work
from pipeline.deploy.flux_follow import Failure, Settled
from pipeline.deploy.flux_history import Step
from pipeline.deploy.flux_spec import Flux
from pipeline.deploy.flux_wanted import Lines
from pipeline.deploy.flux_world import World
from pipeline.deploy.work import STAGE, Held
from pipeline.errors import ConfigError, PipelineError
from pipeline.events import What
from pipeline.stage import Site
from pipeline.tools.gitops import Changes, Head, Published, Repository
from pipeline.tools.gitops_message import Message
from pipeline.tools.yamledit import Path


class Moved(ConfigError):
    """Somebody else changed the very lines meanwhile: theirs stay."""


@dataclass(frozen=True)
class FluxWork(Held):
    """What every step of a release by commit needs. `where` are the paths of its lines, below spec.values."""

    spec: Flux
    repository: Repository
    where: Sequence[Path]

    def look(self) -> World:
        def again() -> World:
            return flux_world.look(self.kube, self.spec, self.where)

        return flux_world.steady(again(), again, self.site.clock)

    def steps(self) -> list[Step]:
        """What git says was released, newest first, as of the last look."""
        return list(flux_history.steps(self.repository, self.spec, self.where))

    def write(self, wanted: Lines, was: Lines, message: Message, edit: Callable[[str], str] | None = None) -> Published:
        """One commit that makes the lines `wanted` of those that `was`, and nothing else; none where they are so already.

        `edit` does it another way than line by line. Raises Moved where the head has other lines than either, and what the repository
        raises.
        """

        def change(head: Head) -> Changes:
            found = flux_file.text(head, self.spec)
            flux_file.check(self.spec, found, self.where)
            there = flux_file.lines(self.spec, found, self.where)
            if there not in (was, wanted):
                raise self._moved(head, found, was)
            if there == wanted:
                return {}
            return {self.spec.written: (edit(found) if edit else flux_file.edited(self.spec, found, wanted)).encode()}

        self.lease.assert_held()
        return self.repository.publish(change, message)

    def follow_flux(
        self, commit: str, wanted: Lines, deadline: float, before: str = "", pods: Callable[[], Failure | None] = lambda: None
    ) -> Failure | Settled:
        """Wait until Flux runs a commit, or say why it will not; `before` stands before each line that is told."""
        return flux_follow.follow(
            self.kube,
            self.site.clock,
            flux_world.target(self.spec),
            commit,
            self._contains,
            deadline=deadline,
            tell=lambda text: self.site.tell(What.WAIT, STAGE, before + text),
            check=self.lease.check,
            values=flux_wanted.nested(wanted),
            author=self._author,
            pods=pods,
        )

    def _contains(self, older: str, newer: str) -> bool | None:
        """Whether a commit holds another, asking the server where one of them is not here."""
        if (found := self.repository.contains(older, newer)) is None:
            with contextlib.suppress(PipelineError):
                self.repository.look()
                found = self.repository.contains(older, newer)
        return found

    def _author(self, commit: str) -> str:
        with contextlib.suppress(PipelineError):
            for entry in self.repository.history(self.spec.written, 1, commit):
                return f"{entry.author}, {entry.when}"
        return ""

    def _moved(self, head: Head, found: str, was: Lines) -> Moved:
        there = flux_file.stands(self.spec, found, self.where)
        path = next((path for path in self.where if (there[path].value if path in there else None) != was.get(path)), self.where[0])
        who, line = "", there[path].line if path in there else 0
        if line:
            entry = self.repository.last(self.spec.written, line, head.commit)
            who = f"{entry.author} in {entry.commit[:7]}, {entry.when}: {entry.subject}"
        return Moved(
            f"{self.spec.written}:{line}: somebody else changed {'.'.join(path)} at this moment",
            cause=who,
            mend="look at that commit; what it says stays until you run this again",
        )


@contextlib.contextmanager
def at_work(spec: Flux, site: Site, despite_freeze: bool = False) -> Iterator[FluxWork]:
    """The work on a release, under the lock the runner holds for it, else under one of our own."""
    with work.held(spec, site, despite_freeze) as the:
        yield FluxWork(spec, site, the.kube, the.lease, flux_file.repository(spec, site), flux_wanted.paths(spec))
