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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.artifacts import Source
from pipeline.build.buildx_spec import Buildx, ImageSpec
from pipeline.build.context import contexts
from pipeline.errors import ConfigError
from pipeline.events import What
from pipeline.source.repository import Repository
from pipeline.source.vet import vet
from pipeline.stage import Site
from pipeline.tools.credentials import login_of
from pipeline.tools.providers import provider_of
from pipeline.tools.registry import client_of

PREFIX = "pipeline-buildx-"
AS_IT_IS = ("-c", "core.autocrlf=false", "-c", "core.eol=lf", "-c", "core.attributesFile=/dev/null")
OURS = re.compile(rf"{PREFIX}(\d+)-")


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

    def log_in(self, spec: Buildx, repository: str) -> None:
        """Write down the accounts that a push to `repository` needs, as Docker's configuration has them.

        Raises ConfigError or AuthError where one cannot be read.
        """
        auths = {}
        for name in dict.fromkeys((spec.registry, *spec.logins)):
            registry, place = self.site.registry(name), repository if name == spec.registry else ""
            if entry := _realm_of_its_own(self.site, name, place) if registry.realm == "own" else _login(self.site, name, place):
                auths[provider_of(registry.address, registry.provider).server or registry.address] = entry
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
def opened(source: Source, site: Site, images: Iterable[ImageSpec]) -> Iterator[Workshop]:
    """A workshop for the images of this source; what a killed run of this user left is removed. Raises ConfigError."""
    for passed in vet(source, site.tool("git"), not_secret=site.not_secret, contexts=contexts(images)):
        site.tell(What.LOG, "build", f"travels, though it looks like a secret: {passed}")
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
        yield shop


def _check_out(source: Source, target: Path, index: Path, program: str) -> None:
    """The files of the source's tree, as git has them, whatever lies in the working copy by now or this user's settings would make of
    them."""
    target.mkdir()
    repository, env = Repository(Path(source.path), program), {"GIT_INDEX_FILE": str(index)}
    repository.run("read-tree", source.tree, env=env)
    repository.run(*AS_IT_IS, "checkout-index", "--all", "--force", f"--prefix={target}/", env=env)


def _login(site: Site, name: str, repository: str) -> dict[str, str]:
    """The account itself: buildx asks the realm, again whenever a token has run out."""
    login = login_of(site, name, repository)
    if login is None:
        return {}
    if login.kind != "password":
        return {"identitytoken" if login.kind == "identity" else "registrytoken": login.password}
    auth = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
    site.secrets.guard(auth)
    return {"auth": auth}


def _realm_of_its_own(site: Site, name: str, repository: str) -> dict[str, str]:
    """A token that we fetched: buildx takes it as it is, where it would follow the realm that the registry names."""
    header = client_of(site, name).authorization.header(repository, many=True) if repository else ""
    return {"registrytoken": header.removeprefix("Bearer ")} if header.startswith("Bearer ") else {}


def _sweep(place: Path) -> None:
    """Remove what a run that was killed has left."""
    for path in place.glob(f"{PREFIX}*"):
        found = OURS.match(path.name)
        with contextlib.suppress(OSError):
            if found and path.stat().st_uid == os.geteuid() and not Path(f"/proc/{found[1]}").exists():
                shutil.rmtree(path, ignore_errors=True)
