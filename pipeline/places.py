"""Where images are built and containers run without a cluster, by the names that a blueprint uses for it."""

from __future__ import annotations

import re
from dataclasses import dataclass

BUILDER = re.compile(r"docker|(unix://(/[A-Za-z0-9._+@=,-]+)+|(tcp|ssh)://[A-Za-z0-9][A-Za-z0-9.@:_-]*)")


@dataclass(frozen=True)
class Builder:
    """A BuildKit that images are built with.

    `address` is `unix:///path` or `tcp://host:port` of a buildkitd, `ssh://user@host` of a Docker to run one on, or `docker` for the
    Docker of this machine (DOCKER_HOST, else its usual socket). `platforms` are those it builds without emulation; none means: those it
    says itself. `ca`, `cert` and `key` are files for a buildkitd that speaks TLS; `image` is the BuildKit that a Docker runs, where it is
    not to be the one that buildx takes.
    """

    address: str
    platforms: tuple[str, ...] = ()
    ca: str = ""
    cert: str = ""
    key: str = ""
    image: str = ""

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        """What buildx is told of it, under buildx's own names."""
        named = (("cacert", self.ca), ("cert", self.cert), ("key", self.key), ("image", self.image))
        return tuple((name, value) for name, value in named if value)

    def __post_init__(self) -> None:
        """Raises ValueError for an address that cannot be one, or options that are not for it."""
        for name, value in self.options:
            if "," in value or (name == "image") is self.address.startswith(("unix://", "tcp://")):
                raise ValueError(f"{name} {value!r} is not for a builder at {self.address}")
        if not BUILDER.fullmatch(self.address):
            raise ValueError(f"{self.address!r} is not a builder's address: unix:///path, tcp://host:port, ssh://user@host or docker")


@dataclass(frozen=True)
class Docker:
    """A Docker daemon: `address` as the variable DOCKER_HOST has it, `host` the name or address where its published ports answer."""

    address: str
    host: str = ""
