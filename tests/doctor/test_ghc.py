"""The three constraints of a small Haskell build host."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.build.nix import Nix
from pipeline.doctor import ghc

PATH = "/nix/store/0c5kjvr1b8lbmx0nw4nxn4h1mjm2l0h9-ghc-9.10.3/lib/ghc-9.10.3/lib/libHSghc-9.10.3-5f31.a"
GIB = 1 << 30


@pytest.mark.parametrize(
    ("rts", "limit"),
    [("-A32m -M2g", 2 * GIB), ("-M512m", 512 << 20), ("-M1.5G -A1m", 3 * GIB // 2), ("-A32m", 0), ("", 0), ("-M1g -M2g", 2 * GIB)],
)
def test_the_ceiling_that_ghcrts_sets(rts: str, limit: int) -> None:
    assert ghc.ceiling(rts) == limit


def test_two_jobs_of_two_gib_do_not_fit_where_one_does() -> None:
    total = int(3.8 * GIB)
    rts = {"GHCRTS": "-A32m -M2g"}
    assert ghc.memory("seed", total, Nix("seed", env=rts)).status == "ok"
    crowded = ghc.memory("seed", total, Nix("seed", env=rts, jobs=2))
    assert crowded.status == "warn"
    assert "jobs: 1" in crowded.mend
    assert ghc.memory("seed", total, Nix("seed")).status == "warn"
    assert ghc.memory("seed", 32 * GIB, Nix("seed")).status == "ok"


@pytest.mark.parametrize(
    ("size", "status", "code"), [(287_686_318, "fail", 14), (289_012_345, "ok", 0), (150_000_000, "warn", 0), (288_200_000, "warn", 0)]
)
def test_a_truncated_library_of_the_compiler_is_named_with_its_repair(size: int, status: str, code: int) -> None:
    (verdict,) = ghc.archives("seed", [(size, PATH)])
    assert (verdict.status, verdict.code) == (status, code)
    if code:
        assert "nix store repair /nix/store/0c5kjvr1b8lbmx0nw4nxn4h1mjm2l0h9-ghc-9.10.3;" in verdict.mend


def test_an_interface_file_that_overflowed_is_found_in_the_newest_logs(tmp_path: Path) -> None:
    assert list(ghc.interfaces("seed", tmp_path / "none")) == []
    (tmp_path / "build-a.log").write_text("building\n" * 20_000)
    assert list(ghc.interfaces("seed", tmp_path)) == []
    (tmp_path / "build-b.log").write_text("x\n" * 50_000 + "app> Web.Types.hi: interface file overflow\n")
    (verdict,) = ghc.interfaces("seed", tmp_path)
    assert verdict.status == "warn"
    assert "build-b.log" in verdict.evidence
