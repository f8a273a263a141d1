"""What peers write: whatever it is, only errors of ours come out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import jsontext
from pipeline.errors import PipelineError, RateLimited
from pipeline.tools import gh, helm_stored, http_faults, image_index, kube_status, terraform_plan
from pipeline.tools.registry import read_manifest

PACKAGE = Path(jsontext.__file__).parent
OWN = ("jsontext.py", "lab/", "records/", "report/", "secrets.py", "build/tagged.py", "verify/", "testing/")  # own words, or read with care
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4))
BODIES = st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode())
DATES = st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,4} [A-Z][a-z]{2} [0-9]{1,9} [0-9:]{5,8} [A-Z+0-9-]{3,5}")
WAITS = st.text(max_size=40) | st.integers(min_value=0).map(str) | DATES


@pytest.mark.parametrize("text", ["[" * 60_000, '{"a":' * 60_000, "1" * 5000, "NaN", "-Infinity", "", "\x00", b"\xff\xfe", '"\\ud800'])
def test_whatever_is_wrong_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        jsontext.loads(text)


def test_json_is_read_as_ever() -> None:
    assert jsontext.loads('{"a": [1, -2.5, 1e3, true, null, "x"], "b": 184467440737095516160}') == {
        "a": [1, -2.5, 1e3, True, None, "x"], "b": 184467440737095516160,
    }  # fmt: skip


def test_nobody_reads_a_peers_json_without_it() -> None:
    found = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if re.search(r"\bjson\.loads?\(", path.read_text())]
    assert [name for name in found if not name.startswith(OWN)] == []


@given(WAITS)
def test_a_time_to_wait_is_one_that_can_be_waited(text: str) -> None:
    seconds = http_faults.retry_after(text, 1.8e9)
    assert seconds is None or 0.0 <= seconds <= http_faults.LONGEST


@pytest.mark.parametrize("text", ["99999999999999999999", "9" * 5000, "Mon, 01 Jan 99999 00:00:00 GMT", "\u00b2", "-5"])
def test_a_registry_or_cluster_that_asks_for_eternity_is_told_so(text: str) -> None:
    error = http_faults.refusal(429, {"retry-after": text}, "", "https://r.example.org", "a token", written=False, now=1.8e9)
    assert isinstance(error, RateLimited)
    assert 0.0 <= error.retry_after <= http_faults.LONGEST
    assert 0.0 <= kube_status._patience({"Retry-After": text}) <= http_faults.LONGEST


@given(BODIES)
def test_readers_of_peers_let_only_our_errors_out(body: bytes) -> None:
    text = body.decode(errors="replace")
    readers = (
        lambda: http_faults.words(body),
        lambda: read_manifest(body, "", "team/probe:1"),
        lambda: terraform_plan.read_plan(text),
        lambda: terraform_plan.read_state(text),
        lambda: terraform_plan.read_outputs(text),
        lambda: gh.read_reset(text, 1.8e9),
        lambda: helm_stored.unpacked({"data": {"release": text}}),
        lambda: image_index.children(read_manifest(body, "", "team/probe:1")),
    )
    for read in readers:
        try:
            read()
        except PipelineError:
            continue
