"""The layout brought into a repository by one commit, or into a folder: never over what people changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import content_hash
from pipeline.errors import ConfigError
from pipeline.events import What
from pipeline.gitops import layout as layouts
from pipeline.gitops.compare import Verdict, compare
from pipeline.gitops.layout import Layout
from pipeline.gitops.place import STAGE, Place
from pipeline.stage import Site
from pipeline.tools import markers, yamledit
from pipeline.tools.gitops import Changes, Head, Repository
from pipeline.tools.gitops_message import Message, Trailers

MARK = "Layout"  # Pipeline-Layout: the trailer of a commit that was generated
NEXT = "the images' workflow, for the application's own repository: inv ci.generate; then, once, inv flux.bootstrap; then inv release"
EVERY = 100_000  # commits: a file's last generated text may lie far back

Check = Callable[[Mapping[str, bytes]], None]


@dataclass(frozen=True)
class Outcome:
    """What was looked at, and the commit that was made ("" where none was)."""

    verdicts: tuple[Verdict, ...]
    commit: str = ""


def look(place: Place, site: Site) -> tuple[Head, tuple[Verdict, ...]]:
    """What would be done to the repository's branch, which is asked once. Writes nothing. Raises as Repository.look does."""
    head = place.repository(site).look(first=True)
    return head, _verdicts(place, site, head)


def publish(place: Place, site: Site, check: Check) -> Outcome:
    """Bring the layout into the repository: one commit, or none where it is there.

    `check` is given the repository's files as they will be, and raises where one of them is wrong. Raises as Repository.publish does.
    """
    found: list[tuple[Verdict, ...]] = []

    def change(head: Head) -> Changes:
        verdicts = _verdicts(place, site, head)
        found.append(verdicts)
        changes = {each.path: each.wanted for each in verdicts if each.writes}
        if changes:
            check(after(head, changes))
        return changes

    published = place.repository(site).publish(change, _message(place), first=True)
    if published.made:
        site.tell(What.MADE, STAGE, f"{place.repository(site).where}: {published.commit[:7]} holds the layout")
        site.tell(What.LOG, STAGE, f"{NEXT} --blueprint {place.name}")
    return Outcome(found[-1], published.commit if published.made else "")


def into(folder: Path, place: Place, site: Site, check: Check, *, write: bool) -> Outcome:
    """Bring the layout into a folder of this machine: what is missing is written, what differs stays. `write` false only looks."""

    def read(path: str) -> bytes | None:
        file = folder / path
        return file.read_bytes() if file.is_file() else None

    names = _names(folder)
    chart = layouts.chart_files(site.root, place) or {name: read(name) or b"" for name in names if name.startswith(f"{place.chart}/")}
    verdicts = compare(layouts.layout(place, site.registries, chart), read, lambda _path: None, names)
    changes = {each.path: each.wanted for each in verdicts if each.writes and each.wanted is not None}
    if changes and write:
        check({name: read(name) or b"" for name in names} | changes)
        for path, body in changes.items():
            _put(folder / path, body)
    return Outcome(tuple(verdicts))


def after(head: Head, changes: Changes) -> dict[str, bytes]:
    """Every file of the repository as it will be with `changes`."""
    names = set(head.names()) if head.commit else set()
    found = {name: head.need(name) for name in names - changes.keys()}
    return found | {path: body for path, body in changes.items() if body is not None}


def _verdicts(place: Place, site: Site, head: Head) -> tuple[Verdict, ...]:
    names = head.names() if head.commit else ()
    chart = layouts.chart_files(site.root, place) or {name: head.need(name) for name in names if name.startswith(f"{place.chart}/")}
    wanted = layouts.layout(place, site.registries, chart)
    _never_both(place, wanted, head)

    def read(path: str) -> bytes | None:
        return head.read(path) if head.commit else None

    def last(path: str) -> bytes | None:
        return _generated(head.repository, path, head.commit) if head.commit else None

    return tuple(compare(wanted, read, last, names))


def _generated(repository: Repository, path: str, at: str) -> bytes | None:
    """A file as it was generated last: as the newest commit with our mark that touched it left it."""
    entries = repository.history(path, EVERY, at)
    made = next((entry.commit for entry in entries if not entry.human and MARK in entry.trailers.more), "")
    return repository.at(made).read(path) if made else None


def _never_both(place: Place, wanted: Layout, head: Head) -> None:
    """Raises ConfigError where a line of a release in the repository has a marker of the automation that the blueprint knows nothing of."""
    there = head.read(wanted.written) if head.commit else None
    if there is None or place.gitops.automation is not None:
        return
    text = there.decode(errors="replace")
    selector = yamledit.Selector("HelmRelease", place.flux.release, place.flux.namespace)
    marked = markers.written_by_automation(text, selector, name=wanted.written)
    markers.refuse(dict.fromkeys(layouts.lines(place.flux.values)), marked, wanted.written)


def _message(place: Place) -> Message:
    environment = place.cluster_folder.rpartition("/")[2]
    body = f"Made by `inv flux.init` from the blueprint {place.name}. Lines that a release wrote and what people changed are as they were."
    mark = content_hash([place.name, place.chart, place.flux.written])[:12]
    return Message(f"{place.app}: layout of {environment}", body, Trailers(app=place.app, more={MARK: mark}))


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    found = (file.relative_to(folder) for file in sorted(folder.rglob("*")) if file.is_file())
    return [name.as_posix() for name in found if not name.parts[0].startswith(".")]


def _put(file: Path, body: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.part")
        part.write_bytes(body)
        part.replace(file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written", cause=str(error), mend="name a folder of your own: --folder DIR") from error
