"""What a blueprint says about a release of plain manifests: YAML that kubectl applies, or jsonnet that kubecfg applies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pipeline.deploy.manifest_images import Replaced
from pipeline.deploy.spec import OURS, RELEASE_LENGTH, Keeper, SecretSpec, name_of, patient

WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # a jsonnet identifier, which a function's parameter has to be


@dataclass(frozen=True)
class Manifests:
    """What both drivers of manifests take. `name` is the release's: every object gets the label app.kubernetes.io/instance with it.

    `manifests` is a file or a folder of the working copy. `values` are handed to them, as each driver says; strings in them may hold
    {reference}, {repository}, {digest}, {tag} (of a set of images {relay.reference}, …), {commit}, {short}, {app} and {secret} (a
    fingerprint that changes with the Secret). `prune` deletes what the release before had and this one does not. `conflicts` says what
    becomes of a field that somebody else set: `take` it, telling whose it was, or `refuse` to deploy. `adopt` lets the release take
    over objects that are there and are nobody's.

    `images` says which of the images that the manifests name the build made, each by its `name` and, of a set, the `newName` that it was
    pushed to ("{web.repository}"), as kustomize has it: those lines get the digest, and the files stay as they are.

    `secret`, `rollback`, `deadline`, `restarts`, `pull` and `create_namespace` are as for helm.
    """

    engine: ClassVar[str] = "pipeline.deploy.by_manifests"
    keeper: ClassVar[Keeper] = OURS
    program: ClassVar[str] = ""
    managers: ClassVar[tuple[str, ...]] = ()  # the field managers by which this driver itself writes

    cluster: str
    namespace: str
    name: str
    manifests: str = "manifests"
    values: Mapping[str, Any] = field(default_factory=dict)
    images: tuple[Replaced, ...] = ()
    secret: SecretSpec | None = None
    prune: bool = True
    conflicts: Literal["take", "refuse"] = "take"
    adopt: bool = False
    rollback: Literal["previous", "never"] = "previous"
    deadline: float = 300.0
    restarts: int = 2
    pull: Literal["prove", "skip", "side-load"] = "prove"
    create_namespace: bool = False

    def __post_init__(self) -> None:
        name_of("namespace", self.namespace, 63)
        name_of("name", self.name, RELEASE_LENGTH)
        inside("manifests", self.manifests)
        for key in self.values:
            if not WORD.fullmatch(key):
                raise ValueError(f"values: {key!r} is not a name: letters, digits and '_', not beginning with a digit")
        patient(self.deadline, self.restarts)

    @property
    def release(self) -> str:
        return self.name

    @property
    def lock(self) -> tuple[str, str]:
        return self.namespace, self.name


@dataclass(frozen=True)
class Kubectl(Manifests):
    """YAML manifests, applied on the server by kubectl. `manifests` is a .yaml, .yml or .json file, or a folder of them; one with a
    kustomization is rendered by `kubectl kustomize`, and the images of the build in it are written by their digests.

    A manifest is applied as it is written, braces too, unless `placeholders` names its file (within the folder, * for any): in the strings
    of such a file the words that `values` may hold are filled in, and so is {values.NAME}; if a string is nothing but that, it becomes
    the value itself (a number, a list). Braces around anything else, and ${…}, are left as they are.
    """

    program: ClassVar[str] = "kubectl"
    managers: ClassVar[tuple[str, ...]] = ("pipeline",)

    placeholders: tuple[str, ...] = ()

    __doc__ = f"{__doc__}\n\n{Manifests.__doc__}"


@dataclass(frozen=True)
class Kubecfg(Manifests):
    """Manifests in jsonnet, applied by kubecfg. `manifests` is a .jsonnet or .json file, or a folder, of which each .jsonnet file is
    evaluated.

    `values` are the top-level arguments, `external` the external variables (std.extVar); `libraries` are folders of the working copy
    where imports are looked for too. Nothing is imported from the network.
    """

    program: ClassVar[str] = "kubecfg"
    managers: ClassVar[tuple[str, ...]] = ("kubecfg",)

    external: Mapping[str, Any] = field(default_factory=dict)
    libraries: tuple[str, ...] = ()

    __doc__ = f"{__doc__}\n\n{Manifests.__doc__}"

    def __post_init__(self) -> None:
        super().__post_init__()
        for folder in self.libraries:
            inside("libraries", folder)
        for key in self.external:
            if not key or "=" in key or key.startswith("-"):
                raise ValueError(f"external: {key!r} is not a name")


def inside(what: str, folder: str) -> None:
    """Raises ValueError where `folder` is not a path below the working copy."""
    if not folder or folder.startswith(("-", "/")) or ".." in folder.split("/") or "\0" in folder:
        raise ValueError(f"{what} {folder!r} is not inside the working copy")
