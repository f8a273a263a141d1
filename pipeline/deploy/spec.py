"""What a blueprint says about a release: of Helm's chart here, and what every deploy driver says alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from pipeline.tools import semver
from pipeline.tools.references import DIGEST

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")  # RFC 1123, what Kubernetes demands of a namespace
SCHEME = "oci://"
KEY = re.compile(r"[A-Za-z0-9._-]+")
RELEASE_LENGTH = 53  # Helm keeps ten characters of the 63 for what charts append


@dataclass(frozen=True)
class Keeper:
    """Who keeps a release's revisions, one Secret each: the Secrets' label `owner`, and how their names begin."""

    owner: str
    prefix: str


HELM = Keeper("helm", "sh.helm.release.v1")
OURS = Keeper("pipeline", "pipeline.release.v1")  # of manifests: laid out as Helm's are, so that all that reads those reads these


@dataclass(frozen=True)
class SecretSpec:
    """A Kubernetes Secret that is kept in step before helm runs: `name`, and for each key a secret source or "value:NAME" of the site."""

    name: str
    data: Mapping[str, str]

    def __post_init__(self) -> None:
        name_of("secret", self.name, 253)
        for key in self.data:
            if not KEY.fullmatch(key):
                raise ValueError(f"{key!r} is not a key of a Secret: letters, digits, '.', '_' and '-'")


class Spec(Protocol):
    """What every deploy driver's options say: what locks, follows and diagnoses needs no more. `lock` is the namespace and the name of
    the release's lock, `managers` are the field managers by which its own tools write."""

    keeper: ClassVar[Keeper]

    @property
    def managers(self) -> tuple[str, ...]: ...
    @property
    def cluster(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def release(self) -> str: ...
    @property
    def lock(self) -> tuple[str, str]: ...
    @property
    def secret(self) -> SecretSpec | None: ...
    @property
    def rollback(self) -> Literal["previous", "never"]: ...
    @property
    def deadline(self) -> float: ...
    @property
    def restarts(self) -> int: ...
    @property
    def pull(self) -> Literal["prove", "skip", "side-load"]: ...
    @property
    def create_namespace(self) -> bool: ...


class Engined(Spec, Protocol):
    """The same of a driver that changes the cluster itself. `engine` is the module whose `engine(spec, site, kube)` gives what only its own
    tool can do (see `pipeline.deploy.work.Engine`)."""

    engine: ClassVar[str]


@dataclass(frozen=True)
class Helm:
    """A Helm release. `chart` is a folder relative to the working copy, PACKAGE:FOLDER of an installed package (pipeline:chart is the
    library's own), or oci://REGISTRY/PATH in a registry of the site or on a host. Of that, `version` says which: one (1.2.3, or
    1.2.3@sha256:… to pin its content), a range (^1.2), or latest; `pinned` refuses all but one. `source` is the folder that `inv
    chart.push` publishes there, and its version is the one that is meant where `version` says none.

    `values_files` of the working copy are laid over each other in their order, as they are written, and `values` over all of them.
    Strings in `values` may hold {repository}, {digest}, {tag}, {reference}, of several images {name.digest} and so on, {commit}, {short},
    {app}, {secret} (a fingerprint that changes with the Secret) and {secret.name} (what the Secret of this content alone is called).

    `rollback` says what happens to a release that does not come up, `deadline` (seconds) and `restarts` (how often a container ends) when
    that is decided, `pull` whether a node has to prove first that it can pull the image, `create_namespace` that a missing one is made.
    """

    engine: ClassVar[str] = "pipeline.deploy.by_helm"
    keeper: ClassVar[Keeper] = HELM
    managers: ClassVar[tuple[str, ...]] = ("helm", "Helm", "pipeline")

    cluster: str
    namespace: str
    release: str
    chart: str = "chart"
    version: str = ""
    pinned: bool = False
    source: str = ""
    values_files: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    secret: SecretSpec | None = None
    rollback: Literal["previous", "never"] = "previous"
    deadline: float = 300.0
    restarts: int = 2
    pull: Literal["prove", "skip", "side-load"] = "prove"
    create_namespace: bool = False

    def __post_init__(self) -> None:
        name_of("namespace", self.namespace, 63)
        name_of("release", self.release, RELEASE_LENGTH)
        self._check_chart()
        for file in self.values_files:
            inside("values file", "file", file)
        patient(self.deadline, self.restarts)

    @property
    def lock(self) -> tuple[str, str]:
        return self.namespace, self.release

    def _check_chart(self) -> None:
        if not self.chart.startswith(SCHEME):
            inside("chart", "folder", self.chart)
            if said := next((name for name in ("version", "pinned", "source") if getattr(self, name)), ""):
                raise ValueError(f"{said} is said of a chart in a registry (chart: {SCHEME}REGISTRY/PATH), not of a folder")
            return
        if self.source:
            inside("source", "folder", self.source)
        if not (self.version or self.source):
            raise ValueError("a chart in a registry has a version: 1.2.3, a range as ^1.2, or latest; or the source that says it")
        number, at, digest = self.version.partition("@")
        if at and not (semver.parse(number) and DIGEST.fullmatch(digest)):
            raise ValueError(f"version {self.version!r} pins nothing: write 1.2.3@sha256:… with 64 hex digits")
        if self.pinned and self.version and semver.parse(number) is None:
            raise ValueError(f"version {self.version!r} may be another chart tomorrow, and the blueprint says pinned: write 1.2.3")


def patient(deadline: float, restarts: int) -> None:
    """Raises ValueError where these cannot bound a rollout."""
    if not 1 <= deadline <= 86_400:
        raise ValueError("deadline is between 1 and 86400 seconds")
    if restarts < 1:
        raise ValueError("restarts is at least 1")


def inside(what: str, kind: str, path: str) -> None:
    """Raises ValueError where `path` does not name a file or folder below the working copy."""
    if not path or path.startswith(("-", "/")) or ".." in path.split("/") or "\0" in path:
        raise ValueError(f"{what} {path!r} is not a {kind} inside the working copy")


def name_of(what: str, value: str, longest: int) -> None:
    """Raises ValueError where `value` is not a name Kubernetes takes. Source: RFC 1123, section 2.1"""
    if len(value) > longest or not LABEL.fullmatch(value):
        raise ValueError(f"{what} {value!r} is not a name: lower-case letters, digits and '-', at most {longest}, first and last no '-'")
