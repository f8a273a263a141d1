"""The lab for the tests that run on real parts: loud where it is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.events import Event
from pipeline.plan import Blueprint, load
from pipeline.stage import Site

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def lab_site_file() -> Path:
    """The site file of the lab of this working copy. A test that needs the lab fails where there is none: nobody sees a skip."""
    path = ROOT / ".pipeline" / "lab" / "site.yml"
    if not path.exists():
        pytest.fail("these tests run on the lab: start it with `inv lab.up`, or leave them out with `-m 'not real'`", pytrace=False)
    return path


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
    import dataclasses

    from pipeline.records import Records

    with dataclasses.replace(blueprint.site(events.append), records=Records(tmp_path / "records.db")) as own:
        yield own
