"""What skopeo's words mean, against what it really said (1.9.3, Debian 12)."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import AuthError, ConfigError, IntegrityError, PipelineError, ResourceError, Transient
from pipeline.tools import skopeo

CASES = Path(__file__).parents[1] / "cases" / "skopeo"
MEANINGS: dict[str, type[PipelineError]] = {
    "401-basic": AuthError,
    "403-upload": AuthError,
    "409-manifest": ConfigError,
    "500-manifest": Transient,
    "503-manifest": Transient,
    "507-blob": Transient,
    "cut": IntegrityError,
    "diffid": IntegrityError,
    "empty": IntegrityError,
    "gone": IntegrityError,
    "lostlayer": IntegrityError,
    "noconfig": IntegrityError,
    "noise": IntegrityError,
    "nomanifest": IntegrityError,
    "old": ConfigError,
    "refused": Transient,
    "reset-blob": Transient,
    "swallowed-manifest": Transient,
    "tmp-full": ResourceError,
    "two": IntegrityError,
}


def recorded(name: str) -> tuple[int, str]:
    first, _, text = (CASES / f"{name}.txt").read_text().partition("\n")
    return int(first.removeprefix("exit ")), text


@pytest.mark.parametrize("name", MEANINGS)
def test_recorded_outputs(name: str) -> None:
    code, text = recorded(name)
    error = skopeo.meaning(text, code)
    assert type(error) is MEANINGS[name]
    assert error.cause.strip() in text.strip()
    assert "Copying" not in error.cause
    assert error.mend


def test_every_recorded_failure_has_a_meaning() -> None:
    assert {path.stem for path in CASES.glob("*.txt")} == {*MEANINGS, "ok"}
    assert recorded("ok")[0] == 0


def test_p25_a_pusher_that_was_killed_is_tried_again() -> None:
    assert isinstance(skopeo.meaning("Copying blob x\n", 137), Transient)


def test_p15_a_full_disk_names_the_folder() -> None:
    code, text = recorded("tmp-full")
    error = skopeo.meaning(text, code)
    assert error.exit_code == 19
    assert "--tmpdir" in error.mend


def test_an_unknown_failure_shows_what_was_said_and_is_not_repeated() -> None:
    error = skopeo.meaning("something new\n", 1)
    assert type(error) is ConfigError
    assert error.cause == "something new"


def test_trap2_skopeo_does_not_retry_by_itself() -> None:
    words = skopeo.copy()
    assert words[words.index("--retry-times") + 1] == "0"
    assert "--dest-registry-token" not in words


def test_the_digest_is_the_last_line() -> None:
    assert skopeo.stored("sha256:abc\n") == "sha256:abc"
    assert skopeo.stored("") == ""
