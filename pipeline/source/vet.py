"""What must not be in a tree that travels: secrets, links out of it, names that collide, files that are only pointers."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline.artifacts import Source
from pipeline.errors import ConfigError
from pipeline.source.refuse import is_named, is_tracked_secret
from pipeline.source.repository import Repository

LINK, SUBMODULE = "120000", "160000"
# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md: a pointer starts with this line and has fewer than 1024 bytes
LFS = b"version https://git-lfs.github.com/spec/"
CRYPT = b"\0GITCRYPT\0"  # https://github.com/AGWA/git-crypt/blob/master/commands.cpp: what an encrypted file starts with
LARGEST = 1 << 20  # bytes of a file that is read
HOPS = 40  # as many links as Linux follows


@dataclass(frozen=True)
class Entry:
    """A file of a tree: its git `mode`, object `oid`, `size` in bytes (0 for a submodule) and `path`."""

    mode: str
    oid: str
    size: int
    path: str


@dataclass(frozen=True)
class Context:
    """What a builder gets of a source: a `folder` of it, less what a .dockerignore leaves out. `dockerfile` is "" for the folder's own."""

    folder: str
    dockerfile: str = ""

    @property
    def prefix(self) -> str:
        """What every path in it starts with."""
        folder = posixpath.normpath(self.folder)
        return "" if folder == "." else f"{folder}/"

    @property
    def file(self) -> str:
        """The Dockerfile by its path in the source."""
        return posixpath.normpath(self.dockerfile or f"{self.prefix}Dockerfile")

    @property
    def ignores(self) -> tuple[str, ...]:
        """The files that may say what is left out: the first that is there counts."""
        return f"{self.file}.dockerignore", f"{self.prefix}.dockerignore"


def vet(
    source: Source, program: str = "git", *, not_secret: Mapping[str, str] | None = None, contexts: Collection[Context] | None = None
) -> list[str]:
    """Raise ConfigError, naming the files, if something in the tree of `source` must not or cannot travel; of all of it, if no `contexts`
    say what of it does. `not_secret` has the patterns of paths that only look like secrets, each with a reason.

    Return what was let pass for such a reason, each with it. Costs two git processes, three if git-crypt is used; to be called before the
    tree is sent, not on each look.
    """
    repository = Repository(Path(source.path), program)
    listed = list(entries(repository.run("ls-tree", "-r", "-l", "-z", "--full-tree", source.tree)))
    ignores = {path for context in contexts or () for path in context.ignores}
    contents = _contents(repository, [entry for entry in listed if _is_read(entry) or entry.path in ignores])
    ignored = {entry.path: contents[entry.oid] for entry in listed if entry.path in ignores and entry.mode not in (LINK, SUBMODULE)}
    travels = (lambda _path: True) if contexts is None else sent(contexts, ignored)
    found = [entry for entry in listed if travels(entry.path)]
    if modules := [entry.path for entry in found if entry.mode == SUBMODULE]:
        raise ConfigError(
            f"{modules[0]!r} is a submodule: its files would not travel",
            mend=f"take its files in (git rm --cached -- {modules[0]!r} and git add them), or leave it out of what is built: "
            "for Nix, make it an input of the flake; for a Dockerfile, write it into .dockerignore",
        )
    looks = [entry.path for entry in found if is_tracked_secret(entry.path, contents.get(entry.oid, b""))]
    reasons = {path: reason for path in looks if (reason := _reason(path, not_secret or {}))}
    if secrets := [path for path in looks if path not in reasons]:
        words = " ".join(f"'{path}'" for path in secrets[:5])
        raise ConfigError(
            f"{secrets[0]!r} looks like a secret and is tracked by git: it does not travel",
            cause="\n".join(map(repr, secrets[:10])),
            mend=f"git rm --cached -- {words}, write it into .gitignore, commit; and change the secret: it is in the history\n"
            f"if it is none, say why in the blueprint: not_secret: {{{secrets[0]!r}: why it opens nothing}}",
        )
    if pointers := [entry.path for entry in found if contents.get(entry.oid, b"").startswith(LFS)]:
        raise ConfigError(
            f"{pointers[0]!r} is in Git LFS: the build host would get the pointer, not the file",
            cause="\n".join(map(repr, pointers[:10])),
            mend=f"git lfs migrate export --include='{pointers[0]}', or let the flake fetch it by hash",
        )
    if sealed := _encrypted(repository, found, contents):
        raise ConfigError(
            f"{sealed[0]!r} is encrypted by git-crypt: the build host would get that, not the file",
            cause="\n".join(map(repr, sealed[:10])),
            mend="give the build the file as a secret of its own, or leave it out of what is built",
        )
    links = {entry.path: os.fsdecode(contents[entry.oid]) for entry in listed if entry.mode == LINK}
    if outside := [f"{path!r} -> {target!r}" for path, target in links.items() if travels(path) and leaves(path, links)]:
        raise ConfigError(
            f"a symbolic link leads out of the tree: {outside[0]}",
            cause="\n".join(outside[:10]),
            mend="make it a relative link to a file of the repository, or remove it",
        )
    if pairs := [f"{one!r} and {other!r}" for one, other in collisions(entry.path for entry in found)]:
        raise ConfigError(
            f"{pairs[0]} are one name where case or Unicode form does not count",
            cause="\n".join(pairs[:10]),
            mend="git mv one of them to another name",
        )
    return [f"{path}: {reason}" for path, reason in reasons.items()]


def sent(contexts: Iterable[Context], ignores: Mapping[str, bytes]) -> Callable[[str], bool]:
    """Return what says of a path of the source whether a builder gets it. `ignores` has the .dockerignore files that there are."""
    rules = [(each.prefix, left_out(next((ignores[path] for path in each.ignores if path in ignores), b""))) for each in contexts]

    def is_sent(path: str) -> bool:
        return any(path.startswith(prefix) and not is_left_out(path[len(prefix) :]) for prefix, is_left_out in rules)

    return is_sent


def left_out(ignore: bytes) -> Callable[[str], bool]:
    """Return what says of a path in a context whether this .dockerignore leaves it out.

    Source: https://docs.docker.com/build/concepts/context/#dockerignore-files; the patterns are read by Docker's own library.
    """
    from docker.utils.build import PatternMatcher

    lines = [line.strip() for line in ignore.decode(errors="replace").splitlines()]
    patterns = [line for line in lines if line and not line.startswith("#")]
    rules = PatternMatcher(patterns) if patterns else None
    return lambda path: bool(rules and rules.matches(path))


def _reason(path: str, not_secret: Mapping[str, str]) -> str:
    return next((reason for pattern, reason in not_secret.items() if fnmatchcase(path, pattern)), "")


def _encrypted(repository: Repository, found: list[Entry], contents: Mapping[str, bytes]) -> list[str]:
    """The files that git-crypt keeps encrypted in git, whether or not they are open in the working copy."""
    attributes = (contents.get(entry.oid, b"") for entry in found if posixpath.basename(entry.path) == ".gitattributes")
    if not any(b"git-crypt" in each for each in attributes):
        return []
    every = _contents(repository, [entry for entry in found if 0 < entry.size < LARGEST])
    return [entry.path for entry in found if every.get(entry.oid, b"").startswith(CRYPT)]


def entries(listing: bytes) -> Iterator[Entry]:
    """Reads `git ls-tree -r -l -z`."""
    for record in listing.split(b"\0"):
        if record:
            about, path = record.split(b"\t", 1)
            mode, _, oid, size = about.split()
            yield Entry(mode.decode(), oid.decode(), 0 if size == b"-" else int(size), os.fsdecode(path))


def leaves(path: str, links: Mapping[str, str]) -> bool:
    """Whether the link at `path` leads out of the tree, by way of any of `links` (path -> target) that it passes."""
    rest = path.split("/")
    here: list[str] = []
    hops = 0
    while rest:
        part = rest.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            if not here:
                return True
            here.pop()
            continue
        target = links.get("/".join([*here, part]))
        if target is None:
            here.append(part)
            continue
        hops += 1
        if target.startswith("/"):
            return True
        if hops > HOPS:
            return False  # a loop leads nowhere
        rest = target.split("/") + rest
    return False


def collisions(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of files or folders that are different names here and one name on a file system that folds case or Unicode form."""
    known: dict[str, str] = {}
    pairs = []
    seen = set()
    for path in paths:
        while path and path not in seen:
            seen.add(path)
            # folded after composing and composed again: folding can take a composed letter apart
            folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
            if (other := known.setdefault(folded, path)) != path:
                pairs.append((other, path))
            path = posixpath.dirname(path)
    return pairs


def _is_read(entry: Entry) -> bool:
    if entry.mode == LINK or 0 < entry.size < 1024:
        return True
    return entry.size < LARGEST and (is_named(entry.path) or posixpath.basename(entry.path) == ".gitattributes")


def _contents(repository: Repository, wanted: list[Entry]) -> dict[str, bytes]:
    oids = sorted({entry.oid for entry in wanted})
    if not oids:
        return {}
    answer = repository.run("cat-file", "--batch", stdin="".join(f"{oid}\n" for oid in oids).encode())
    contents = {}
    at = 0
    for oid in oids:
        end = answer.index(b"\n", at)
        about = answer[at:end].split()
        if len(about) != 3:
            raise ConfigError(
                f"git has lost object {oid}", mend=f"git -C {repository.path} fsck; git fetch brings back what the remote has"
            )
        size = int(about[2])
        contents[oid] = answer[end + 1 : end + 1 + size]
        at = end + 2 + size
    return contents
