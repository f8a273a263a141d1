"""The demo brings what its blueprint needs, and nothing more."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import lab
from pipeline.lab import wanted
from pipeline.plan import load

CONFIG = Path(__file__).parents[2] / "config"


@pytest.mark.parametrize(
    ("blueprint", "parts"),
    [
        ("ihp-railiance-probe", set()),
        ("relay", {"docker", "hub", "kubecfg"}),
        ("tokenplace", {"docker", "hub"}),
        ("fade", {"docker", "hub", "flux"}),
    ],
)
def test_each_blueprint_gets_its_parts(blueprint: str, parts: set[str]) -> None:
    found = wanted.parts(load(CONFIG, blueprint, "lab").plan)
    assert found == parts
    assert found <= lab.ON_REQUEST


def test_a_release_by_flux_needs_flux() -> None:
    assert wanted.DRIVERS["flux"] == "flux"
    assert set(wanted.DRIVERS.values()) <= lab.ON_REQUEST
