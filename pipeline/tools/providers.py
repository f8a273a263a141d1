"""Registries that have ways of their own: Docker Hub's names and token host, GitHub's token kinds. Facts, no requests."""

from __future__ import annotations

from dataclasses import dataclass

HUB = "registry-1.docker.io"
HUB_NAMES = ("docker.io", "index.docker.io", "registry.hub.docker.com", HUB)
GHCR, DOCKER_HUB = "ghcr", "dockerhub"


@dataclass(frozen=True)
class Provider:
    """What to know of a registry. `name` is GHCR, DOCKER_HUB or "" for any other; `keys` are what docker's files call it beside its
    address, `server` what its credential helpers are asked for; `realm` is the one token place on another host that is its own, "" for
    none; `tokens` are the variables that may hold a password for it, and whether before or after those files; `stores` are the hosts that
    it sends downloads of content on to."""

    name: str
    keys: tuple[str, ...] = ()
    server: str = ""
    realm: str = ""
    tokens: tuple[tuple[str, bool], ...] = ()
    stores: tuple[str, ...] = ()


# https://docs.docker.com/reference/cli/docker/login/ and https://distribution.github.io/distribution/spec/auth/token/
OF_HUB = Provider(
    DOCKER_HUB, ("docker.io", "index.docker.io", HUB), "https://index.docker.io/v1/", "https://auth.docker.io/token",
    stores=(
        "production.cloudflare.docker.com", "production.cloudfront.docker.com",  # https://docs.docker.com/desktop/setup/allow-list/
        "docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com",
    ),
)  # fmt: skip
# https://docs.github.com/packages/working-with-a-github-packages-registry/working-with-the-container-registry
OF_GHCR = Provider(GHCR, tokens=(("GHCR_PAT", True), ("GITHUB_TOKEN", False)), stores=("pkg-containers.githubusercontent.com",))
# https://docs.gitlab.com/administration/packages/container_registry/ names GitLab itself as the realm of its registry
OF_GITLAB = Provider("", realm="https://gitlab.com/jwt/auth")


def provider_of(address: str, name: str = "") -> Provider:
    """The provider `name`, or the one that the address says."""
    host = address.lower()
    if name == DOCKER_HUB or (not name and host in HUB_NAMES):
        return OF_HUB
    if name == GHCR or (not name and host == "ghcr.io"):
        return OF_GHCR
    return OF_GITLAB if not name and host == "registry.gitlab.com" else Provider("")


def endpoint(address: str) -> str:
    """Where the registry that people call `address` answers: Docker Hub is not at docker.io."""
    return HUB if address.lower() in HUB_NAMES else address


def full_name(address: str, repository: str) -> str:
    """The repository as the registry at `address` knows it: on Docker Hub `debian` is `library/debian`."""
    return f"library/{repository}" if endpoint(address) == HUB and "/" not in repository else repository
