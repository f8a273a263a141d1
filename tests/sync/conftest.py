from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.events import Event
from pipeline.records import Records
from pipeline.stage import Site
from tests.source.worktree import Worktree
from tests.sync.machine import Machine


@pytest.fixture
def work(tmp_path: Path) -> Worktree:
    work = Worktree(tmp_path / "work")
    work.write(".gitignore", ".pipeline/\n")
    work.write("README", "hello\n")
    work.write("src/main.c", "int main;\n" * 200)
    work.commit()
    return work


@pytest.fixture(params=["sh", "busybox"])
def machine(tmp_path: Path, request: pytest.FixtureRequest) -> Machine:
    if request.param == "busybox" and not shutil.which("busybox"):
        pytest.skip("busybox is not installed")
    return Machine(tmp_path / "state", busybox=request.param == "busybox")


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def site_of(events: list[Event]) -> Iterator[Callable[[Worktree, Machine], Site]]:
    """Makes the Site of a working copy and one build host."""
    made: list[Site] = []

    def make(work: Worktree, machine: Machine) -> Site:
        site = Site(
            app="probe",
            root=work.path,
            hosts={"builder": machine},
            remotes={},
            registries={},
            clusters={},
            tools={},
            values={},
            records=Records(work.path / ".pipeline/records.db"),
            sink=events.append,
        )
        made.append(site)
        return site

    yield make
    for site in made:
        site.records.close()


@pytest.fixture
def site(work: Worktree, machine: Machine, site_of: Callable[[Worktree, Machine], Site]) -> Site:
    return site_of(work, machine)
