from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.verify.expect import Page
from pipeline.verify.git import Git
from pipeline.verify.run import APP, OWNER, UNTIL, Run, left_behind, owner, questions
from pipeline.verify.tcp import Tcp
from tests.verify.worlds import Shop


def test_ports_are_free_ones_or_fixed() -> None:
    assert Run("relay", "lab", (8088, "18088:9418")).mapped == {8088: 0, 9418: 18088}


def test_its_checks_go_through_its_ports() -> None:
    Run("relay", "lab", (8088, 9418), (Page("/health"), Git("/repo.git", through="port:9418"), Tcp("port:8088")))
    with pytest.raises(ValueError, match=r"GET / through port:80 goes through port:80; the container's ports are port:8088"):
        Run("relay", "lab", (8088,), (Page("/", through="port:80"),))
    with pytest.raises(ValueError, match="the container's ports are none"):
        Run("relay", "lab", (), (Page("/"),))


@pytest.mark.parametrize(
    "wrong",
    [
        {"ports": (0,)},
        {"ports": ("8088:",)},
        {"ports": ("10.0.0.1:80:80",)},
        {"ports": (99999,)},
        {"env": {"A-B": "x"}},
        {"secrets": {"TOKEN": "plain text"}},
        {"ports": (80,), "checks": (Tcp("10.0.0.5:80"),)},
    ],
)
def test_i01_what_no_check_can_mean_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        Run("relay", "lab", **wrong)


def test_an_image_that_the_release_does_not_have_is_named_with_those_it_has(at: Shop) -> None:
    with pytest.raises(ConfigError, match="the release has no image prob; did you mean 'probe'") as caught, ExitStack() as opened:
        questions(Run("prob", "lab"), at.world, opened, 60)
    assert caught.value.mend == "its images are: probe"


def test_a_docker_that_the_site_does_not_know_is_named(at: Shop) -> None:
    with pytest.raises(ConfigError, match="the site has no docker 'labb'; did you mean 'lab'"), ExitStack() as opened:
        questions(Run("probe", "labb"), at.world, opened, 60)


def test_what_is_left_behind_is_told_from_what_still_runs(at: Shop) -> None:
    code = "from pipeline.verify.run import owner; print(owner())"
    argv = [sys.executable, "-c", code]
    dead = subprocess.run(argv, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout.strip()
    now = int(at.site.clock.now())
    reused = owner().rpartition(".")[0] + ".1"  # the same number, but another process
    containers = {
        "mine": {APP: "probe", OWNER: owner(), UNTIL: str(now + 60)},
        "dead": {APP: "probe", OWNER: dead, UNTIL: str(now + 60)},
        "reused": {APP: "probe", OWNER: reused, UNTIL: str(now + 60)},
        "elsewhere": {APP: "probe", OWNER: "another-machine/1.1", UNTIL: str(now + 60)},
        "expired": {APP: "probe", OWNER: "another-machine/1.1", UNTIL: str(now - 1)},
    }
    assert list(left_behind(containers, at.site)) == ["dead", "reused", "expired"]
    assert owner().startswith(f"{os.uname().nodename}/{os.getpid()}.")
