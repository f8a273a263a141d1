from __future__ import annotations

import pytest

from pipeline.artifacts import Bundle, Check, Images, Report, Source, Tree
from pipeline.report.words import digest, duration, told, volume
from tests.verify.releases import RELEASE

SOURCE = Source("7e" * 20, "b2" * 20, True, "/src")


def test_every_artifact_has_its_few_words() -> None:
    assert told(SOURCE) == "b2b2b2b-dirty-7e7e7e7e"
    assert told(Tree(SOURCE, "haskelseed", "/src")) == "b2b2b2b-dirty-7e7e7e7e on haskelseed"
    bundle = Bundle(SOURCE, "haskelseed", "/nix/store/x", "sha256-x", "sha256:" + "c0" * 32, size=1_273_440)
    assert told(bundle) == "image sha256:c0c0c0c0c0c0, 1.3 MB on haskelseed"
    assert told(Images(SOURCE, RELEASE.images)) == "sha256:d1d1d1d1d1d1 in registry.example:32166/coulomb/probe"
    assert told(RELEASE) == "revision 3 of probe in coulomb"
    report = Report(RELEASE, (Check("pods", True, ""), Check("GET /", False, "")), "http://probe.example")
    assert told(report) == "1 of 2 checks hold at http://probe.example"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0 s"), (0, "0.0 s"), (0.84, "0.8 s"), (9.94, "9.9 s"), (9.96, "10 s"), (99.4, "99 s"), (99.6, "1 min 40 s"),
     (125, "2 min 05 s"), (3599.4, "59 min 59 s"), (3780, "1 h 03 min")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9_960_000, "10 MB"), (2_500_000_000, "2.5 GB")])
def test_volumes(size: int, text: str) -> None:
    assert volume(size) == text


def test_a_digest_keeps_its_algorithm() -> None:
    assert digest("sha256:" + "ab" * 32) == "sha256:abababababab"
    assert digest("ab" * 20) == "abababababab"
