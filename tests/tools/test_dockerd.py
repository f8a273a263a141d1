from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import AuthError, ConfigError, PipelineError, Transient, VerifyError
from pipeline.tools.dockerd import Engine, failure, unreachable

CASES = Path(__file__).parents[1] / "cases" / "dockerd"
IMAGE = "10.0.0.1:5000/team/relay@sha256:" + "d1" * 32


@pytest.mark.parametrize(
    ("case", "kind", "text"),
    [
        ("allocated", ConfigError, "the port is in use"),
        ("in-use", ConfigError, "the port is in use"),
        ("no-address", ConfigError, "correct `host` of this docker"),
        ("no-program", VerifyError, "its program cannot be started"),
        ("denied", AuthError, "the registry refused it"),
        ("absent", VerifyError, "the registry does not have it"),
        ("gitea-absent", VerifyError, "the registry does not have it"),
        ("refused", Transient, "could not pull"),
        ("network", Transient, "could not pull"),
    ],
)
def test_each_complaint_has_its_class_and_says_what_to_do(case: str, kind: type[PipelineError], text: str) -> None:
    said = (CASES / f"{case}.txt").read_text()
    error = failure(f"pull {IMAGE}", said, "lab", IMAGE)
    assert type(error) is kind
    assert text in error.what + error.mend
    assert error.cause
    assert error.mend or kind is Transient


def test_every_recorded_case_is_read() -> None:
    marks = test_each_complaint_has_its_class_and_says_what_to_do.pytestmark  # type: ignore[attr-defined]
    assert {case for case, _, _ in marks[0].args[1]} == {path.stem for path in CASES.glob("*.txt")}


def test_a_docker_that_is_not_there_is_a_mistake_of_the_site(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no Docker at unix://"):
        Engine("lab", f"unix://{tmp_path}/docker.sock").labelled("a=b")


def test_a_socket_of_others_is_a_matter_of_permission() -> None:
    error = unreachable(
        "lab", "unix:///run/docker.sock", "Error while fetching server API version: PermissionError(13, 'Permission denied')"
    )
    assert isinstance(error, AuthError)
    assert "join the group" in error.mend
