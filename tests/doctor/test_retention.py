"""How many images there are: the doctor speaks up from the first that is more than is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.doctor import retention
from pipeline.stage import Registry, Store
from pipeline.testing.registry import FakeRegistry
from pipeline.testing.registry_handler import PASSWORD, USER

from .parts import site

REPOSITORY = "team/app"


@pytest.mark.parametrize(("count", "status"), [(0, "ok"), (5, "ok"), (6, "warn")])
def test_from_the_sixth_image_on_it_is_told(tmp_path: Path, count: int, status: str) -> None:
    with FakeRegistry() as fake:
        for number in range(count):
            fake.put(REPOSITORY, f"{number:07x}", (str(number).encode(),), str(number).encode())
        fake.put(REPOSITORY, "f" * 7, (b"0",), b"0")  # where there is one: a second tag of it
        for tag in ("latest", "v1", "main"):
            fake.put(REPOSITORY, tag, (tag.encode(),), tag.encode())
        registries = {"hub": Registry(fake.address, "http", "own", USER, "env:P", "none")}
        with site(tmp_path, registries=registries, env={"P": PASSWORD}) as there:
            (verdict,) = retention.look(Store("hub", REPOSITORY, ("([0-9a-f]{7})",)), 5, there)
        assert verdict.status == status
        assert (f"{count} images are in" if count > 1 else "1 image is in") in verdict.evidence
        assert ("inv prune" in verdict.mend) == (status == "warn")
        assert {asked.method for asked in fake.asked} <= {"GET", "HEAD"}
