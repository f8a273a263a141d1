"""The login by which Flux pulls a private chart: as the site has it, under the name that the registry goes by."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from pipeline.errors import AuthError
from pipeline.gitops import login
from pipeline.records import Records
from pipeline.secrets import Secrets
from pipeline.stage import Registry, Site
from tests.gitops.parts import place


def made(folder: Path, chart: str) -> dict[str, object]:
    """What the Secret's docker config says."""
    registries = {
        "hub": Registry("docker.io", username="owner", password="env:TOKEN"),
        "lab": Registry("10.0.0.1:5000", "http", username="lab", password="env:TOKEN"),
        "open": Registry("10.0.0.1:5001", "http", credentials="none"),
    }
    site = Site("fade", folder, {}, {}, registries, {}, {}, {}, Records(folder / "r.db"), Secrets({"TOKEN": "a-long-secret"}))
    with site:
        secret = login.secret(place(chart=chart, version="1.0.0", chart_secret="chart-login"), site)
        pair = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))["auths"].popitem()[1]["auth"]
        assert site.secrets.mask(f"x {pair}") == "x [secret]"
    assert (secret["type"], secret["metadata"]) == ("kubernetes.io/dockerconfigjson", {"name": "chart-login", "namespace": "flux-system"})
    found: dict[str, object] = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))["auths"]
    return found


def test_a_registry_by_its_name_or_its_address(tmp_path: Path) -> None:
    wanted = {"10.0.0.1:5000": {"auth": base64.b64encode(b"lab:a-long-secret").decode()}}
    assert made(tmp_path, "oci://lab/charts/fade") == wanted
    assert made(tmp_path, "oci://10.0.0.1:5000/charts/fade") == wanted


def test_docker_hub_goes_by_the_name_that_its_clients_know(tmp_path: Path) -> None:
    assert list(made(tmp_path, "oci://hub/owner/fade")) == ["https://index.docker.io/v1/"]


@pytest.mark.parametrize("chart", ["oci://open/charts/fade", "oci://ghcr.example.org/charts/fade"])
def test_without_a_login_it_is_said_how_to_make_the_secret(tmp_path: Path, chart: str) -> None:
    with pytest.raises(AuthError, match="there is no login for") as refused:
        made(tmp_path, chart)
    assert "kubectl create secret docker-registry -n flux-system chart-login" in refused.value.mend
