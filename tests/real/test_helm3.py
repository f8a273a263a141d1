"""Helm 3 and Helm 4 on the same release: whichever a workstation has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.lab import programs
from tests.real.app import App, application

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]  # it is built on first use


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, lab_site_file: Path) -> Iterator[App]:
    with application("helmsmen", tmp_path_factory.mktemp("helmsmen")) as made:
        yield made


def with_helm(app: App, path: str) -> None:
    link = app.root / ".pipeline/lab/site.yml"
    site = yaml.safe_load(link.read_text())
    site["tools"]["helm"] = path
    link.unlink()
    link.write_text(yaml.safe_dump(site))


def test_a_release_of_helm_3_goes_on_with_helm_4_and_back(app: App) -> None:
    helm4 = app.site["tools"]["helm"]
    with_helm(app, str(programs.ensure("helm3") / "helm3"))
    first = app.inv("release")
    assert first.returncode == 0, first.stderr
    again = app.inv("release")
    assert "nothing to do" in again.stderr

    with_helm(app, helm4)
    unchanged = app.inv("release")
    assert "nothing to do" in unchanged.stderr, "another helm is no change"
    commit = app.change("by helm 4")
    assert app.inv("release").returncode == 0

    with_helm(app, str(programs.ensure("helm3") / "helm3"))
    third = app.change("by helm 3 again")
    assert app.inv("release").returncode == 0
    live = app.inv("verify")
    assert live.returncode == 0, live.stderr
    assert third in live.stdout
    assert commit not in live.stdout
