"""The doctor on builders: what answers, what does not, what would be slow; nothing is started by looking."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.build.buildx_spec import ImageSpec
from pipeline.doctor.builder import look
from pipeline.doctor.verdict import Status
from pipeline.errors import ConfigError
from pipeline.places import Builder
from tests.build.buildkit import spec, world

CASES = Path(__file__).parents[1] / "cases" / "buildx"


def image(*platforms: str) -> dict[str, ImageSpec]:
    return {"web": ImageSpec("team/web", "web", platforms=platforms)}


def test_a_builder_that_runs_says_what_it_builds_and_is_not_started(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        found = list(look(spec(images=image("linux/amd64")), there.site))
        assert [(verdict.where, verdict.name, verdict.status) for verdict in found] == [
            ("lab (builder)", "answers", Status.OK),
            ("lab (builder)", "platforms", Status.OK),
        ]
        assert "linux/arm64" in found[0].evidence
        assert not any("--bootstrap" in call["argv"] for call in there.calls)


@pytest.mark.parametrize(
    ("platform", "status", "said"),
    [("linux/arm64", Status.WARN, "linux/arm64 is emulated"), ("linux/s390x", Status.FAIL, "no builder builds linux/s390x")],
)
def test_a_platform_that_is_slow_or_missing_is_told(tmp_path: Path, platform: str, status: Status, said: str) -> None:
    with world(tmp_path) as there:
        verdict = list(look(spec(images=image("linux/amd64", platform)), there.site))[-1]
    assert (verdict.status, said in verdict.evidence) == (status, True)
    assert verdict.mend


def test_a_buildkitd_that_does_not_answer_may_do_so_later(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        there.say("inspect", (CASES / "inspect-dead.txt").read_text())
        verdict = next(iter(look(spec(), there.site)))
    assert (verdict.status, verdict.code) == (Status.FAIL, 10)


def test_a_container_is_not_missed_before_the_first_build(tmp_path: Path) -> None:
    with world(tmp_path, builders={"lab": Builder("ssh://root@arm")}) as there:
        there.say("inspect", (CASES / "inspect-dead.txt").read_text())
        assert next(iter(look(spec(), there.site))).status is Status.OK


def test_no_buildx_is_a_failure_with_its_remedy(tmp_path: Path) -> None:
    with world(tmp_path) as there, pytest.raises(ConfigError, match="buildx cannot be called") as caught:
        list(look(spec(), dataclasses.replace(there.site, tools={"buildx": "/nowhere"})))
    assert "install buildx" in caught.value.mend
