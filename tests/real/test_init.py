"""The first hour on the lab: `inv init` in a fresh repository, the lab's addresses, a release, and the doctor's fixes."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.init.shapes import DEPLOYMENT, Repository, repository
from tests.init.shapes import call as inv

SERVER = 'FROM python:3.11-slim-bookworm\nCOPY healthz /srv/healthz\nWORKDIR /srv\nCMD ["python3", "-m", "http.server", "80"]\n'
pytestmark = pytest.mark.real


@pytest.fixture
def site(lab_site_file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(lab_site_file.read_text())
    return found


@pytest.fixture
def app(site: dict[str, Any]) -> Iterator[str]:
    name = f"first-{uuid.uuid4().hex[:6]}"
    yield name
    kubeconfig = site["clusters"]["railiance01"]["kubeconfig"]
    argv = [site["tools"]["kubectl"], "--kubeconfig", kubeconfig, "delete", "namespace", name, "--ignore-not-found", "--wait=false"]
    subprocess.run(argv, check=False, capture_output=True)


def fresh(root: Path, app: str, site: dict[str, Any]) -> Repository:
    files = {"Dockerfile": SERVER, "healthz": "ok\n", "k8s/web.yaml": DEPLOYMENT.format(name=app, image=f"acme/{app}:1")}
    made = repository(root, {**files, ".gitignore": "config/site.yml\n.pipeline/\n"}, f"git@github.com:acme/{app}.git")
    made.write({"config/site.yml": yaml.safe_dump(site)})
    return made


def test_what_init_wrote_is_released_as_it_is(tmp_path: Path, app: str, site: dict[str, Any]) -> None:
    made = fresh(tmp_path / "r", app, site)
    inv(made, "init")
    made.commit()
    assert "to do" in inv(made, "plan").stdout
    inv(made, "release")
    assert "1 ready on sha256:" in inv(made, "verify").stdout
    inv(made, "remove", app, "--yes")


def test_the_doctor_mends_what_is_safe_and_nothing_else(tmp_path: Path, app: str, site: dict[str, Any]) -> None:
    known = tmp_path / "known"
    site["hosts"]["railiance01"]["known_hosts"] = str(known)
    made = fresh(tmp_path / "r", app, site)
    inv(made, "init")
    blueprint = f"config/{app}.yml"
    made.write({blueprint: made.text(blueprint).replace("    create_namespace: true\n", "")})
    made.commit()
    left = inv(made, "doctor", "--fix", code=12).stderr
    assert not known.exists()
    assert f"left  create the namespace {app}" in left
    key = left.partition("--host-key ")[2].partition(",")[0]
    assert f"done  create the namespace {app}" in inv(made, "doctor", "--fix", "--yes", code=12).stderr
    assert not known.exists()
    assert "done  trust" in inv(made, "doctor", "--fix", "--host-key", key).stderr
    before = known.read_text()
    assert inv(made, "doctor", "--fix", "--yes", "--host-key", key).stderr == ""
    assert known.read_text() == before
