"""What is missing is said at once, with what to do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, PipelineError, ResourceError
from pipeline.lab import ALL, preflight, up
from pipeline.lab.preflight import GB, Facts

GOOD = Facts(root=True, debian=True, amd64=True, cold=True, cache="/c", cache_free=50 * GB, state_free=50 * GB, memory=8 * GB)


def test_a_good_machine_passes() -> None:
    preflight.check(GOOD)


@pytest.mark.parametrize(
    ("change", "error", "what", "mend"),
    [
        ({"root": False}, ConfigError, "needs root", "sudo"),
        ({"debian": False}, ConfigError, "needs Debian", "Debian 12"),
        ({"amd64": False}, ConfigError, "amd64", "x86-64"),
        ({"cache_free": 3 * GB}, ResourceError, "3.0 GB are free at /c, building .* takes 12 GB", "XDG_CACHE_HOME"),
        ({"state_free": GB}, ResourceError, "1.0 GB are free at /var/lib", "free some space"),
        ({"memory": 2 * GB}, ResourceError, "2.0 GB of memory .* needs 4.0 GB to build", "memory"),
        ({"memory": GB, "cold": False}, ResourceError, "needs 1.5 GB", "memory"),
    ],
)
def test_what_is_missing(change: dict[str, object], error: type[PipelineError], what: str, mend: str) -> None:
    with pytest.raises(error, match=what) as caught:
        preflight.check(dataclasses.replace(GOOD, **change))  # type: ignore[arg-type]  # each case changes one field
    assert mend in caught.value.mend


def test_a_warm_lab_needs_no_room_to_build() -> None:
    preflight.check(dataclasses.replace(GOOD, cold=False, cache_free=0, memory=2 * GB))


def test_gather_looks_at_folders_that_are_not_there_yet(tmp_path: Path) -> None:
    facts = preflight.gather(tmp_path / "a" / "b", cold=False)
    assert facts.cache_free > 0
    assert facts.memory > 0


def test_an_unknown_part_touches_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no part 'moon'") as caught:
        up(tmp_path, parts=frozenset({"moon"}), say=print)
    assert all(part in caught.value.mend for part in ALL)
    assert list(tmp_path.iterdir()) == []
