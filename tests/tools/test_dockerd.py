from __future__ import annotations

from pathlib import Path
from typing import Any

import docker
import pytest

from pipeline.errors import AuthError, ConfigError
from pipeline.tools.dockerd import Engine, unreachable

CASES = Path(__file__).parents[1] / "cases" / "dockerd"
IMAGE = "10.0.0.1:5000/team/relay@sha256:" + "d1" * 32


def test_a_docker_that_is_not_there_is_a_mistake_of_the_site(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no Docker at unix://"):
        Engine("lab", f"unix://{tmp_path}/docker.sock").labelled("a=b")


def test_a_socket_of_others_is_a_matter_of_permission() -> None:
    error = unreachable(
        "lab", "unix:///run/docker.sock", "Error while fetching server API version: PermissionError(13, 'Permission denied')"
    )
    assert isinstance(error, AuthError)
    assert "join the group" in error.mend


def test_a_container_that_goes_while_they_are_listed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine("lab", "tcp://127.0.0.1:1")
    client = docker.DockerClient(base_url="tcp://127.0.0.1:1", version="1.41")
    stays = {"Id": "1", "Config": {"Labels": {"a": "b"}}}

    def inspect(name: str) -> dict[str, Any]:
        if name == "2":
            raise docker.errors.NotFound("no such container")
        return stays

    monkeypatch.setattr(client.api, "containers", lambda **_options: [{"Id": "1"}, {"Id": "2"}])
    monkeypatch.setattr(client.api, "inspect_container", inspect)
    monkeypatch.setattr(engine, "_client", client)
    assert engine.labelled("a=b") == {"1": {"a": "b"}}
