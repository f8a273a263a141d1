"""The lab for the tests that run on real parts, and in which order they run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from pipeline.events import Event
from pipeline.lab import programs
from pipeline.plan import Blueprint, load
from pipeline.records import Records
from pipeline.stage import Site

ROOT = Path(__file__).parents[2]
LONGEST = (  # files, by how long they, or the longest of their tests, take: what is begun last is waited for
    "test_kill_release", "test_kill", "test_flux_driver", "test_manifests", "test_deploy", "test_helm_oci", "test_buildx",
    "test_image_automation", "test_flux_init", "test_flux_follow", "test_checks", "test_workflow", "test_acceptance", "test_operator",
    "test_system_fade", "test_system_tokenplace", "test_system_relay", "test_replication_checks", "test_gitops_repository", "test_helm3",
)  # fmt: skip

APART = (  # files whose tests share nothing that costs to make: each test goes to whoever is free, or one worker would be the last for long
    "test_flux_driver", "test_deploy", "test_helm_oci", "test_buildx", "test_image_automation", "test_flux_init", "test_gitops_repository",
    "test_hub", "test_push", "test_build", "test_verify",
)  # fmt: skip


class Sharing(LoadFileScheduling):  # type: ignore[misc]
    """Gives the tests of a file to one worker, and those of `APART` to whoever is free."""

    def _split_scope(self, nodeid: str) -> str:
        return share(nodeid)


def share(nodeid: str) -> str:
    """Return what goes to one worker as a whole, of which this test is one: its file, or itself."""
    file = nodeid.partition("::")[0]
    return nodeid if Path(file).stem in APART else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Sharing | None:
    """Share the tests out like this if they go by files."""
    return Sharing(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)) if item.get_closest_marker("real") else 0)


@pytest.fixture
def helm(tmp_path: Path) -> Iterator[Site]:
    """A site that has helm and nothing else: no lab is needed."""
    with Site("chart", ROOT, {}, {}, {}, {}, {"helm": str(programs.ensure("helm") / "helm")}, {}, Records(tmp_path / "records.db")) as made:
        yield made


@pytest.fixture
def blueprint(lab_site_file: Path) -> Blueprint:
    """The main system's blueprint on the lab."""
    return load(ROOT / "config", "ihp-railiance-probe", "lab")


@pytest.fixture
def events() -> list[Event]:
    """Every event of the test's site, in order."""
    return []


@pytest.fixture
def lab(blueprint: Blueprint, events: list[Event], tmp_path: Path) -> Iterator[Site]:
    """The lab's site, with records of the test's own."""
    with dataclasses.replace(blueprint.site(events.append), records=Records(tmp_path / "records.db")) as own:
        yield own
