"""Docker Hub's names, and whose ways a registry has."""

from __future__ import annotations

import pytest

from pipeline.tools.providers import DOCKER_HUB, GHCR, HUB, endpoint, full_name, provider_of


@pytest.mark.parametrize(
    ("address", "there"),
    [
        ("docker.io", HUB),
        ("index.docker.io", HUB),
        ("Docker.IO", HUB),
        (HUB, HUB),
        ("ghcr.io", "ghcr.io"),
        ("docker.io.example", "docker.io.example"),
    ],
)
def test_where_a_registry_answers(address: str, there: str) -> None:
    assert endpoint(address) == there


@pytest.mark.parametrize(
    ("address", "repository", "name"),
    [
        ("docker.io", "debian", "library/debian"),
        (HUB, "team/app", "team/app"),
        ("ghcr.io", "debian", "debian"),
        ("127.0.0.1:5000", "x", "x"),
    ],
)
def test_docker_hub_s_own_images_are_in_its_library(address: str, repository: str, name: str) -> None:
    assert full_name(address, repository) == name


@pytest.mark.parametrize(
    ("address", "said", "name"),
    [
        ("ghcr.io", "", GHCR),
        ("docker.io", "", DOCKER_HUB),
        ("127.0.0.1:5000", "ghcr", GHCR),
        ("r.example", "", ""),
        ("r.example", "dockerhub", DOCKER_HUB),
    ],
)
def test_whose_ways_a_registry_has(address: str, said: str, name: str) -> None:
    assert provider_of(address, said).name == name


def test_docker_hub_alone_may_name_its_token_host() -> None:
    assert provider_of("docker.io").realm == "https://auth.docker.io/token"
    assert provider_of("ghcr.io").realm == ""
    assert provider_of("r.example", "ghcr").realm == ""
