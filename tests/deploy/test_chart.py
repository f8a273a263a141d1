"""Where a chart is: in the working copy, or in an installed package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.deploy import chart
from pipeline.deploy.spec import Helm
from pipeline.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that would tell if it were imported."""
    home = tmp_path / "site" / "shop_charts"
    (home / "web").mkdir(parents=True)
    (home / "__init__.py").write_text("raise RuntimeError('imported')")
    (home / "web/Chart.yaml").write_text("name: web\nversion: 1.0.0\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return home


def test_the_library_s_own_chart_is_found_and_is_the_same_by_content(tmp_path: Path) -> None:
    shipped = chart.read(tmp_path, "pipeline:chart")
    assert shipped.digest == chart.read(ROOT, "chart").digest
    assert chart.place(tmp_path, "pipeline:chart")[1] == shipped.folder


def test_a_chart_of_another_package_is_found_without_importing_it(package: Path, tmp_path: Path) -> None:
    assert chart.read(tmp_path, "shop_charts:web").folder == package / "web"
    assert "shop_charts" not in sys.modules


def test_a_package_that_is_not_installed_or_has_no_such_chart(package: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="package nowhere is not installed"):
        chart.read(tmp_path, "nowhere:chart")
    with pytest.raises(ConfigError, match="there is no chart in shop_charts:other"):
        chart.read(tmp_path, "shop_charts:other")


def test_a_chart_of_a_package_does_not_leave_it(package: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/Chart.yaml").write_text("name: web\nversion: 1.0.0\n")
    (package / "linked").symlink_to(tmp_path / "outside")
    with pytest.raises(ConfigError, match="leads out"):
        chart.read(tmp_path, "shop_charts:linked")
    for escaping in ("shop_charts:../outside", "shop_charts:web/../../outside", "shop_charts:/etc"):
        with pytest.raises(ConfigError, match="there is no chart"):
            chart.read(tmp_path, escaping)
    with pytest.raises(ValueError, match="not a folder inside"):
        Helm("k3s", "shop", "web", chart="../outside")


def test_a_folder_of_the_working_copy_is_what_it_was(tmp_path: Path) -> None:
    assert chart.place(tmp_path, "deploy/chart") == (tmp_path, tmp_path / "deploy/chart")


@pytest.mark.parametrize(
    ("name", "target", "taken"),
    [
        ("LICENSE", "../LICENSE", True),
        ("README.md", "../docs/gone.md", False),
        ("NOTICE", "/etc/hostname", False),
        ("docs", "../docs", False),
        ("Chart.lock", "../LICENSE", False),
        ("config", "../.git/config", False),
    ],
)
def test_a_link_to_a_file_of_the_repository_is_followed(tmp_path: Path, name: str, target: str, taken: bool) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/config").write_text("[core]\n")
    (tmp_path / "LICENSE").write_text("do what you like\n")
    (tmp_path / "mine/Chart.yaml").write_text("apiVersion: v2\nname: mine\nversion: 1.0.0\n")
    (tmp_path / "mine" / name).symlink_to(target)
    if taken:
        assert dict(chart.read(tmp_path, "mine").files)[name] == b"do what you like\n"
        return
    with pytest.raises(ConfigError, match="is a symbolic link"):
        chart.read(tmp_path, "mine")
