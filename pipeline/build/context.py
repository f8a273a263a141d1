"""What a build can see of the source, and the name of it: the same for every commit that changes nothing of that."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import Source, content_hash
from pipeline.build.buildx_spec import ImageSpec
from pipeline.records import Records
from pipeline.source.repository import Repository
from pipeline.source.vet import Context, left_out

FILES = ("100644", "100755")  # modes of what is neither a folder nor a link
TREE = "040000"
ATTRIBUTES = ".gitattributes"  # says how the files beside and below it are written


def contexts(images: Iterable[ImageSpec]) -> list[Context]:
    """Return what a builder gets for these images."""
    return [Context(image.context, image.dockerfile) for image in images]


def contents(source: Source, images: Sequence[ImageSpec], records: Records, program: str = "git") -> list[Any]:
    """Name what each image's build can see: its context less what its .dockerignore leaves out, its Dockerfile, and what says how git
    writes these files. If one of them is not plainly there (it is a link, or behind one), the whole source counts. One git process,
    two more once for each context with a .dockerignore. Raises what git raises."""
    repository = Repository(Path(source.path), program)
    seen = contexts(images)
    found = _listed(repository, "-t", source.tree, *sorted({path for each in seen for path in _paths(each)}))
    return [_content(repository, source, each, found, records) for each in seen]


def _paths(context: Context) -> list[str]:
    places = [context.file, *context.ignores]
    folders = {"" if folder == "." else f"{folder}/" for each in places for folder in _above(each)}
    return [*(path for path in (context.prefix.rstrip("/"),) if path), *places, *(f"{folder}{ATTRIBUTES}" for folder in folders)]


def _above(path: str) -> list[str]:
    found = []
    while path:
        path = posixpath.dirname(path)
        found.append(path or ".")
    return found


def _content(repository: Repository, source: Source, context: Context, found: dict[str, tuple[str, str]], records: Records) -> Any:
    folder = context.prefix.rstrip("/")
    mode, tree = found.get(folder, ("", "")) if folder else (TREE, source.tree)
    file = found.get(context.file, ("", ""))
    ignore = next((found[path] for path in context.ignores if path in found), None)
    if mode != TREE or file[0] not in FILES or (ignore and ignore[0] not in FILES):
        return source.tree
    if ignore:
        key = f"context {tree} {ignore[1]}"
        known = records.hint(key) or content_hash(_less(repository, tree, ignore[1]))
        records.remember(key, known)
        tree = known
    paths = _paths(context)
    attributes = sorted((path, *about) for path, about in found.items() if posixpath.basename(path) == ATTRIBUTES and path in paths)
    return [tree, file, attributes]


def _less(repository: Repository, context: str, ignore: str) -> list[tuple[str, ...]]:
    """The files of a context but those that do not travel; what says how git writes the others counts in any case."""
    is_left_out = left_out(repository.run("cat-file", "blob", ignore))
    listed = _listed(repository, "-r", context)
    return sorted((path, *about) for path, about in listed.items() if posixpath.basename(path) == ATTRIBUTES or not is_left_out(path))


def _listed(repository: Repository, way: str, tree: str, *paths: str) -> dict[str, tuple[str, str]]:
    """(mode, object) of what lies in a tree, by its path."""
    said = repository.run("ls-tree", way, "-z", "--full-tree", tree, "--", *paths)
    found = {}
    for record in said.decode(errors="surrogateescape").split("\0"):
        if record:
            about, path = record.split("\t", 1)
            mode, _, oid = about.split()
            found[path] = (mode, oid)
    return found
