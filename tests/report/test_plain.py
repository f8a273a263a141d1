from __future__ import annotations

import io
import re
import threading
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.events import Event, What
from pipeline.report.plain import LONGEST, PlainSink

LINE = re.compile(r" *\d+\.\d s  \w[\w ]{7}(\| |(plan|found|begins|now|WARNING|retries|made|FAILED|done) +).*")


def said(*events: tuple[What, str], **data: Any) -> list[str]:
    stream = io.StringIO()
    sink = PlainSink(stream)
    for what, text in events:
        sink(Event(what, "build", text, 100.0, data))
    return stream.getvalue().splitlines()


@given(st.text(max_size=100))
def test_g01_a_tool_cannot_speak_as_the_pipeline(text: str) -> None:
    (line,) = said((What.LOG, text))
    assert line.startswith("    0.0 s  build   | ")


def test_g01_commands_of_a_ci_runner_are_never_first_in_a_line() -> None:
    lines = said(
        (What.LOG, "::set-output name=a::b"), (What.LOG, "\r::error::x"), (What.LOG, "a\n::stop-commands::x"), (What.WARN, "::debug::")
    )
    assert len(lines) == 4
    assert not any(line.lstrip().startswith("::") for line in lines)


def test_a_long_line_is_cut() -> None:
    (line,) = said((What.LOG, "x" * 10_000))
    assert line.endswith("…")
    assert len(line) < LONGEST + 40


def test_the_same_wait_is_said_once() -> None:
    assert len(said((What.WAIT, "a"), (What.WAIT, "a"), (What.WAIT, "b"), (What.LOOK, "looks"))) == 2


def test_an_error_is_told_whole_and_unwrapped() -> None:
    mend = "word " * 100 + "end"
    error = {"error": "it broke", "kind": "BUILD", "exit_code": 15, "cause": "one\ntwo", "mend": mend}
    lines = said((What.FAILED, "it broke"), error=error)
    assert lines == ["    0.0 s  build   FAILED   it broke  [BUILD, exit 15]", "  cause  one", "  cause  two", f"  mend   {mend}"]


def test_threads_do_not_mix_their_lines() -> None:
    stream = io.StringIO()
    sink = PlainSink(stream)

    def talk(stage: str) -> None:
        for number in range(200):
            sink(Event(What.LOG, stage, f"{stage} says {number}", 0.0))

    threads = [threading.Thread(target=talk, args=(stage,)) for stage in ("build", "push")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 400
    assert all(LINE.fullmatch(line) for line in lines)
    assert [line for line in lines if " build " in line] == [f"    0.0 s  build   | build says {number}" for number in range(200)]
