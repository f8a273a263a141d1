"""What the errors mean, recorded from Terraform 1.11 and OpenTofu 1.12."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import Ambiguous, AuthError, Locked, PipelineError, Transient, Unknown
from pipeline.tools.terraform_errors import failure, lock_of

CASES = Path(__file__).parents[1] / "cases" / "terraform"


def said(path: Path) -> tuple[str, int]:
    text, _, code = path.read_text().rstrip().rpartition("exit ")
    return text, int(code)


def test_t01_the_holder_of_the_lock_by_id_name_and_time() -> None:
    text, code = said(CASES / "tofu-locked.txt")
    error = failure(code, text, "tofu -chdir=x")
    assert error.cause == "lock 05c831cc-a8f7-ab05-edc6-c632f241f4a7"
    assert error.mend.endswith("only if it is surely dead: tofu -chdir=x force-unlock 05c831cc-a8f7-ab05-edc6-c632f241f4a7")
    lock = lock_of(text.replace("\\n", "\n"))
    assert lock is not None
    assert (lock.who, lock.doing, lock.created[:19]) == ("root@vm", "apply", "2026-11-21 12:14:37")


def test_t01_the_lock_that_was_asked_for_is_not_taken_for_the_one_that_is_held() -> None:
    """Terraform's http backend shows its own wish as the holder: lifting that would lift somebody else's."""
    shown = lock_of(said(CASES / "terraform-lockhttp.txt")[0].replace("\\n", "\n"))
    assert shown is not None
    assert shown.who == shown.created == ""
    text, code = said(CASES / "terraform-lockhttp.txt")
    error = failure(code, text)
    assert error.what == "the state is locked: by whom is not told"
    assert error.cause == f"lock {shown.id}"
    told = lock_of(said(CASES / "tofu-lockhttp.txt")[0].replace("\\n", "\n"))
    assert told is not None
    assert told.who == "somebody@elsewhere"


def test_t01_a_lock_without_a_name_is_a_lock_all_the_same() -> None:
    error = failure(1, "Error: Error acquiring the state lock\n\nHTTP remote state already locked")
    assert isinstance(error, Locked)
    assert lock_of("nothing") is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('Error: x\n\nGet "https://a": dial tcp: lookup a: no such host', Transient),
        ("Error: x\n\n502 Bad Gateway", Transient),
        ("Error: x\n\nwrite /s: no space left on device", PipelineError),
        ("Error: x\n\n403 Forbidden", AuthError),
        ("Error: port 5032 is not one", Unknown),
        ("", Unknown),
    ],
)
def test_what_http_clients_say_everywhere(text: str, kind: type[PipelineError]) -> None:
    assert isinstance(failure(1, text), kind)


def test_a_signal_is_an_end_nobody_knows() -> None:
    assert isinstance(failure(-9, ""), Ambiguous)
