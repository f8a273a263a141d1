"""What a build can see of the source, and the name of it: the same for every commit that changes nothing of that."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Source, content_hash
from pipeline.build.buildx_spec import ImageSpec
from pipeline.records import Records
from pipeline.source.repository import Repository

if TYPE_CHECKING:
    from docker.utils.build import PatternMatcher

FILES = ("100644", "100755")  # modes of what is neither a folder nor a link
TREE = "040000"
ATTRIBUTES = ".gitattributes"  # says how the files beside and below it are written


def prefix(image: ImageSpec) -> str:
    """The context as the paths in it begin."""
    folder = posixpath.normpath(image.context)
    return "" if folder == "." else f"{folder}/"


def dockerfile(image: ImageSpec) -> str:
    return posixpath.normpath(image.dockerfile or f"{prefix(image)}Dockerfile")


def ignores(image: ImageSpec) -> tuple[str, str]:
    """Where the file is looked for that says what does not travel, in this order."""
    return f"{dockerfile(image)}.dockerignore", f"{prefix(image)}.dockerignore"


def contents(source: Source, images: Sequence[ImageSpec], records: Records, program: str = "git") -> list[Any]:
    """Name what each image's build can see: its context less what its .dockerignore leaves out, its Dockerfile, and what says how git
    writes these files. If one of them is not plainly there (it is a link, or behind one), the whole source counts. One git process,
    two more once for each context with a .dockerignore. Raises what git raises."""
    repository = Repository(Path(source.path), program)
    asked = sorted({path for image in images for path in _paths(image)})
    found = _listed(repository, "-t", source.tree, *asked)
    return [_content(repository, source, image, found, records) for image in images]


def _paths(image: ImageSpec) -> list[str]:
    places = [dockerfile(image), *ignores(image)]
    folders = {"" if folder == "." else f"{folder}/" for each in places for folder in _above(each)}
    return [*(path for path in (prefix(image).rstrip("/"),) if path), *places, *(f"{folder}{ATTRIBUTES}" for folder in folders)]


def _above(path: str) -> list[str]:
    found = []
    while path:
        path = posixpath.dirname(path)
        found.append(path or ".")
    return found


def _content(repository: Repository, source: Source, image: ImageSpec, found: dict[str, tuple[str, str]], records: Records) -> Any:
    folder = prefix(image).rstrip("/")
    mode, context = found.get(folder, ("", "")) if folder else (TREE, source.tree)
    file = found.get(dockerfile(image), ("", ""))
    ignore = next((found[path] for path in ignores(image) if path in found), None)
    if mode != TREE or file[0] not in FILES or (ignore and ignore[0] not in FILES):
        return source.tree
    if ignore:
        key = f"context {context} {ignore[1]}"
        known = records.hint(key) or content_hash(_less(repository, context, ignore[1]))
        records.remember(key, known)
        context = known
    attributes = sorted((path, *about) for path, about in found.items() if posixpath.basename(path) == ATTRIBUTES and path in _paths(image))
    return [context, file, attributes]


def _less(repository: Repository, context: str, ignore: str) -> list[tuple[str, ...]]:
    """The files of a context but those that do not travel; what says how git writes the others counts in any case."""
    rules = _rules(repository.run("cat-file", "blob", ignore).decode(errors="replace"))
    listed = _listed(repository, "-r", context)
    return sorted(
        (path, *about) for path, about in listed.items() if posixpath.basename(path) == ATTRIBUTES or not (rules and rules.matches(path))
    )


def _rules(text: str) -> PatternMatcher | None:
    from docker.utils.build import PatternMatcher

    lines = [line.strip() for line in text.splitlines()]
    patterns = [line for line in lines if line and not line.startswith("#")]
    return PatternMatcher(patterns) if patterns else None


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
