"""Putting tags on an image whose digest is known: a PUT of the same manifest, with a note of what each tag stood for before.

Nothing is written before every tag was looked at. The distribution specification has no compare-and-swap: of two runs that move one
tag at the same moment the later write stays, and the next look of either tells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.artifacts import Moved
from pipeline.errors import IntegrityError
from pipeline.tools import named, semver
from pipeline.tools.named import Named
from pipeline.tools.registry import Client, Manifest
from pipeline.tools.tags import Ref, Tag

Ancestor = Callable[[str, str], bool | None]  # whether the first commit is in the history of the second; None: not known here
MOST = 100  # versions that are asked for what they stand for, the highest first


@dataclass(frozen=True)
class Placed:
    """One tag: what it stood for `before` ("" for nothing), and why it is left there (`kept`, "" where it is not)."""

    tag: Tag
    before: str
    digest: str
    kept: str = ""

    @property
    def open(self) -> bool:
        """Whether it has to be written."""
        return self.before != self.digest and not self.kept

    def __str__(self) -> str:
        if self.kept:
            return f"tag {self.tag.name} stays at {self.before[:19]}: {self.kept}; inv tags.put {self.tag.name} --to … moves it"
        if not self.open:
            return f"tag {self.tag.name} stands for {self.digest[:19]} already"
        return f"tag {self.tag.name} stands for {self.digest[:19]}, {f'it was {self.before[:19]}' if self.before else 'it is new'}"


def look(
    client: Client, repository: str, digest: str, tags: Sequence[Tag], ref: Ref, ancestor: Ancestor, *,
    back: bool = False, index: Manifest | None = None,
) -> tuple[Placed, ...]:  # fmt: skip
    """Where each tag stands, and what it takes for all of them to stand for `digest`. One HEAD each, more only for one that stands for
    something else.

    `back` lets a tag go back to an older release or commit. `index` is what lies under `digest`, if that is an index of ours: a tag that
    names its image for the commit of `ref` already, with or without an index, is as it should be. Raises IntegrityError where a tag that
    never moves stands for another image.
    """
    image, before = named.claims(index) if index else "", {}
    for tag in tags:
        now = client.head(repository, tag.name) or ""
        there = named.read(client, repository, now) if image and now not in ("", digest) else None
        same = there is not None and (there.image, there.commit) == (image, "" if ref.dirty else ref.commit)
        before[tag.name] = now, now if same else digest
    taken = [tag.name for tag in tags if not tag.moves and before[tag.name][0] not in ("", before[tag.name][1])]
    if taken:
        raise IntegrityError(
            f"tag {taken[0]} of {repository} stands for another image already",
            cause=f"it is {before[taken[0]][0]}, wanted {digest}; this tag never moves",
            mend="commit, which gives another tag; or find out why one commit gave two images; a release is tagged once in git",
        )
    past = _Past(client, repository, ref, ancestor)
    return tuple(
        Placed(tag, old, new, "" if back or old in ("", new) else past.newer(tag, old))
        for tag, (old, new) in ((tag, before[tag.name]) for tag in tags)
    )


def retag(
    client: Client, repository: str, digest: str, tags: Sequence[Tag], ref: Ref, ancestor: Ancestor, *,
    back: bool = False, index: Manifest | None = None,
) -> tuple[Placed, ...]:  # fmt: skip
    """Put `tags` on `digest`, those that never move first; what each stood for before. `index` is as `look` has it.

    A tag that stands for a newer release or commit is left there (`Placed.kept`), unless `back`. Raises IntegrityError where a tag that
    never moves is taken or the image is gone, Ambiguous where the fate of a write is unknown, and what the client raises.
    """
    placed = look(client, repository, digest, tags, ref, ancestor, back=back, index=index)
    writes = sorted((each for each in placed if each.open), key=lambda each: each.tag.moves)
    if not writes:
        return placed
    manifest = index or client.manifest(repository, digest)
    if manifest is None:
        raise IntegrityError(f"{repository}@{digest} is not in {client.origin}: no tag was put on", mend="build and push it again")
    for each in writes:
        client.put_manifest(repository, each.tag.name, manifest)
    for each in writes:
        if not each.tag.moves and (now := client.head(repository, each.tag.name)) != digest:
            raise IntegrityError(
                f"tag {each.tag.name} of {repository} was taken while it was put on",
                cause=f"put on {digest}, it stands for {now or 'nothing'}",
                mend="find out who else pushes this tag; the image is there by its digest",
            )
    return placed


def moved(client: Client, repository: str, placed: Sequence[Placed]) -> tuple[Moved, ...]:
    """What was written, for the record."""
    return tuple(Moved(f"{client.origin.address}/{repository}", each.tag.name, each.before) for each in placed if each.open)


class _Past:
    """Whether what a tag stands for is newer than the ref that wants it."""

    def __init__(self, client: Client, repository: str, ref: Ref, ancestor: Ancestor) -> None:
        self._client = client
        self._repository = repository
        self._ref = ref
        self._ancestor = ancestor
        self._versions: dict[str, str] = {}  # what a version's tag stands for

    def newer(self, tag: Tag, digest: str) -> str:
        """Why the image under `digest` is newer, "" where it is not, or nothing says so."""
        mine = semver.parse(tag.release)
        return self._release(mine, digest) if mine else self._commit(digest)

    def _release(self, mine: semver.Version, digest: str) -> str:
        found = semver.parse(self._said(digest).version)
        if found and not found.pre and found.key > mine.key:
            return f"that is release {found.version}, newer than {mine.version}"
        known = filter(None, map(semver.parse, self._client.tags(self._repository)))
        higher = sorted((each for each in known if not each.pre and each.key > mine.key), key=lambda each: each.key, reverse=True)
        for version in higher[:MOST]:
            if version.raw not in self._versions:
                self._versions[version.raw] = self._client.head(self._repository, version.raw) or ""
            if self._versions[version.raw] == digest:
                return f"that is release {version.version}, newer than {mine.version}"
        return ""

    def _commit(self, digest: str) -> str:
        """By git's history where it is known here, else (a shallow clone) by the time of the commit."""
        said = self._said(digest)
        theirs = said.commit
        if theirs in ("", self._ref.commit):
            return ""
        known = self._ancestor(self._ref.commit, theirs)
        if known is None and (when := _seconds(said.created)) is not None:
            known = when > self._ref.time > 0
        return f"that is commit {theirs[:7]}, newer than {self._ref.commit[:7]}" if known else ""

    def _said(self, digest: str) -> Named:
        return named.read(self._client, self._repository, digest) or Named(digest, "", {})


def _seconds(text: str) -> float | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
