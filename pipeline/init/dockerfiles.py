"""Dockerfiles: which of them are images of the application, what each is called, and the folder that each is built from."""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline.init.texts import Texts, slug

PLAIN = ("Dockerfile", "Containerfile")
FORM = re.compile(r"(?:(?P<before>[\w.-]+)\.)?(?:Dockerfile|Containerfile)(?:[.-](?P<after>[\w.-]+))?|(?:docker|container)file")
TEMPLATE = (".svg", ".png", ".txt", ".sh", ".tmpl", ".template", ".j2", ".jinja", ".in", ".dockerignore", ".md", ".erb", ".m4")
VARIANTS = {  # words of Dockerfiles that are another way to the same image
    "dev", "development", "test", "tests", "debug", "ci", "local", "alpine", "slim", "debian", "ubuntu", "arm64", "amd64", "arm", "windows",
    "lint", "base", "builder", "build", "release", "goreleaser", "distroless", "scratch", "ubi", "ubi8", "ubi9", "cross", "old", "bak",
    "develop", "devcontainer", "nightly", "rootless", "cuda", "gpu", "rocm", "fips", "docs",
}  # fmt: skip
DULL = {"src", "docker", "build", "container", "image", "images", "deploy", "deployment", "package", "packaging", "dockerfiles", "ops", ".", "", "infra"}  # fmt: skip  # noqa: E501
COPY = re.compile(r"^\s*(?:COPY|ADD)\s+(.*)$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Hint:
    """What Compose or a workflow says of a build: the Dockerfile, its context, a stage of it, and what the service is called."""

    path: str
    context: str
    target: str = ""
    service: str = ""


@dataclass(frozen=True)
class Dockerfile:
    """An image that can be built: `name` of ours, `path` of the Dockerfile and `context`, both in the working copy. `variant` says that
    another one beside it is the likelier."""

    name: str
    path: str
    context: str
    target: str = ""
    variant: bool = False

    @property
    def usual(self) -> bool:
        """Whether the Dockerfile is the one that the context has of itself."""
        return self.path == (f"{self.context}/Dockerfile" if self.context != "." else "Dockerfile")


def find(names: Iterable[str], known: frozenset[str], texts: Texts, hints: Sequence[Hint], app: str) -> tuple[Dockerfile, ...]:
    """Every Dockerfile, those that are images of the application first; `app` is what the one at the root is called."""
    paths = [name for name in names if _is(name)]
    paths.sort(key=lambda name: (name.count("/"), name.rpartition("/")[2] not in PLAIN, name))
    variants = {path for path in paths if _variant(path, paths, hints)}
    if len(variants) == len(paths):
        variants -= set(paths[:1])
    found: list[Dockerfile] = []
    for path in sorted(paths, key=lambda each: each in variants):
        hint = next((each for each in hints if each.path == path), None)
        context = hint.context if hint else _context(path, known, texts)
        name = _name(path, hint, app, {each.name for each in found})
        found.append(Dockerfile(name, path, context, hint.target if hint else "", path in variants))
    return tuple(found)


def _is(name: str) -> bool:
    last = name.rpartition("/")[2]
    return bool(FORM.fullmatch(last)) and not last.lower().endswith(TEMPLATE) and last.lower() != ".dockerfile"


def word(path: str) -> str:
    """What the Dockerfile's own name adds: `web` of Dockerfile.web and of web.Dockerfile."""
    found = FORM.fullmatch(path.rpartition("/")[2])
    return ((found["before"] or found["after"] or "") if found else "").lower().replace(".", "-").replace("_", "-")


def _variant(path: str, paths: Sequence[str], hints: Sequence[Hint]) -> bool:
    """Whether it is another way to an image that a plainer Dockerfile gives."""
    own = word(path)
    if not own:
        return False
    if set(own.split("-")) & VARIANTS:
        return True
    folder = path.rpartition("/")[0]
    beside = any(other.rpartition("/")[0] == folder and not word(other) for other in paths)
    return beside and not any(each.path == path and each.service for each in hints)


def _name(path: str, hint: Hint | None, app: str, taken: set[str]) -> str:
    folders = [each for each in PurePosixPath(path).parts[:-1] if each.lower() not in DULL]
    own = word(path)
    names = [own if own and not set(own.split("-")) & VARIANTS else "", *(folders[-1:]), hint.service if hint else "", app]
    name = slug(next(filter(None, names)))
    if name in taken:
        name = slug("-".join([*folders[-2:], own] if own else folders[-2:]) or f"{name}-{own}")
    number = 2
    while name in taken:
        name, number = f"{name}-{number}", number + 1
    return name


def _context(path: str, known: frozenset[str], texts: Texts) -> str:
    """The folder that what the Dockerfile copies lies in: its own, or one above it."""
    wanted = list(_copied(texts.text(path)))
    folder = PurePosixPath(path).parent
    above = [folder, *folder.parents]
    scores = [(sum(_there(place, each, known) for each in wanted), place) for place in above]
    best = max(score for score, _ in scores)
    return str(next(place for score, place in scores if score == best))


def _copied(text: str) -> Iterable[str]:
    """The sources of COPY and ADD that come from the context and are names without variables."""
    for line in COPY.findall(re.sub(r"\\\r?\n", " ", text)):
        if "--from=" in line or "<<" in line:
            continue
        try:
            words = shlex.split(line.replace("[", " ").replace("]", " ").replace('",', '" '))
        except ValueError:
            continue
        for each in [word for word in words if not word.startswith("--")][:-1]:
            source = each.strip(",").removeprefix("./").strip("/")
            if source and source != "." and "$" not in source and "://" not in source:
                yield source


def _there(place: PurePosixPath, source: str, known: frozenset[str]) -> bool:
    path = source if str(place) == "." else f"{place}/{source}"
    if any(letter in path for letter in "*?["):
        return any(fnmatch.fnmatchcase(name, path) for name in known)
    return path in known or any(name.startswith(f"{path}/") for name in known)
