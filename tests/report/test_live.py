from __future__ import annotations

import dataclasses
import io
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.events import Event, What
from pipeline.report import sink_for
from pipeline.report.live import LiveSink
from pipeline.report.svg import picture
from tests.report.recorded import CASES, golden, recorded

ROOT = Path(__file__).parents[2]
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")

REPLAY = """
import select, sys
from pipeline.report import sink_for
from pipeline.report.jsonl import loads
sink = sink_for("auto", sys.stderr)
with open(sys.argv[1]) as lines:
    for event in loads(lines):
        sink(event)
        if sys.argv[2:] and event.what == "act" and event.stage == sys.argv[2]:
            select.select([sys.stdin], [], [], 60)
sink.close()
print("rich" in sys.modules, type(sink).__name__, sink.explained)
"""


def on_terminal(name: str, *lasting: str, **env: str) -> tuple[str, str]:
    """What a terminal of 80 columns gets from a recorded run, and the result line. The stage `lasting` goes on until it is seen live."""
    primary, secondary = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", REPLAY, str(CASES / f"{name}.jsonl"), *lasting],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=secondary,
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm-256color", "PYTHONUTF8": "1", **env},
    )
    os.close(secondary)
    assert child.stdin
    assert child.stdout
    shown = b""
    while True:
        try:
            piece = os.read(primary, 65536)
        except OSError:  # the terminal's other end is closed
            break
        if not piece:
            break
        shown += piece
        if "● ".encode() in shown:
            child.stdin.close()
    os.close(primary)
    with child:
        out = child.stdout.read()
    return shown.decode().replace("\r\n", "\n"), out.decode().strip()


def test_a_noop_on_a_terminal_leaves_its_summary_without_loading_rich() -> None:
    shown, told = on_terminal("noop")
    assert told == "False LiveSink False"
    assert ESCAPE.sub("", shown) == golden("noop", "80").read_text()
    assert "\x1b[32m✓" in shown


def test_a_stage_that_lasts_is_watched_live_and_the_summary_stays() -> None:
    shown, told = on_terminal("cold", "deploy")
    assert told == "True LiveSink False"
    assert "● " in shown
    assert ESCAPE.sub("", shown).endswith(golden("cold", "80").read_text())
    assert "\x1b[?25l" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is shown again"


def test_a_failure_is_explained_once_in_colour() -> None:
    shown, told = on_terminal("failed", "deploy")
    assert told == "True LiveSink True"
    assert shown.count("[DEPLOY, exit 16]") == 1
    assert "\x1b[1;31mdeploy: \x1b[0m" in shown
    assert ESCAPE.sub("", shown).endswith(golden("failed", "80").read_text())
    assert shown.count("travel in the clear") == 1, "a warning is printed once and stays"


def test_no_color_is_respected() -> None:
    shown, _ = on_terminal("failed", "deploy", NO_COLOR="1")
    assert not re.search(r"\x1b\[(1;)?3[1-7]m", shown)
    assert ESCAPE.sub("", shown).endswith(golden("failed", "80").read_text())


def test_a_dumb_terminal_gets_plain_lines() -> None:
    shown, told = on_terminal("noop", TERM="dumb")
    assert told == "False PlainSink False"
    assert shown == golden("noop", "plain").read_text()


def test_a_pipe_gets_plain_lines_and_json_is_as_asked() -> None:
    stream = io.StringIO()
    assert type(sink_for("auto", stream)).__name__ == "PlainSink"
    assert type(sink_for("json", stream)).__name__ == "JsonSink"
    assert type(sink_for("live", stream)).__name__ == "LiveSink"


class Latin(io.StringIO):
    encoding = "latin-1"


def test_a_terminal_without_unicode_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Latin()
    sink = LiveSink(stream, width=80)
    for event in recorded("noop"):
        sink(event)
    sink.close()
    assert stream.getvalue().isascii()
    assert stream.getvalue().startswith("= deploy")


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_every_drawn_frame_fits(width: int) -> None:
    stream = io.StringIO()
    sink = LiveSink(stream, width=width, patience=0.0)
    for event in recorded("cold"):
        sink(dataclasses.replace(event, at=time.time()))
        if event.what is What.ACT:
            time.sleep(0.05)
    sink.close()
    drawn = [ESCAPE.sub("", line).rstrip("\r") for line in stream.getvalue().split("\n")]
    assert "rich" in sys.modules
    assert max(len(part) for line in drawn for part in line.split("\r")) <= width


def test_closing_twice_tells_the_end_once() -> None:
    stream = io.StringIO()
    sink = LiveSink(stream, width=80)
    sink(Event(What.DONE, "", "all done", 5.0, {"seconds": 1.0}))
    sink.close()
    sink.close()
    assert stream.getvalue().count("all done") == 1


def test_the_picture_is_the_same_each_time_and_loads_nothing_from_elsewhere() -> None:
    first = picture(recorded("cold"), 80)
    assert first == picture(recorded("cold"), 80)
    assert "@font-face" not in first
    assert not re.search(r"url\((?!#)|href|<image", first)
    assert "sync" in first


def test_a_picture_of_the_middle_of_a_run_shows_the_tool_at_work() -> None:
    shown = picture(recorded("cold"), 80, at=17)
    assert "RunProdServer" in shown
    assert "RunProdServer" not in picture(recorded("cold"), 80)
