"""Verdicts: what a check said before it broke is kept, a defect is no finding, the worst class decides the exit code."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from pipeline.doctor.verdict import Check, Status, Verdict, ask_all, exit_code, fail, ok, unknown, warn
from pipeline.errors import AuthError, ConfigError, HostKeyError, IntegrityError, Transient


def test_a_failure_of_ours_carries_evidence_mend_and_exit_code() -> None:
    def ask() -> Iterator[Verdict]:
        yield from ()
        raise AuthError("refused", cause="HTTP 401", mend="renew it")

    (verdict,) = ask_all([Check("registry", "credentials", ask)])
    assert verdict == Verdict("registry", "credentials", Status.FAIL, "refused\nHTTP 401", "renew it", 11)


def test_a_defect_of_the_doctor_is_unknown_and_hides_no_other_check() -> None:
    def broken() -> Iterator[Verdict]:
        yield ok("host", "ssh", "reached")
        raise KeyError("memory")

    found = ask_all([Check("host", "ssh", broken), Check("node", "disk", lambda: [warn("node", "disk", "1 GB", "make room")])])
    assert [(verdict.name, verdict.status) for verdict in found] == [("ssh", "ok"), ("the rest", "unknown"), ("disk", "warn")]
    assert "KeyError: 'memory'" in found[1].evidence
    assert exit_code(found) == 0


def test_a_check_that_never_ends_is_left_after_its_time_with_what_it_had_said() -> None:
    never = threading.Event()

    def ask() -> Iterator[Verdict]:
        yield ok("host", "ssh", "reached")
        never.wait()

    found = ask_all([Check("host", "ssh", ask, seconds=0.2)])
    never.set()
    assert [(verdict.status, verdict.code) for verdict in found] == [("ok", 0), ("fail", 10)]
    assert found[1].mend


def test_checks_run_side_by_side_and_answer_in_their_order() -> None:
    meeting = threading.Barrier(3, timeout=5)

    def ask(number: int) -> list[Verdict]:
        meeting.wait()  # only passed where all three are asked at once
        return [ok("host", str(number), "met")]

    found = ask_all([Check("host", str(number), lambda number=number: ask(number)) for number in range(3)])  # type: ignore[misc]
    assert [verdict.name for verdict in found] == ["0", "1", "2"]
    assert all(verdict.status is Status.OK for verdict in found)


def test_the_exit_code_is_that_of_the_worst_class() -> None:
    passing = fail("a", "a", "", "", Transient)
    assert exit_code([]) == 0
    assert exit_code([ok("a", "a", ""), warn("a", "a", "", ""), unknown("a", "a", "")]) == 0
    assert exit_code([passing]) == 10
    assert exit_code([passing, fail("a", "a", "", "", ConfigError)]) == 2
    assert exit_code([fail("a", "a", "", "", ConfigError), fail("a", "a", "", "", AuthError), passing]) == 11
    assert exit_code([fail("a", "a", "", "", IntegrityError), fail("a", "a", "", "", HostKeyError)]) == 12
