from __future__ import annotations

import io
import json

import pytest

from pipeline.artifacts import from_json
from pipeline.errors import BuildError
from pipeline.events import Event, What
from pipeline.report.jsonl import JsonSink, dumps, loads
from pipeline.report.progress import artifact_of
from tests.report.recorded import NAMES, recorded
from tests.verify.releases import RELEASE


def test_an_event_comes_back_equal() -> None:
    event = Event(What.MADE, "deploy", "text", 1_790_000_000.123, {"seconds": 4.7})
    assert list(loads([dumps(event)])) == [event]


def test_an_artifact_comes_back_equal() -> None:
    (back,) = loads([dumps(Event(What.MADE, "deploy", "", 0.0, {"artifact": RELEASE}))])
    assert artifact_of(back) == RELEASE


def test_an_error_is_written_with_its_parts() -> None:
    value = json.loads(dumps(Event(What.FAILED, "build", "it broke", 0.0, {"error": BuildError("it broke", mend="mend it")})))
    assert value["schema_version"] == 1
    assert value["data"]["error"]["exit_code"] == 15
    assert value["data"]["error"]["mend"] == "mend it"


def test_g01_a_line_is_ascii_and_one_line() -> None:
    line = dumps(Event(What.LOG, "build", "\x1b[2J\u202e\n\r", 0.0))
    assert line.isascii()
    assert line.isprintable()


@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_runs_are_what_the_sink_writes(name: str) -> None:
    stream = io.StringIO()
    sink = JsonSink(stream)
    for event in recorded(name):
        sink(event)
    sink.close()
    assert list(loads(stream.getvalue().splitlines())) == recorded(name)
    assert sink.explained == (name in ("failed", "undone"))
    for event in recorded(name):
        if "artifact" in event.data:
            assert from_json(dict(event.data["artifact"]))


@pytest.mark.parametrize(
    "line", ["", "{}", "[]", '{"schema_version":1}', '{"schema_version":2,"what":"log","stage":"","text":"","at":0,"data":{}}']
)
def test_what_is_no_event_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        list(loads([line]))
