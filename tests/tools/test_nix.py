from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError, Unknown
from pipeline.tools import nix
from pipeline.tools.nix import Limits
from pipeline.tools.nix_log import NixLog

CASES = Path(__file__).parents[1] / "cases" / "nix"


def heard(name: str) -> NixLog:
    log = NixLog()
    for line in (CASES / f"{name}.log").read_text().splitlines():
        log.feed(line)
    return log


def test_a_failed_builder_shows_its_own_last_ten_lines() -> None:
    error = nix.failure(heard("2.8-builder-failed"), 1, "h", "")
    assert error.cause.splitlines() == [f"line {number}" for number in range(4, 14)]


def test_b03_both_hashes_are_shown() -> None:
    error = nix.failure(heard("2.8-hash-mismatch"), 1, "h", "")
    assert "specified sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" in error.what
    assert "got sha256-mOpuTyFvL7S2n/+bOkSELDhobKaF8/VdxIxdP7EQe+Q=" in error.what


def test_nix_is_not_installed() -> None:
    log = NixLog()
    log.feed("lacks nix")
    error = nix.failure(log, 71, "haskelseed", "")
    assert isinstance(error, ConfigError)
    assert "apk add nix" in error.mend


def test_an_unknown_failure_quotes_what_was_said() -> None:
    log = NixLog()
    log.feed('@nix {"action":"msg","level":0,"msg":"error: the moon is full"}')
    error = nix.failure(log, 1, "h", "")
    assert type(error) is Unknown
    assert "the moon is full" in error.cause


def test_the_argv_of_a_build() -> None:
    argv = nix.build("/roots/x", Limits(jobs=1, cores=2, timeout=7200, silence=0))
    assert argv == (
        "nix", "--extra-experimental-features", "nix-command flakes", "build", "--json", "--log-format", "internal-json",
        "--no-update-lock-file", "--max-jobs", "1", "--cores", "2", "--timeout", "7200", "--max-silent-time", "0",
        "--out-link", "/roots/x",
    )  # fmt: skip
    assert nix.installable("/var/lib/app/trees/abc", "docker") == "path:/var/lib/app/trees/abc#docker"


@pytest.mark.parametrize("attribute", ["", "-o", "a b", "a#b", "a;touch x", "$(id)", "`id`", "a\nb", "a^out", "a..b", "?dir=/", "a&&b"])
def test_i01_i02_an_attribute_is_a_name(attribute: str) -> None:
    with pytest.raises(ConfigError, match="not a flake attribute"):
        nix.installable("/tree", attribute)


@pytest.mark.parametrize("folder", ["relative", "/a?dir=/etc", "/a#b", "/a b", "/%2e", "-x"])
def test_i02_a_folder_cannot_become_another_reference(folder: str) -> None:
    with pytest.raises(ConfigError, match="cannot be named"):
        nix.installable(folder, "docker")


@given(st.text())
def test_what_is_taken_as_an_attribute_stays_one_word_of_a_reference(attribute: str) -> None:
    try:
        word = nix.installable("/tree", attribute)
    except ConfigError:
        return
    assert word == f"path:/tree#{attribute}"
    assert not set(attribute) & set("#?^/ \n\0")
