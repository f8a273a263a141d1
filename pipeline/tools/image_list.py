"""The images of a repository: each with all of its tags, with the commit that they name, and with the time of that commit."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pipeline import jsontext
from pipeline.source.repository import Repository
from pipeline.tools import named, references
from pipeline.tools.registry import Client, Manifest

AT_ONCE = 8  # questions to a registry side by side
REFERRERS = re.compile(r"sha256-[0-9a-f]{64}")  # the tag under which a registry without that list keeps what belongs to an image
HEX = re.compile(r"[0-9a-f]{7,64}")
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Stored:
    """An image in a repository: its `digest`, all its `tags`; of an index the digests of its `children`; the digest of its `config`. `over`
    are the digests of our indexes that lead to it, each for a commit: they and the image are one, and go together."""

    digest: str
    tags: tuple[str, ...]
    children: tuple[str, ...] = ()
    config: str = ""
    over: tuple[str, ...] = ()

    @property
    def marks(self) -> tuple[str, ...]:
        """Every name by which something may need it."""
        return tuple(filter(None, (self.digest, *self.tags, *self.children, self.config, *self.over)))


@dataclass(frozen=True)
class Dated:
    """An image with the `time` of its commit (seconds since 1970, None if that is not known), and those of its tags that are not called
    after a commit (`strange`)."""

    image: Stored
    time: float | None
    strange: tuple[str, ...] = ()


def stored(client: Client, repository: str, tags: Iterable[str] | None = None) -> tuple[Stored, ...]:
    """The images of a repository, or those alone that `tags` stand for: one request for the list, one for each tag and one for each image.

    What is deleted meanwhile is left out. Raises what the client raises.
    """
    names = [tag for tag in (client.tags(repository, whole=True) if tags is None else tags) if not REFERRERS.fullmatch(tag)]
    grouped: dict[str, list[str]] = defaultdict(list)
    for tag, digest in zip(names, _at_once(lambda tag: client.head(repository, tag), names), strict=True):
        if digest:
            grouped[digest].append(tag)
    manifests = _at_once(lambda digest: client.manifest(repository, digest), list(grouped))
    there = {manifest.digest: manifest for manifest in manifests if manifest}
    leads = {digest: _image(client, repository, manifest) for digest, manifest in there.items()}
    untagged = [image for image in dict.fromkeys(leads.values()) if image not in there]
    there |= {found.digest: found for found in _at_once(lambda digest: client.manifest(repository, digest), untagged) if found}
    return tuple(_stored(image, there[image], leads, grouped) for image in dict.fromkeys(leads.values()) if image in there)


def _image(client: Client, repository: str, manifest: Manifest) -> str:
    """What a manifest leads to: itself, if it is no index of ours or what that led to is gone."""
    return (named.claims(manifest) and named.image_of(client, repository, manifest.digest)) or manifest.digest


def _stored(image: str, manifest: Manifest, leads: Mapping[str, str], tags: Mapping[str, Sequence[str]]) -> Stored:
    over = tuple(digest for digest, leads_to in leads.items() if leads_to == image != digest)
    names = [tag for digest in (image, *over) for tag in tags.get(digest, ())]
    return Stored(image, tuple(sorted(names)), children(manifest), manifest.config, over)


def children(index: Manifest) -> tuple[str, ...]:
    """The digests of the manifests that an index names, none of a manifest."""
    try:
        entries = jsontext.loads(index.body).get("manifests") or ()
        return tuple(str(entry["digest"]) for entry in entries if references.DIGEST.fullmatch(str(entry["digest"])))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()


def dated(client: Client, repository: str, images: Sequence[Stored], names: Sequence[str], root: Path, program: str) -> tuple[Dated, ...]:
    """The images with the times of their commits: those that the working copy at `root` knows by the tags that `names` match, else those
    that say it themselves of a commit that one of these tags names."""
    patterns = [re.compile(name) for name in names]
    found = {image.digest: {tag: match for tag in image.tags if (match := _match(patterns, tag))} for image in images}
    commits = {match[1] for tags in found.values() for match in tags.values() if match.re.groups and HEX.fullmatch(match[1])}
    known = times(root, program, sorted(commits))
    unknown = [image for image in images if found[image.digest] and _time(found[image.digest].values(), known) is None]
    told = dict(zip(unknown, _at_once(lambda image: _said(client, repository, image, found[image.digest]), unknown), strict=True))
    return tuple(
        Dated(
            image,
            _time(found[image.digest].values(), known) or told.get(image),
            tuple(tag for tag in image.tags if tag not in found[image.digest]),
        )
        for image in images
    )


def times(root: Path, program: str, commits: Sequence[str]) -> dict[str, float]:
    """The times of those `commits` that the working copy knows: one git process. Raises as git does."""
    if not commits:
        return {}
    asked = "".join(f"{commit}^{{commit}}\n" for commit in commits).encode()
    said, found = Repository(root, program).run("cat-file", "--batch", stdin=asked), {}
    for commit in commits:
        head, _, said = said.partition(b"\n")
        words = head.split(b" ")
        if len(words) == 3 and words[1] == b"commit" and words[2].isdigit():
            body, said = said[: int(words[2])], said[int(words[2]) + 1 :]
            if match := re.search(rb"^committer .* ([0-9]+) [+-][0-9]{4}$", body.partition(b"\n\n")[0], re.MULTILINE):
                found[commit] = float(match[1])
    return found


def _match(patterns: Iterable[re.Pattern[str]], tag: str) -> re.Match[str] | None:
    return next((match for pattern in patterns if (match := pattern.fullmatch(tag))), None)


def _time(matches: Iterable[re.Match[str]], known: Mapping[str, float]) -> float | None:
    return max((known[match[1]] for match in matches if match.re.groups and match[1] in known), default=None)


def _said(client: Client, repository: str, image: Stored, tags: Mapping[str, re.Match[str]]) -> float | None:
    """The newest of the times that the image and the indexes over it say, each of a commit that one of the tags names, if any does."""
    short = [match[1] for match in tags.values() if match.re.groups]
    found = []
    for digest in (image.digest, *image.over):
        said = named.read(client, repository, digest)
        if said is None or not HEX.fullmatch(said.commit) or (short and not any(said.commit.startswith(each) for each in short)):
            continue
        with contextlib.suppress(ValueError):
            moment = datetime.fromisoformat(said.created)
            found += [moment.timestamp()] if moment.tzinfo else []
    return max(found, default=None)


def _at_once(ask: Callable[[T], U], about: Sequence[T]) -> list[U]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(ask, about))
