"""What git says was released: the commits that changed a release's lines, which of them still stand, and which one is before another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.deploy import flux_file
from pipeline.deploy.flux_message import CODE, FAILED, RESTORES, called, images_of, source_of
from pipeline.deploy.flux_spec import Flux
from pipeline.deploy.flux_wanted import Lines, unmade
from pipeline.errors import ConfigError
from pipeline.stage import TakenBack
from pipeline.tools.gitops import Repository
from pipeline.tools.gitops_history import Entry, taken_back
from pipeline.tools.yamledit import Path

DEPTH = 60  # commits of the file that are looked at


@dataclass(frozen=True)
class Step:
    """A commit that gave the release other lines, or that the pipeline made."""

    entry: Entry
    lines: Lines

    @property
    def commit(self) -> str:
        return self.entry.commit

    @property
    def restores(self) -> str:
        """The commit whose lines it wrote again, "" where it is a release of its own."""
        return self.entry.trailers.more.get(RESTORES, "")

    @property
    def ours(self) -> bool:
        """Whether it is a release of the pipeline's."""
        return not self.entry.human and bool(self.entry.trailers.inputs)

    def __str__(self) -> str:
        return called(self.entry)


def steps(repository: Repository, spec: Flux, where: Sequence[Path], at: str = "") -> Iterator[Step]:
    """Newest first, from `at` (by default the head seen last); what changed only other lines of the file is left out."""
    newer: Step | None = None
    for entry in repository.history(spec.written, DEPTH, at):
        step = Step(entry, flux_file.then(spec, repository.at(entry.commit), where))
        if newer is not None and (newer.ours or newer.entry.reverts or newer.lines != step.lines):
            yield newer
        newer = step
    if newer is not None:
        yield newer


def of_lines(known: Iterator[Step] | Sequence[Step], wanted: Lines) -> Step | None:
    """The newest commit that has exactly these lines."""
    return next((step for step in known if step.lines == wanted), None)


def origin(known: Sequence[Step], step: Step) -> Step:
    """The release whose lines `step` wrote again; itself, where it is one of its own."""
    by_commit = {each.commit: each for each in known}
    seen = {step.commit}
    while (before := by_commit.get(step.restores)) and before.commit not in seen:
        seen.add(before.commit)
        step = before
    return step


def bad(known: Sequence[Step]) -> frozenset[str]:
    """The commits that were taken back since they did not come up."""
    return frozenset(step.entry.reverts for step in known if step.entry.reverts and FAILED in step.entry.trailers.more)


def good(known: Sequence[Step], before: Step) -> Step | None:
    """The release to go back to: the newest of ours older than `before` that still stands, with another image or other code; else one that
    people wrote."""
    older = known[known.index(before) + 1 :]
    gone = taken_back([step.entry for step in known])
    there = [step for step in older if step.commit not in gone and step.lines and _is_other(step, before) and not unmade(step.lines)]
    mine = [step for step in there if step.ours and not step.restores]
    people = [step for step in there if step.entry.human and step.lines.keys() == before.lines.keys() and not step.entry.reverts]
    return next(iter(mine or people), None)


def _is_other(step: Step, before: Step) -> bool:
    """Whether something else would run: by the code that both commits name; else by their images, and by their lines if these name none."""
    then, now = (each.entry.trailers.more.get(CODE, "") for each in (step, before))
    if then and now:
        return then != now
    were, are = images_of(step.entry), images_of(before.entry)
    return were != are if were and are else step.lines != before.lines


def taken(known: Sequence[Step]) -> Iterator[TakenBack]:
    """The sources whose newest release does not stand any more, with who took it back and when."""
    gone, failed = taken_back([step.entry for step in known]), bad(known)
    by = {step.entry.reverts: step.entry for step in reversed(known) if step.entry.reverts}
    seen: set[str] = set()
    for step in known:
        source = source_of(step.entry)
        if not step.ours or not source.commit or source.id in seen:
            continue
        seen.add(source.id)
        if step.commit in gone and (entry := by.get(step.commit)):
            who = entry.author if entry.human else entry.trailers.by
            yield TakenBack(source.id, source.label, who, entry.when, step.commit in failed)


def named(known: Sequence[Step], to: str) -> Step:
    """The release that `to` names by its source's commit or its own. Raises ConfigError where it names none, several, or one that never
    came up."""
    found = [step for step in known if step.commit.startswith(to)]
    found = found or [step for step in known if step.ours and step.entry.trailers.commit.startswith(to)]
    if len({step.entry.trailers.commit or step.commit for step in found}) > 1:
        raise ConfigError(f"several commits begin with {to}", cause=listed(known), mend="write more of it")
    failed = bad(known)
    whole = [step for step in found if step.commit not in failed and step.lines]
    if not whole:
        what = f"{found[0]} never came up" if found else f"git knows no release {to}"
        raise ConfigError(what, cause=listed(known), mend="name one of these; or release that commit again: inv release")
    return origin(known, whole[0])


def listed(known: Sequence[Step]) -> str:
    """The releases for a person to choose from."""
    failed, gone = bad(known), taken_back([step.entry for step in known])
    mark = {True: "did not come up", False: "taken back"}
    return "\n".join(
        f"{step}  {step.entry.when}  {step.entry.subject}" + (f"  ({mark[step.commit in failed]})" if step.commit in failed | gone else "")
        for step in known[:12]
    )
