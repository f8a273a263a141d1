from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tools.nix_log import NixLog, name_of, plain

CASES = Path(__file__).parents[1] / "cases" / "nix"
DRV = "/nix/store/qr65zm5d5zkr637p7yb5s1qqlc5bndc7-app.drv"


def event(**fields: Any) -> str:
    return "@nix " + json.dumps(fields)


def building(log: NixLog, number: int = 2, drv: str = DRV) -> None:
    log.feed(event(action="start", id=number, type=105, level=3, text="", fields=[drv, "", 1, 1]))


def test_what_builds_now_and_how_much_is_left() -> None:
    log = NixLog()
    assert log.status == "evaluates"
    log.feed(event(action="start", id=1, type=104, level=0, text=""))
    building(log)
    log.feed(event(action="result", id=1, type=105, fields=[2, 5, 1, 0]))
    assert log.status == "builds app, 3 of 5 left"
    log.feed(event(action="result", id=2, type=104, fields=["installPhase"]))
    assert log.status == "builds app (installPhase), 3 of 5 left"
    log.feed(event(action="stop", id=2))
    assert log.status == "finishes"


def test_what_is_fetched() -> None:
    log = NixLog()
    log.feed(event(action="start", id=7, type=101, level=3, text="downloading", fields=["https://cache.example.org/x.nar"]))
    assert log.status == "fetches https://cache.example.org/x.nar"


def test_a_builders_line_is_told_with_its_name_and_without_colours() -> None:
    log = NixLog()
    building(log)
    assert log.feed(event(action="result", id=2, type=101, fields=["\x1b[31mred\x1b[0m\x07 and \tplain"])) == "app> red and \tplain"
    assert log.tail(DRV) == ["red and \tplain"]


@pytest.mark.parametrize(
    "line",
    [
        "@nix {broken",
        "@nix",
        "@nixos rebuild",
        "@nix [1]",
        "@nix null",
        "@nix {}",
        '@nix {"action":"start"}',
        '@nix {"action":"start","type":105,"id":1,"fields":[]}',
        '@nix {"action":"result","id":1,"type":101,"fields":{}}',
        '@nix {"action":"dance"}',
        "@nix " + "[" * 100_000,
        "plain text",
    ],
)
def test_b18_a_malformed_line_is_kept_as_text(line: str) -> None:
    log = NixLog()
    assert log.feed(line) == line
    assert list(log.others) == [line]


def test_b18_lines_that_only_look_like_nixs_as_nix_2_8_passed_them_on() -> None:
    log = NixLog()
    told = [log.feed(line) for line in (CASES / "2.8-unusual.log").read_text().splitlines()]
    assert "w6> @nix {broken" in told
    assert "w6> red" in told
    assert "w6> @nixos" in told


@given(st.text())
def test_b18_no_line_breaks_the_reader(line: str) -> None:
    log = NixLog()
    log.feed(line)
    log.feed("@nix " + line)
    building(log)
    assert log.status.startswith("builds app")


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))
def test_b18_no_json_breaks_the_reader(value: Any) -> None:
    log = NixLog()
    for action in ("start", "stop", "result", "msg"):
        for kind in (101, 104, 105):
            log.feed(event(action=action, id=value, type=kind, fields=value, msg=value))
            log.feed(event(action=action, id=1, type=kind, fields=[value], msg=value))
    assert log.status


@given(st.text())
def test_no_control_character_reaches_a_terminal(text: str) -> None:
    assert all(char >= " " or char in "\t\n" for char in plain(text))


def test_b17_the_reader_remembers_little_of_a_flood() -> None:
    log = NixLog()
    tracemalloc.start()
    for number in range(200):
        building(log, number, DRV.replace("app", f"app{number}"))
        for _ in range(10):
            log.feed(event(action="result", id=number, type=101, fields=["x" * 2000]))
        log.feed(event(action="stop", id=number))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
    assert len(log.tails) <= 64


def test_names() -> None:
    assert name_of(DRV) == "app"
    assert name_of(DRV + "!out") == "app"
    assert name_of("elsewhere") == "elsewhere"
