"""The live view, the summary and the plain lines of recorded runs, against golden text."""

from __future__ import annotations

import pytest

from pipeline.report.frame import coloured, explained, frame, plain, warning
from pipeline.report.progress import Progress, Row, State
from pipeline.safe import cells
from tests.report.recorded import NAMES, drawn, golden, piped


@pytest.mark.parametrize("width", [80, 40])
@pytest.mark.parametrize("name", NAMES)
def test_what_stays_on_the_screen(name: str, width: int) -> None:
    text = drawn(name, width)
    assert text == golden(name, str(width)).read_text()
    assert max(map(cells, text.splitlines())) <= max(width, len("  log    .pipeline/logs/8a1f0c-deploy.log"))


@pytest.mark.parametrize("width", [80, 40])
def test_the_view_in_the_middle_of_a_build(width: int) -> None:
    assert drawn("cold", width, at=17) == golden("cold", f"{width}-at-17s").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_plain_lines(name: str) -> None:
    assert piped(name) == golden(name, "plain").read_text()


def test_an_error_is_whole_at_every_width() -> None:
    error = {
        "error": "it broke",
        "kind": "BUILD",
        "exit_code": 15,
        "attempts": 3,
        "cause": "one\ntwo",
        "mend": "mend it now",
        "log": "/a/b.log",
    }
    assert [plain(line) for line in explained(error, "build", 80)] == [
        "build: it broke  [BUILD, exit 15, 3 attempts]",
        "  cause  one",
        "  cause  two",
        "  mend   mend it now",
        "  log    /a/b.log",
    ]
    narrow = " ".join("".join(plain(line) for line in explained(error, "build", 20)).split())
    for word in ("build:", "broke", "15", "attempts", "one", "two", "mend", "/a/b.log"):
        assert word in narrow


def test_a_warning_hangs_under_its_stage() -> None:
    assert [plain(line) for line in warning("push", "one two three", 22)] == ["! push     one two", "           three"]


def test_colour_is_around_the_text_and_nowhere_else() -> None:
    line = explained({"error": "it broke"}, "build", 80)[0]
    assert coloured(line) == "\x1b[1;31mbuild: \x1b[0m\x1b[1mit broke  [ERROR, exit 1]\x1b[0m"


def test_what_a_stage_waits_for_comes_before_how_long_it_usually_takes() -> None:
    row = Row("deploy", State.ACTING, "0 of 1 pods ready: CrashLoopBackOff, restarted 2 times", 100.0, usual=4.7)
    wide, narrow = (plain(frame(Progress(since=100.0, rows=(row,)), 106.0, width)[0]) for width in (100, 80))
    assert wide.endswith("restarted 2 times               6.0 s, usually 4.7 s")
    assert narrow.endswith("restarted 2 times          6.0 s")
