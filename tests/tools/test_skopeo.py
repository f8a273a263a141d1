"""What skopeo's words mean, against what it really said (1.9.3, Debian 12)."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import Transient, Unknown
from pipeline.tools import skopeo

CASES = Path(__file__).parents[1] / "cases" / "skopeo"


def recorded(name: str) -> tuple[int, str]:
    first, _, text = (CASES / f"{name}.txt").read_text().partition("\n")
    return int(first.removeprefix("exit ")), text


def test_p25_a_pusher_that_was_killed_is_tried_again() -> None:
    assert isinstance(skopeo.TOOL.failure(137, "Copying blob x\n"), Transient)


def test_p15_a_full_disk_names_the_folder() -> None:
    code, text = recorded("tmp-full")
    error = skopeo.TOOL.failure(code, text)
    assert error.exit_code == 19
    assert "--tmpdir" in error.mend


def test_an_unknown_failure_shows_what_was_said_and_is_not_repeated() -> None:
    error = skopeo.TOOL.failure(1, "something new\n")
    assert type(error) is Unknown
    assert error.cause == "something new"


def test_trap2_skopeo_does_not_retry_by_itself() -> None:
    words = skopeo.copy()
    assert words[words.index("--retry-times") + 1] == "0"
    assert "--dest-registry-token" not in words


def test_the_digest_is_the_last_line() -> None:
    assert skopeo.stored("sha256:abc\n") == "sha256:abc"
    assert skopeo.stored("") == ""
