"""The files of a release of manifests: read whole, kept inside the working copy and off the network, and named by their content."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.deploy import kustomize
from pipeline.deploy.manifest_spec import Kubecfg, Kubectl, Manifests
from pipeline.errors import ConfigError
from pipeline.tools import jsonnet
from pipeline.yamlfile import keys_like

YAML = (".yaml", ".yml", ".json")
LARGEST = 4 << 20  # bytes of all files; a release has to fit into a Secret of 1 MiB, packed
LENGTH = 40  # of the digest
OWN = "kubecfg.libsonnet"  # kubecfg brings it itself


@dataclass(frozen=True)
class Files:
    """The files that the manifests are made from, by their names in the working copy; `entries` are those that hold objects, `filled` those
    of them in which words are filled in. Of a kustomization that is its own file."""

    entries: tuple[str, ...]
    content: tuple[tuple[str, bytes], ...]
    digest: str
    filled: frozenset[str] = frozenset()
    kustomized: bool = False

    def text(self, name: str) -> str:
        """Raises ConfigError where the file is no text."""
        try:
            return dict(self.content)[name].decode()
        except UnicodeDecodeError as error:
            raise ConfigError(f"{name} is not UTF-8", cause=str(error), mend="write it as text") from error


def read(root: Path, spec: Manifests) -> Files:
    """The files of `spec.manifests`, for kubecfg with all that lies in their folder and in the libraries: what can be imported counts.

    Raises ConfigError where there are none, where one is a symbolic link or leads out of the working copy, or all are too large; and,
    with file and line, where jsonnet imports what is none of them.
    """
    place = root / spec.manifests
    if not place.exists():
        raise ConfigError(f"there is nothing at {spec.manifests}", mend="name the manifests' file or folder: manifests: …")
    if isinstance(spec, Kubectl) and place.is_dir() and (file := kustomize.file_of(place)):
        return _kustomized(root, place, file, spec)
    evaluated = isinstance(spec, Kubecfg)
    folder = place if place.is_dir() else place.parent
    content = dict(_files(root, [folder, *(root / each for each in spec.libraries)] if isinstance(spec, Kubecfg) else [place]))
    entries = tuple(name for name in _entries(root, place, evaluated) if name in content)
    if not entries:
        kinds = ".jsonnet" if evaluated else ", ".join(YAML)
        raise ConfigError(f"{spec.manifests} holds no manifests", mend=f"{spec.program} takes {kinds} files")
    if not evaluated:
        content = {name: content[name] for name in entries}
    if isinstance(spec, Kubecfg):
        _check_imports(content, spec)
    filled = frozenset(_filled(entries, spec)) if isinstance(spec, Kubectl) else frozenset[str]()
    return Files(entries, tuple(sorted(content.items())), _digest(content), filled)


def _kustomized(root: Path, place: Path, file: Path, spec: Kubectl) -> Files:
    """A kustomization: all that lies in its folder, and in those that it leads to, counts."""
    if spec.placeholders:
        mend = "let kustomize do it (images, configMapGenerator, replacements), or name the folder of plain manifests"
        raise ConfigError(f"{file.relative_to(root)}: words in braces are not filled in in what kustomize renders", mend=mend)
    content = dict(_files(root, kustomize.folders(root, place)))
    return Files((file.relative_to(root).as_posix(),), tuple(sorted(content.items())), _digest(content), kustomized=True)


def _digest(content: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, body in sorted(content.items()):
        digest.update(f"{len(name)} {name} {len(body)} ".encode() + body)
    return digest.hexdigest()[:LENGTH]


def _filled(entries: tuple[str, ...], spec: Kubectl) -> Iterator[str]:
    """The files that `placeholders` names."""
    names = {PurePosixPath(name).name: name for name in entries}
    for pattern in spec.placeholders:
        if not (found := [name for short, name in names.items() if fnmatch.fnmatchcase(short, pattern)]):
            near = keys_like(pattern, list(names))
            raise ConfigError(
                f"placeholders: there is no manifest {pattern}{near}", mend=f"there are: {', '.join(names)}; * is all of them"
            )
        yield from found


def _entries(root: Path, place: Path, evaluated: bool) -> tuple[str, ...]:
    if place.is_dir():
        kinds = (".jsonnet",) if evaluated else YAML
        return tuple(each.relative_to(root).as_posix() for each in sorted(place.iterdir()) if each.suffix in kinds and each.is_file())
    kinds = (".jsonnet", ".libsonnet", ".json") if evaluated else YAML
    return (place.relative_to(root).as_posix(),) if place.suffix in kinds else ()


def _files(root: Path, places: list[Path]) -> Iterator[tuple[str, bytes]]:
    size = 0
    for place in places:
        if not place.resolve().is_relative_to(root.resolve()):
            raise ConfigError(f"{place.relative_to(root)} leads out of the working copy", mend="copy it into the working copy")
        if not place.exists():
            raise ConfigError(f"there is no folder {place.relative_to(root)}", mend="correct `libraries`")
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            name = file.relative_to(root)
            if any(part.startswith(".") for part in name.parts):
                continue  # .git, editors' own
            if file.is_symlink():
                raise ConfigError(f"{name} is a symbolic link", mend="put the file itself there")
            if file.is_file():
                size += file.stat().st_size
                if size > LARGEST:
                    raise ConfigError(
                        f"the manifests are larger than {LARGEST >> 20} MiB", cause=str(name), mend="keep them in a folder of their own"
                    )
                yield name.as_posix(), file.read_bytes()


def _check_imports(content: dict[str, bytes], spec: Kubecfg) -> None:
    """An import leads to a file that was read, or to kubecfg's own library: never to the network, and never past the hash."""
    for name, body in sorted(content.items()):
        if not name.endswith((".jsonnet", ".libsonnet")):
            continue
        for found in jsonnet.imports(body.decode(errors="replace")):
            where = f"{name}:{found.line}"
            if "://" in found.path:
                raise ConfigError(
                    f"{where}: {found.path} is imported from outside",
                    mend="copy what it gives into the working copy, and name its folder in `libraries`",
                )
            if found.path == OWN:
                continue
            bases = [PurePosixPath(name).parent, *map(PurePosixPath, spec.libraries)]
            if not any(_joined(base, found.path) in content for base in bases):
                mend = "put it into the manifests' folder, or name its folder in `libraries`"
                raise ConfigError(f"{where}: there is no {found.path} among the manifests' files", mend=mend)


def _joined(base: PurePosixPath, path: str) -> str:
    parts: list[str] = list(base.parts)
    for part in PurePosixPath(path).parts:
        if part == "..":
            if not parts:
                return ""
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
