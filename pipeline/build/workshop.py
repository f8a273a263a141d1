"""What a build needs around it, made for one run and gone afterwards: the source's files, the registries' accounts, the secrets.

Accounts and secrets lie in a folder of this user's alone, in memory where the machine has a place for it: never in an argv or in an
environment, which others can read.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.artifacts import Source
from pipeline.build.buildx_spec import Buildx, ImageSpec
from pipeline.errors import ConfigError
from pipeline.source.repository import Repository
from pipeline.stage import Site
from pipeline.tools.registry import client_of

PREFIX = "pipeline-buildx-"
OURS = re.compile(rf"{PREFIX}(\d+)-")
HUB = "https://index.docker.io/v1/"  # what Docker Hub is called in Docker's own configuration
OF_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True)
class Workshop:
    """`files` is the source as git has it, `private` the folder of what nobody else may read."""

    site: Site
    files: Path
    private: Path
    _secrets: dict[str, Path] = field(default_factory=dict)

    @property
    def env(self) -> Mapping[str, str]:
        """For every call of buildx: its own settings are not this user's, and nothing is built by default that was not asked for."""
        return {
            "DOCKER_CONFIG": str(self.private),
            "BUILDX_CONFIG": str(self.private / "buildx"),
            "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
            "BUILDX_METADATA_PROVENANCE": "disabled",
            "BUILDX_METADATA_WARNINGS": "0",
            "BUILDKIT_COLORS": "",
            "NO_COLOR": "1",
        }

    def context(self, image: ImageSpec) -> tuple[Path, str]:
        """The folder and the Dockerfile ("" for the one of the folder). Raises ConfigError where the source has no such thing."""
        folder = self._inside(image.context, "context")
        if not folder.is_dir():
            raise ConfigError(f"context {image.context} is not a folder of the source", mend="correct it; what git ignores does not travel")
        named = image.dockerfile or f"{image.context}/Dockerfile"
        file = self._inside(named, "dockerfile")
        if not file.is_file():
            raise ConfigError(f"the source has no {named}", mend="correct dockerfile; what git ignores does not travel")
        return folder, str(file)

    def secret(self, source: str) -> str:
        """The file that holds a secret. Raises AuthError or ConfigError where it cannot be read."""
        if source not in self._secrets:
            path = self.private / f"secret-{len(self._secrets)}"
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(self.site.secrets.get(source).reveal())
            self._secrets[source] = path
        return str(self._secrets[source])

    def log_in(self, spec: Buildx) -> None:
        """Write the accounts down as Docker's configuration has them."""
        auths = {}
        for name, repositories in _registries(spec).items():
            registry = self.site.registry(name)
            if registry.realm == "own":
                # buildx would follow the realm that the registry names; a token of our own it takes as it is
                header = client_of(self.site, name).authorization.header(repositories[0] if repositories else "", many=True)
                entry = {"registrytoken": header.removeprefix("Bearer ")} if header.startswith("Bearer ") else {}
            else:
                entry = _login(self.site, name)
            if entry:
                auths[HUB if registry.address in OF_HUB else registry.address] = entry
        path = self.private / "config.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps({"auths": auths}))

    def _inside(self, path: str, what: str) -> Path:
        """A path in the source; a symbolic link that leads out of it would send this machine's files."""
        found = (self.files / path).resolve()
        if not found.is_relative_to(self.files.resolve()):
            raise ConfigError(f"{what} {path} leads out of the source", mend="copy what it needs into the source")
        return found


@contextlib.contextmanager
def opened(spec: Buildx, source: Source, site: Site) -> Iterator[Workshop]:
    """A workshop for this source; what a killed run of this user left is removed. Raises ConfigError, AuthError, ResourceError."""
    memory = Path("/dev/shm")  # noqa: S108  # the folder made there is this user's own
    place = str(memory) if os.access(memory, os.W_OK) else None
    for folder in {memory, Path(tempfile.gettempdir())}:
        _sweep(folder)
    with (
        tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as files,
        tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=place) as private,
    ):
        shop = Workshop(site, Path(files) / "source", Path(private))
        _check_out(source, shop.files, Path(files) / "index", site.tool("git"))
        shop.log_in(spec)
        yield shop


def _check_out(source: Source, target: Path, index: Path, program: str) -> None:
    """The files of the source's tree, as git has them, whatever lies in the working copy by now."""
    target.mkdir()
    repository, env = Repository(Path(source.path), program), {"GIT_INDEX_FILE": str(index)}
    repository.run("read-tree", source.tree, env=env)
    repository.run("checkout-index", "--all", "--force", f"--prefix={target}/", env=env)


def _registries(spec: Buildx) -> dict[str, list[str]]:
    """The registries whose accounts the build needs, with the repositories it writes to."""
    others = {name: list[str]() for name in spec.logins if name != spec.registry}
    return {spec.registry: [image.repository for image in spec.images.values()], **others}


def _login(site: Site, name: str) -> dict[str, str]:
    registry = site.registry(name)
    if not registry.username:
        return {}
    pair = f"{registry.username}:{site.secrets.get(registry.password).reveal() if registry.password else ''}"
    auth = base64.b64encode(pair.encode()).decode()
    site.secrets.guard(auth)
    return {"auth": auth}


def _sweep(place: Path) -> None:
    """Remove what a run that was killed has left."""
    for path in place.glob(f"{PREFIX}*"):
        found = OURS.match(path.name)
        with contextlib.suppress(OSError):
            if found and path.stat().st_uid == os.geteuid() and not Path(f"/proc/{found[1]}").exists():
                shutil.rmtree(path, ignore_errors=True)
