"""nix by what it says: versions with holes, a store that does not answer, a sandbox that is off."""

from __future__ import annotations

import pytest

from pipeline.build.nix import Nix
from pipeline.doctor.nix import read
from pipeline.doctor.verdict import Verdict

SETTINGS = {"experimental-features": "flakes nix-command", "sandbox": "true", "max-jobs": "1", "cores": "0", "allowed-users": "*"}


def found(said: str, settings: dict[str, str] | None = None, store: tuple[str, ...] = ()) -> dict[str, Verdict]:
    verdicts = read("seed (build host)", said, SETTINGS if settings is None else settings, store, Nix("seed"))
    return {verdict.name: verdict for verdict in verdicts}


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("nix (Nix) 2.8.0", "warn"),
        ("nix (Nix) 2.18.2", "warn"),
        ("nix (Nix) 2.28.5", "warn"),
        ("nix (Nix) 2.28.6", "ok"),
        ("nix (Nix) 2.31.3", "warn"),
        ("nix (Nix) 2.34.5", "ok"),
        ("nix (Nix) 2.35.0", "ok"),
        ("nix (Nix) 3.0.0", "ok"),
        ("nix (Lix, like Nix) 2.93.3", "ok"),
        ("nix (Nix) 2.3.16", "fail"),
        ("zsh: nix is a function", "fail"),
    ],
)
def test_k04_versions_before_the_security_fixes_are_told(said: str, status: str) -> None:
    assert found(said)["nix"].status == status


def test_k04_an_old_nix_that_only_root_may_use_harms_nobody() -> None:
    assert found("nix (Nix) 2.8.0", SETTINGS | {"allowed-users": "root"})["nix"].status == "ok"
    assert "allowed-users = root" in found("nix (Nix) 2.8.0")["nix"].mend


def test_b15_a_daemon_that_is_down_is_a_passing_fault() -> None:
    verdict = found(
        "nix (Nix) 2.8.0", store=("error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket': Connection refused",)
    )
    assert (verdict["nix store"].status, verdict["nix store"].code) == ("fail", 10)
    assert "nix-daemon start" in verdict["nix store"].mend


def test_no_nix_at_all_is_a_matter_of_configuration_with_the_way_to_get_it() -> None:
    (verdict,) = found("").values()
    assert (verdict.status, verdict.code) == ("fail", 2)
    assert "apk add nix" in verdict.mend


def test_flakes_that_are_off_do_not_matter_to_the_pipeline() -> None:
    verdict = found("nix (Nix) 2.34.5", SETTINGS | {"experimental-features": ""})["flakes"]
    assert verdict.status == "ok"
    assert "nix-command and flakes off" in verdict.evidence


def test_a_sandbox_that_is_off_is_told() -> None:
    assert found("nix (Nix) 2.34.5", SETTINGS | {"sandbox": "false"})["nix sandbox"].status == "warn"
    assert "nix sandbox" not in found("nix (Nix) 2.34.5")
