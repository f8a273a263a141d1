from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.artifacts import to_json
from pipeline.errors import BuildError
from pipeline.events import Event, What
from pipeline.report.frame import frame, plain, summary
from pipeline.report.progress import KEPT, Progress, State, after, artifact_of, failure
from pipeline.safe import cells
from tests.report.recorded import recorded
from tests.verify.releases import RELEASE


def fold(*events: Event) -> Progress:
    progress = Progress()
    for event in events:
        progress = after(progress, event)
    return progress


def event(what: What, stage: str = "push", text: str = "", at: float = 100.0, **data: Any) -> Event:
    return Event(what, stage, text, at, data)


def test_a_cold_run_makes_every_stage() -> None:
    progress = fold(*recorded("cold"))
    assert [row.state for row in progress.rows] == [State.MADE] * 5
    assert progress.changed
    assert progress.ended == "b2b2b2b: sync, build, push, deploy done"
    assert not any(row.trouble for row in progress.rows), "a retry that worked is no trouble any more"


def test_a_noop_leaves_upstream_unasked_and_changes_nothing() -> None:
    progress = fold(*recorded("noop"))
    assert [row.state.value for row in progress.rows] == ["pending", "pending", "pending", "found", "made"]
    assert not progress.changed


def test_a_failure_keeps_its_error_and_the_lines_before_it() -> None:
    progress = fold(*recorded("failed"))
    assert progress.failed_stage == "deploy"
    assert progress.failure is not None
    assert progress.failure["exit_code"] == 16
    assert progress.log[-1] == "rolling back to revision 7"
    assert len(progress.warnings) == 1


def test_v06_a_deploy_that_is_taken_back_is_not_shown_as_made() -> None:
    rows = {row.stage: row for row in fold(*recorded("undone")).rows}
    assert (rows["deploy"].state, rows["deploy"].text) == (State.ACTING, "rollback: 1 of 1 pods ready")
    shown = [plain(line) for line in summary(fold(*recorded("undone")), recorded("undone")[-1].at, 80)]
    assert any(line.startswith("! deploy   rollback: 1 of 1 pods ready") for line in shown)
    assert not any(line.startswith("✓ deploy") for line in shown)


def test_the_log_is_bounded_and_belongs_to_one_stage() -> None:
    lines = [event(What.LOG, "build", f"line {number}") for number in range(100)]
    progress = fold(*lines)
    assert progress.log == tuple(f"line {number}" for number in range(100 - KEPT, 100))
    assert after(progress, event(What.LOG, "push", "other")).log == ("other",)


def test_a_stage_that_no_plan_named_gets_a_row() -> None:
    """verify on its own has no plan."""
    progress = fold(event(What.ACT, "verify", "always asked afresh"), event(What.MADE, "verify", "x", 101.5, seconds=1.5))
    assert [(row.stage, row.state, row.seconds) for row in progress.rows] == [("verify", State.MADE, 1.5)]


def test_what_is_of_no_stage_gets_no_row() -> None:
    progress = fold(event(What.FAILED, "", "the working copy is no git repository", error={"error": "no repository"}))
    assert progress.rows == ()
    assert [plain(line) for line in summary(progress, 100.0, 80)][-1] == "no repository  [ERROR, exit 1]"


def test_a_look_that_nobody_waited_for_is_not_in_the_summary() -> None:
    looks = [event(What.PLAN, "", stages=["build", "push"]), event(What.LOOK, "build"), event(What.LOOK, "push")]
    progress = fold(*looks, event(What.FOUND, "push", "there"), event(What.DONE, "", "nothing to do", seconds=0.1))
    assert [plain(line).split()[:2] for line in summary(progress, 100.0, 80)] == [["=", "push"], ["=", "nothing"]]


def test_an_artifact_is_read_from_a_value_and_from_json() -> None:
    assert artifact_of(event(What.MADE, artifact=RELEASE)) == RELEASE
    assert artifact_of(event(What.MADE, artifact=to_json(RELEASE))) == RELEASE
    assert artifact_of(event(What.MADE, artifact={"kind": "of tomorrow"})) is None
    assert artifact_of(event(What.MADE)) is None


def test_a_failure_is_read_from_an_error_a_mapping_or_the_text() -> None:
    error = BuildError("it broke", cause="because", mend="mend it", log="x.log")
    assert failure(event(What.FAILED, error=error)) == {
        "error": "it broke", "kind": "BUILD", "exit_code": 15, "cause": "because", "mend": "mend it", "log": "x.log", "attempts": 1,
    }  # fmt: skip
    assert failure(event(What.FAILED, error={"error": "a", "kind": "X"})) == {"error": "a", "kind": "X"}
    assert failure(event(What.FAILED, text="only text")) == {"error": "only text"}


EVENTS = st.builds(
    Event,
    st.sampled_from(list(What)),
    st.sampled_from(["", "sync", "push", "verify", "\x1b[2J"]),
    st.text(max_size=200),
    st.floats(0, 2e9),
    st.fixed_dictionaries(
        {},
        optional={
            "seconds": st.none() | st.floats(0, 1e6),
            "usual": st.none() | st.floats(0, 1e6) | st.fixed_dictionaries({"push": st.floats(0, 1e6)}),
            "stages": st.lists(st.sampled_from(["sync", "push", "verify"]), unique=True),
            "error": st.fixed_dictionaries({"error": st.text(max_size=200), "cause": st.text(max_size=200), "mend": st.text(max_size=200)}),
        },
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, max_size=12), st.integers(20, 120), st.floats(0, 2e9))
def test_g01_no_events_make_a_line_too_wide_or_dangerous(events: list[Event], width: int, now: float) -> None:
    usable = [each for each in events if each.what is not What.PLAN or not isinstance(each.data.get("usual"), float)]
    progress = fold(*usable)
    for line in (*frame(progress, now, width), *summary(progress, now, width)):
        text = plain(line)
        assert cells(text) <= width, text
        assert "\x1b" not in text
        assert "\r" not in text
