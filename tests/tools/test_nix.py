from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BuildError, ConfigError, IntegrityError, PipelineError, ResourceError, Transient
from pipeline.tools import nix
from pipeline.tools.nix import Limits
from pipeline.tools.nix_log import NixLog

CASES = Path(__file__).parents[1] / "cases" / "nix"
EXPECTED: dict[str, tuple[type[PipelineError], str, str]] = {
    # case: (class, what it says, what it says to do)
    "2.8-attribute-missing": (ConfigError, r"the flake has no 'packages\.x86_64-linux\.dockr'", "it has: default, docker"),
    "2.8-builder-failed": (BuildError, "fail failed: exit code 3", "read the log"),
    "2.8-daemon": (Transient, "nix daemon of haskelseed does not answer", "start nix-daemon"),
    "2.8-dependency": (BuildError, "dep failed: exit code 1", "read the log"),
    "2.8-disk-full": (ResourceError, "the disk of haskelseed was full", "nix store gc"),
    "2.8-download": (Transient, "cannot download", "binary cache"),
    "2.8-flakes-off": (ConfigError, "flakes are turned off", "experimental-features = nix-command flakes"),
    "2.8-ghc-archive": (IntegrityError, r"libHSghc-9\.10\.3-5702\.a in the store of haskelseed is broken", "nix store repair"),
    "2.8-hash-mismatch": (IntegrityError, "got sha256-mOpuTyFvL7S2n", "write its hash into the flake"),
    "2.8-killed": (ResourceError, "ran out of memory while building oom", "GHCRTS"),
    "2.8-lock-file": (ConfigError, r"flake\.lock is missing or does not fit", "nix flake lock"),
    "2.8-no-flake": (ConfigError, r"no flake\.nix at the root", "write one"),
    "2.8-silence": (BuildError, "slow timed out after 1 s of silence", "raise silence"),
    "2.8-syntax": (ConfigError, "cannot be evaluated", "lines above"),
    "2.8-system": (ConfigError, "another kind of machine", "name the attribute in full"),
    "2.8-timeout": (BuildError, "slow timed out after 1 s$", "raise timeout"),
    "2.8-undefined": (ConfigError, "cannot be evaluated", "nix eval"),
    "2.8-unusual": (BuildError, "w6 failed: exit code 1", "read the log"),
    "2.3x-attribute-missing": (ConfigError, "the flake has no", "it has: default, docker"),
    "2.3x-builder-failed": (BuildError, "app failed: exit code 2", "read the log"),
    "2.3x-busy": (Transient, "nix database of haskelseed is in use", "nix-collect-garbage"),
    "2.3x-daemon-refused": (Transient, "nix daemon", "start nix-daemon"),
    "2.3x-disk-full": (ResourceError, "the disk of haskelseed was full", "nix store gc"),
    "2.3x-exit-137": (ResourceError, "out of memory", "GHCRTS"),
    "2.3x-flakes-off": (ConfigError, "flakes are turned off", "nix-command flakes"),
    "2.3x-ghc-heap": (ResourceError, "out of memory", "GHCRTS"),
    "2.3x-ghc-interface": (BuildError, "interface file", "overlay"),
    "2.3x-gone": (BuildError, "the build failed", "read the log"),
    "2.3x-hash-mismatch": (IntegrityError, "got sha256-mOpuTyFvL7S2n", "write its hash"),
    "2.3x-killed": (ResourceError, "ran out of memory while building app", "jobs: 1"),
    "2.3x-locked": (Transient, "nix database", "nix-collect-garbage"),
    "2.3x-throw": (ConfigError, "cannot be evaluated", "where"),
    "2.3x-timeout": (BuildError, "app timed out after 7200 s$", "raise timeout"),
    "2.3x-unavailable": (Transient, "cannot download", "binary cache"),
}


def heard(name: str) -> NixLog:
    log = NixLog()
    for line in (CASES / f"{name}.log").read_text().splitlines():
        log.feed(line)
    return log


@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.log")))
def test_b_faults_each_recorded_failure_means_one_thing(name: str) -> None:
    """B02, B03, B04, B08, B12, B15, B16 and the known traps of GHC, by what nix printed."""
    kind, what, mend = EXPECTED[name]
    error = nix.failure(heard(name), 1, "haskelseed", "build.log", ["default", "docker"])
    assert type(error) is kind, error
    with pytest.raises(kind, match=what):
        raise error
    assert mend in error.mend
    assert error.log == "build.log"
    assert "\x1b" not in error.what + error.cause


def test_a_failed_builder_shows_its_own_last_ten_lines() -> None:
    error = nix.failure(heard("2.8-builder-failed"), 1, "h", "")
    assert error.cause.splitlines() == [f"line {number}" for number in range(4, 14)]


def test_b03_both_hashes_are_shown() -> None:
    error = nix.failure(heard("2.8-hash-mismatch"), 1, "h", "")
    assert error.cause.splitlines()[0].split()[1] == "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    assert error.cause.splitlines()[1].split()[1] == "sha256-mOpuTyFvL7S2n/+bOkSELDhobKaF8/VdxIxdP7EQe+Q="


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
    assert isinstance(error, BuildError)
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
