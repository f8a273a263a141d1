"""What a blueprint says about a release that Flux keeps: which lines of the GitOps repository are the pipeline's, and who applies them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pipeline.deploy.spec import HELM, RELEASE_LENGTH, Keeper, SecretSpec, inside, name_of, patient


@dataclass(frozen=True)
class Flux:
    """A HelmRelease in a GitOps repository: `remote` names the site's git remote, `branch` the branch that Flux follows.

    `path` is the folder of that repository that the cluster's Kustomization applies, `file` the one with the HelmRelease (by default
    <path>/<release>/release.yaml). `values` is what the pipeline writes below its spec.values, and all that it ever writes: strings in
    them may hold {repository}, {digest}, {tag}, {reference}, of several images {name.digest} and so on, {commit}, {short}, {app} and
    {secret} (a fingerprint that changes with the Secret) and {secret.name} (what the Secret of this content alone is called).

    `system` is the namespace where Flux's own objects are, `source` the GitRepository there, `kustomization` the Kustomization that applies
    `file`. `sign` signs each commit with the key that the user's git is set up for.

    `secret`, `rollback`, `deadline`, `restarts`, `pull` and `create_namespace` are as for helm; going back is a commit too.
    """

    keeper: ClassVar[Keeper] = HELM  # helm-controller stores releases as Helm does
    managers: ClassVar[tuple[str, ...]] = ("helm-controller", "pipeline")

    cluster: str
    remote: str
    namespace: str
    release: str
    values: Mapping[str, Any] = field(default_factory=dict)
    branch: str = "main"
    path: str = "clusters/production"
    file: str = ""
    system: str = "flux-system"
    source: str = "flux-system"
    kustomization: str = "flux-system"
    sign: bool = False
    secret: SecretSpec | None = None
    rollback: Literal["previous", "never"] = "previous"
    deadline: float = 300.0
    restarts: int = 2
    pull: Literal["prove", "skip", "side-load"] = "prove"
    create_namespace: bool = False

    def __post_init__(self) -> None:
        name_of("namespace", self.namespace, 63)
        name_of("release", self.release, RELEASE_LENGTH)
        name_of("system", self.system, 63)
        inside("path", "folder", self.path)
        if self.file:
            inside("file", "file", self.file)
        if not self.values:
            raise ValueError("values is empty: name at least one line that a release changes, as image: {digest: '{digest}'}")
        patient(self.deadline, self.restarts)

    @property
    def lock(self) -> tuple[str, str]:
        """Beside Flux's own objects: the release's namespace may come with the release. Two namespaces may have a release of one name."""
        return self.system, self.release if self.namespace == self.release else f"{self.namespace}.{self.release}"

    @property
    def written(self) -> str:
        """The file that holds the HelmRelease."""
        return self.file or f"{self.path}/{self.release}/release.yaml"
