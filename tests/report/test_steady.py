from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.report.steady import Steady
from tests.report.recorded import CASES, NAMES

ROOT = Path(__file__).parents[2]
RUN = """
import sys
from pipeline.report import sink_for
from pipeline.report.jsonl import loads
sink = sink_for(sys.argv[2], sys.stderr)
with open(sys.argv[1]) as lines:
    for event in loads(lines):
        sink(event)
sink.close()
print("deployed")
"""


@pytest.mark.parametrize("mode", ["plain", "json", "live"])
def test_a_reader_that_goes_away_does_not_stop_the_run(mode: str) -> None:
    """`inv deploy 2>&1 | head -1` must not end a deploy half way."""
    reading, writing = os.pipe()
    os.close(reading)
    argv = [sys.executable, "-c", RUN, str(CASES / f"{NAMES[0]}.jsonl"), mode]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=writing, cwd=ROOT, timeout=20, check=False)
    os.close(writing)
    assert (done.returncode, done.stdout) == (0, b"deployed\n")


def test_a_closed_stream_is_no_error() -> None:
    stream = io.StringIO()
    steady = Steady(stream)
    steady.write("before\n")
    assert stream.getvalue() == "before\n"
    stream.close()
    assert steady.write("after") == 5
    steady.flush()


def test_what_the_encoding_cannot_say_is_escaped() -> None:
    raw = io.BytesIO()
    steady = Steady(io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    steady.write("für 漢 \udc80\n")
    assert raw.getvalue() == b"f\\xfcr \\u6f22 \\udc80\n"
