"""The options of a build with buildx: a set of images, each as its Dockerfile needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from pipeline.errors import ConfigError
from pipeline.tools import buildx, references, tag_rules
from pipeline.yamlfile import keys_like

PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/386", "linux/ppc64le", "linux/riscv64", "linux/s390x")
REGISTRY = "registry"  # a cache beside the images


@dataclass(frozen=True)
class ImageSpec:
    """One image: `repository` is its path in the registry, `context` and `dockerfile` are paths in the source (the Dockerfile of the
    context where none is named), `target` a stage of it, `args` its build arguments, which everybody may read in the image's history.

    `platforms` are as in linux/arm64; none means the builder's own. `secrets` maps the ids that RUN --mount=type=secret names to where
    each is (env:NAME, file:PATH, …): they are in no layer and in no history.
    """

    repository: str
    context: str = "."
    dockerfile: str = ""
    target: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    platforms: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        references.repository(self.repository)
        for what, path in (("context", self.context), ("dockerfile", self.dockerfile)):
            if path.startswith(("-", "/")) or ".." in PurePosixPath(path).parts:
                raise ValueError(f"{what} {path!r} is not a path within the source")
        if self.target and not buildx.WORD.fullmatch(self.target):
            raise ValueError(f"target {self.target!r} is not the name of a stage")
        for platform in self.platforms:
            if not buildx.PLATFORM.fullmatch(platform):
                raise ConfigError(
                    f"{platform!r} is not a platform{keys_like(platform, list(PLATFORMS))}", mend=f"platforms are: {', '.join(PLATFORMS)}"
                )
        for what, name in [("argument", name) for name in self.args] + [("secret", name) for name in self.secrets]:
            if not buildx.WORD.fullmatch(name):
                raise ValueError(f"{what} {name!r} is not a name")


@dataclass(frozen=True)
class Buildx:
    """Images built by BuildKit from the source as git names it, and pushed to the site's `registry`: no push stage follows.

    `builders` are the site's, one for each architecture where there is one that has it natively; none means this machine's Docker.
    `images` maps a name of yours to each image. All are tagged by the rules `tags` (none: branch, tag, pr, sha) once all of them are
    there. `cache` has the lists `from` and `to` of what buildx calls caches; the word `registry` is a cache beside the images.
    `provenance` is what BuildKit attests (none, min, max: with max everybody reads the build arguments). `logins` are registries of the
    site whose account the build needs for base images. `timeout` is for one image, in seconds.
    """

    registry: str
    images: Mapping[str, ImageSpec]
    builders: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    cache: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    provenance: Literal["none", "min", "max"] = "none"
    logins: tuple[str, ...] = ()
    timeout: float = 3600.0

    def __post_init__(self) -> None:
        if not self.images:
            raise ValueError("images names no image")
        tag_rules.parse(self.tags)
        homes = [image.repository for image in self.images.values()]
        if twice := next((home for home in homes if homes.count(home) > 1), ""):
            raise ValueError(f"two images go to {twice}: a tag stands for one image")
        for name in self.images:
            if not buildx.WORD.fullmatch(name):
                raise ValueError(f"image {name!r} has a name that is none: letters, digits, . _ and -")
        for way, caches in self.cache.items():
            if way not in ("from", "to"):
                raise ValueError(f"cache takes from and to, not {way!r}{keys_like(way, ['from', 'to'])}")
            for cache in caches:
                if cache != REGISTRY and not buildx.CACHE.fullmatch(cache):
                    raise ValueError(f"cache {cache!r} is neither the word registry nor like type=registry,ref=…")
        if self.timeout <= 0:
            raise ValueError("timeout is more than 0 seconds")
        # written in another order it is the same
        object.__setattr__(self, "images", dict(sorted(self.images.items())))
