from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.verify.log import BYTES, LINES, Log, question
from pipeline.verify.question import Question
from tests.verify.releases import COMMIT
from tests.verify.worlds import Shop


def asked(check: Log, at: Shop) -> tuple[bool, str]:
    one: Question = question(check, at.world)
    found = one.judge(one.ask(at.view, 5))
    return found.passed, found.evidence


@pytest.fixture
def two(at: Shop) -> Shop:
    """Two pods with a log each."""
    at.pod("probe-1")
    at.pod("probe-2")
    at.fake.logs = {"probe-1/app": f"commit {COMMIT}\nPOST /sink 200\n", "probe-2/app": "starting\nPOST /sink 200\nPOST /sink 503\n"}
    return at


def test_lines_of_all_pods_are_counted(two: Shop) -> None:
    assert asked(Log("/sink", count=3), two) == (True, '3 of 5 lines of 2 containers match, the last one: probe-2: "POST /sink 503"')
    assert asked(Log(r"/sink \d+$", count=4), two)[0] is False


def test_what_is_not_said_fails_with_what_was_said_last(two: Shop) -> None:
    passed, evidence = asked(Log("/source"), two)
    assert (passed, evidence) == (False, '0 of 5 lines of 2 containers match, expected 1; probe-1 said last: "POST /sink 200"')


def test_what_must_not_be_said(two: Shop) -> None:
    assert asked(Log("Traceback", absent=True), two) == (True, "none of 5 lines of 2 containers matches")
    passed, evidence = asked(Log("503", absent=True), two)
    assert not passed
    assert evidence == '1 of 5 lines of 2 containers match, the last one: probe-2: "POST /sink 503"'


def test_the_releases_words_are_taken_literally(two: Shop) -> None:
    assert asked(Log("^commit {commit}$"), two)[0]


def test_reading_is_bounded_and_each_container_is_read_once(two: Shop) -> None:
    asked(Log("/sink", since=60), two)
    asked(Log("/source", since=60), two)
    reads = [target for _, target in two.fake.asked if "/log?" in target]
    assert len(reads) == 2
    assert all(f"tailLines={LINES}" in read and f"limitBytes={BYTES}" in read and "sinceSeconds=60" in read for read in reads)


def test_a_container_that_was_started_anew_is_read_from_before(at: Shop) -> None:
    where = at.pod("probe-1")
    value = at.fake.objects[where]
    value["status"]["containerStatuses"][0]["restartCount"] = 1
    at.fake.logs = {"probe-1/app": "fine\n", "probe-1/app/previous": "panic: nil\n"}
    assert asked(Log("panic", absent=True), at)[0] is False


def test_another_container_and_no_pod_are_told(two: Shop, at: Shop) -> None:
    assert asked(Log("x", container="relay"), two) == (False, "no pod of the release has a container relay yet")


def test_g01_what_a_pod_says_cannot_break_out_of_its_line(at: Shop) -> None:
    at.pod("probe-1")
    at.fake.logs = {"probe-1/app": "\x1b[2Jgone \u202e x\n"}
    passed, evidence = asked(Log("gone"), at)
    assert passed
    assert evidence.isprintable()


@pytest.mark.parametrize(
    "wrong", [{"log": ""}, {"log": "("}, {"log": "a", "count": 0}, {"log": "a", "count": 2, "absent": True}, {"log": "a", "since": -1},
              {"log": "{nothing}"}]
)  # fmt: skip
def test_i01_what_no_check_can_mean_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        Log(**wrong)


def test_a_word_without_a_value_is_a_mistake(at: Shop) -> None:
    with pytest.raises(ConfigError, match="is not known"):
        question(Log("{other.digest}"), at.world)
