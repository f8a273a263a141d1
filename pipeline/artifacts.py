"""The nouns that flow between stages: frozen, named by content, plain JSON when written down."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Artifact:
    """Something that exists. `id` names it by content: equal ids mean equal things, whoever made them, wherever they are."""

    kind: ClassVar[str] = ""

    @property
    def id(self) -> str:
        raise TypeError(f"{type(self).__name__} has no identity")

    @property
    def names(self) -> tuple[str, ...]:
        """What it is called by at the moment: no part of what it is, but the next stage may write it down, and looks again where it is
        another."""
        return ()


@dataclass(frozen=True)
class Source(Artifact):
    """The working copy as it stands.

    `tree` is the git tree id of all that would travel (tracked and untracked, never ignored files); `commit` the commit it
    stands on; `dirty` says that `tree` is not the tree of `commit`. `path` is the working copy's folder, not part of the identity.
    """

    kind: ClassVar[str] = "source"
    tree: str
    commit: str
    dirty: bool
    path: str

    @property
    def id(self) -> str:
        return f"{self.commit}+{self.tree}" if self.dirty else self.commit

    @property
    def label(self) -> str:
        """How people and image tags name it: the short commit, and the short tree where the tree is dirty."""
        return f"{self.commit[:7]}-dirty-{self.tree[:8]}" if self.dirty else self.commit[:7]


@dataclass(frozen=True)
class Tree(Artifact):
    """The source as files in folder `path` on `host`, byte for byte the git tree `source.tree`."""

    kind: ClassVar[str] = "tree"
    source: Source
    host: str
    path: str

    @property
    def id(self) -> str:
        return self.source.id


@dataclass(frozen=True)
class Bundle(Artifact):
    """A built image archive on the host that built it.

    `store_path` is where it lies, `nar_hash` the content hash nix keeps of it, `config` the image's config digest (its image id),
    `drv` the derivation it came from, `size` in bytes.
    """

    kind: ClassVar[str] = "bundle"
    source: Source
    host: str
    store_path: str
    nar_hash: str
    config: str
    drv: str = ""
    size: int = 0

    @property
    def id(self) -> str:
        return f"{self.source.id}/{self.config}"


@dataclass(frozen=True)
class Image(Artifact):
    """One image in a registry: `repository` (with the registry, no scheme), manifest `digest`, its `tag`, image `config` digest."""

    kind: ClassVar[str] = "image"
    repository: str
    digest: str
    tag: str
    config: str = ""

    @property
    def id(self) -> str:
        return self.reference

    @property
    def reference(self) -> str:
        """By digest, the only form that is deployed."""
        return f"{self.repository}@{self.digest}"


@dataclass(frozen=True)
class Moved:
    """A tag that was put on an image, and the digest it stood for before ("" where it was new)."""

    repository: str
    tag: str
    before: str


@dataclass(frozen=True)
class Images(Artifact):
    """What one build gave, complete: a set is deployed whole or not at all. `images` maps the image's name to it.

    `moved` is what making it did to tags: news for the record, no part of what the set is.
    """

    kind: ClassVar[str] = "images"
    source: Source
    images: tuple[Image, ...]
    moved: tuple[Moved, ...] = dataclasses.field(default=(), compare=False)

    @property
    def id(self) -> str:
        return f"{self.source.id}/" + ",".join(image.digest for image in self.images)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(image.tag for image in self.images)


@dataclass(frozen=True)
class Release(Artifact):
    """What a cluster runs: the helm `revision`, and `inputs`, the content hash of image, chart and values it was made from."""

    kind: ClassVar[str] = "release"
    source: Source
    images: tuple[Image, ...]
    cluster: str
    namespace: str
    name: str
    revision: int
    inputs: str

    @property
    def id(self) -> str:
        return f"{self.cluster}/{self.namespace}/{self.name}/{self.inputs}"


@dataclass(frozen=True)
class Check:
    """One check of a verification: what was asked, whether it held, and the evidence seen."""

    name: str
    passed: bool
    evidence: str


@dataclass(frozen=True)
class Report(Artifact):
    """Every check made of a release, with its evidence."""

    kind: ClassVar[str] = "report"
    release: Release
    checks: tuple[Check, ...]
    url: str = ""

    @property
    def id(self) -> str:
        return f"{self.release.id}/" + ("passed" if self.passed else "failed")

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)


@dataclass(frozen=True)
class Infra(Artifact):
    """What Terraform made for `name` (a blueprint in an environment), by its state: `lineage` and `serial`, and how many `resources`."""

    kind: ClassVar[str] = "infra"
    name: str
    lineage: str
    serial: int
    resources: int

    @property
    def id(self) -> str:
        return f"{self.name}/{self.lineage}/{self.serial}"


KINDS: dict[str, type[Artifact]] = {cls.kind: cls for cls in (Source, Tree, Bundle, Image, Images, Release, Report, Infra)}


PARTS: dict[str, type[Any]] = {cls.__name__: cls for cls in (Source, Image, Moved, Release, Check)}
PLAIN: dict[str, type[Any]] = {"str": str, "bool": bool, "int": int}


def content_hash(value: Any) -> str:
    """sha256 of a JSON value in canonical form, as hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def to_json(artifact: Artifact) -> dict[str, Any]:
    """The artifact as plain JSON values; `from_json` gives it back equal."""
    return {"kind": artifact.kind, **dataclasses.asdict(artifact)}


def from_json(value: dict[str, Any]) -> Artifact:
    """The artifact that `to_json` wrote. Raises KeyError, TypeError or ValueError where `value` is not one."""
    if not isinstance(value, dict):
        raise TypeError("an artifact is a mapping")
    fields = dict(value)
    artifact: Artifact = _build(KINDS[fields.pop("kind")], fields)
    return artifact


def _build(cls: type[Any], fields: Any) -> Any:
    if not isinstance(fields, dict):
        raise TypeError(f"{cls.__name__} is a mapping")
    hints = {field.name: str(field.type) for field in dataclasses.fields(cls)}
    if extra := fields.keys() - hints:
        raise ValueError(f"{cls.__name__} has no field {min(extra)!r}")
    return cls(**{name: _field(f"{cls.__name__}.{name}", hints[name], value) for name, value in fields.items()})


def _field(name: str, hint: str, value: Any) -> Any:
    """`value` as a field of the type that is written `hint` above: nothing is converted, what was not written by `to_json` is refused."""
    if hint in PARTS:
        return _build(PARTS[hint], value)
    if hint.startswith("tuple["):
        if not isinstance(value, list | tuple):
            raise TypeError(f"{name} is a list")
        return tuple(_build(PARTS[hint[len("tuple[") : -len(", ...]")]], item) for item in value)
    if type(value) is not PLAIN[hint]:
        raise TypeError(f"{name} is {hint}")
    return value
