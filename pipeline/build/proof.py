"""What was pushed is read back before it is called anything; then the tags of a whole set are put on, none before all were looked at."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.artifacts import Moved, Source
from pipeline.build.wanted import Wanted
from pipeline.errors import IntegrityError, Transient
from pipeline.tools import buildx, git_ref, image_index, named
from pipeline.tools.registry import Client, Manifest
from pipeline.tools.retag import Placed, look, moved, retag
from pipeline.tools.tags import Ref

Placing = list[tuple[Wanted, tuple[Placed, ...]]]  # of each image, what was done about each tag


def wrong(client: Client, image: Wanted, digest: str) -> str:
    """Why what lies under `digest` cannot be this image, "" where it can: every platform is there, and every part of it can be fetched."""
    found = image_index.stored(client, image.spec.repository, digest)
    if found is None:
        return f"{image.spec.repository}@{digest} is gone"
    return image_index.differs(found, image.spec.platforms, buildx.same)


def keep(client: Client, image: Wanted, digest: str) -> None:
    """Read back what was just pushed, and let the tag of its content stand for it.

    Raises IntegrityError where it is for other platforms than were asked for, Transient where the registry does not give all of it.
    """
    found = image_index.stored(client, image.spec.repository, digest)
    where = f"{client.origin.address}/{image.spec.repository}@{digest}"
    if found is None or found.lost:
        raise Transient(
            f"the registry took {where} but does not give it back",
            cause=", ".join(found.lost) if found else "it answers 404",
            mend="it is pushed again on the next attempt; if it lasts, look at the registry's storage",
        )
    if why := image_index.differs(found, image.spec.platforms, buildx.same):
        raise IntegrityError(f"{where} is not what was asked for", cause=why, mend="do not deploy it; look at the build's log")
    client.put_manifest(image.spec.repository, image.built, found.manifest)


def open_tags(client: Client, ref: Ref, source: Source, image: Wanted, digest: str) -> tuple[Placed, ...]:
    """Where the image's tags stand. Raises IntegrityError if one that never moves stands for another image."""
    return _look(client, ref, source, image, _index(client, image, digest))


def tag_all(client: Client, ref: Ref, source: Source, digests: Sequence[tuple[Wanted, str]]) -> Placing:
    """Put every tag on every image. Nothing is written before all of them were looked at. Raises IntegrityError, Ambiguous."""
    named_so = [(image, _index(client, image, digest)) for image, digest in digests]
    for image, index in named_so:
        _look(client, ref, source, image, index)
    older = git_ref.is_ancestor(source)
    return [(image, retag(client, image.spec.repository, index.digest, image.tags, ref, older, index=index)) for image, index in named_so]


def _look(client: Client, ref: Ref, source: Source, image: Wanted, index: Manifest) -> tuple[Placed, ...]:
    return look(client, image.spec.repository, index.digest, image.tags, ref, git_ref.is_ancestor(source), index=index)


def _index(client: Client, image: Wanted, digest: str) -> Manifest:
    """What the image's tags lead to: the image, named for its commit."""
    found = image_index.stored(client, image.spec.repository, digest, whole=False)
    if found is None:
        where = f"{client.origin.address}/{image.spec.repository}@{digest}"
        raise IntegrityError(f"{where} is gone: no tag was put on", mend="build and push it again")
    return named.index(found, image.notes)


def moves(client: Client, placed: Placing) -> tuple[Moved, ...]:
    """What was done to tags, for the record."""
    return tuple(each for image, those in placed for each in moved(client, image.spec.repository, those))
