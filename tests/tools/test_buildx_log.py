"""What a build tells, from recorded output: steps as people read them, the failed one's last lines, counts."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.tools.buildx_log import LINES, BuildxLog

CASES = Path(__file__).parents[1] / "cases" / "buildx"


def read(case: str) -> tuple[BuildxLog, list[str]]:
    log = BuildxLog()
    told = [text for line in (CASES / f"{case}.log").read_text().splitlines() if (text := log.feed(line)) is not None]
    return log, told


def test_the_failed_step_is_told_with_its_output() -> None:
    log, told = read("run-failed")
    assert log.failed == ["about to fail"]
    assert "[bad 1/1] RUN echo about to fail; sleep 0.3; exit 3: failed" in told
    assert log.status == "", "nothing is under way any more"
    assert any(line.startswith("ERROR: ") for line in log.said)


def test_what_is_buildkits_own_business_is_not_told() -> None:
    _, told = read("cache-export")
    assert not any("[internal]" in text or "[auth]" in text for text in told)
    assert not any("@sha256:" in text for text in told), "digests of bases are noise here"
    assert any(text.endswith(": cached") for text in told)


def step(**fields: object) -> str:
    return json.dumps({"vertexes": [{"digest": "sha256:1", "name": "[2/2] RUN make", **fields}]})


def test_a_step_is_told_once_when_it_ends() -> None:
    log = BuildxLog()
    assert log.feed(step()) is None
    assert log.feed(step(started="2026-01-01T00:00:00Z")) is None
    assert log.status == "[2/2] RUN make"
    ended = step(started="2026-01-01T00:00:00Z", completed="2026-01-01T00:00:02.5Z")
    assert log.feed(ended) == "[2/2] RUN make: 2.5 s"
    assert log.feed(ended) is None
    assert (log.built, log.cached) == (1, 0)
    assert log.status == ""


def test_a_steps_output_is_told_line_by_line_and_its_end_remembered() -> None:
    log = BuildxLog()
    text = "".join(f"line {number}\n" for number in range(LINES + 5))
    said = log.feed(json.dumps({"logs": [{"vertex": "sha256:1", "stream": 1, "data": base64.b64encode(text.encode()).decode()}]}))
    assert said == text.strip()
    log.feed(step(started="2026-01-01T00:00:00Z", completed="2026-01-01T00:00:01Z", error="exit code: 1"))
    assert log.failed == [f"line {number}" for number in range(5, LINES + 5)]


@given(
    st.text()
    | st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)).map(json.dumps)
)
def test_no_line_brings_it_down(line: str) -> None:
    log = BuildxLog()
    log.feed(line)
    log.feed('{"vertexes": ' + line + "}")
    log.feed('{"logs": ' + line + "}")
    assert isinstance(log.status, str)
