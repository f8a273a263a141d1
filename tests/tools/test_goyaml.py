"""YAML as Go reads it. What helm and kubectl themselves make of `CASES` is asked in tests/real/test_goyaml.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.tools import goyaml

LARGE = "12345678901234567890"
CASES: tuple[tuple[str, Any], ...] = (
    ("[y, Y, yes, Yes, YES, yEs, on, On, ON, true, True, TRUE, tRUE]", [True] * 5 + ["yEs"] + [True] * 6 + ["tRUE"]),
    ("[n, N, no, No, NO, off, Off, OFF, false, False, FALSE, nO]", [False] * 11 + ["nO"]),
    ("[~, null, Null, NULL, nULL, 'null', '']", [None, None, None, None, "nULL", "null", ""]),
    ("[=, '=', 1:30, 190:20:30, 1:30.5]", ["=", "=", "1:30", "190:20:30", "1:30.5"]),
    ("[0755, 0o755, 0O17, 0x1F, 0X1f, 0b11, -0b11, -0o17, 00, 089, 08, +3, -3]", [493, 493, 15, 31, 31, 3, -3, -15, 0, 89, 8, 3, -3]),
    ("[0_7, 1_000, 1__0, _1, 0x_1f, 1_0.5, 0x, 0xg]", [7, 1000, 10, "_1", 31, 10.5, "0x", "0xg"]),
    ("[1e3, 1E3, 1.5e-3, .5, 5., -.5, +.5, 1.e3, 0.0, 1.10, 1e400, 1e21, '1e3']",
     [1000, 1000, 0.0015, 0.5, 5, -0.5, 0.5, 1000, 0, 1.1, "1e400", 1e21, "1e3"]),
    (f"[{LARGE}, -9223372036854775809, 9223372036854775807, 100000000000000000000000, 0xFFFFFFFFFFFFFFFFFF]",
     [float(LARGE), float(-(1 << 63)), (1 << 63) - 1, 1e23, "0xFFFFFFFFFFFFFFFFFF"]),
    ("[2026-01-01, 2026-01-01T10:00:00Z, 2001-12-14 21:59:43.10 -5]", ["2026-01-01", "2026-01-01T10:00:00Z", "2001-12-14 21:59:43.10 -5"]),
    ("[!!str 12, !!int '3', !!float 3, !!bool 'yes', !!null '', !!binary aGVsbG8=, !foo 12, ! 12, !!timestamp 2026-01-01]",
     ["12", 3, 3, True, None, "hello", "12", "12", "2026-01-01"]),
    ("{a: &a {x: 1, y2: 2}, b: {<<: *a, y2: 3}, c: {<<: [*a, {x: 9, z: 4}]}, d: {q: 1, <<: {q: 2}}, e: {'<<': {x: 1}}}",
     {"a": {"x": 1, "y2": 2}, "b": {"x": 1, "y2": 3}, "c": {"x": 1, "y2": 2, "z": 4}, "d": {"q": 2}, "e": {"<<": {"x": 1}}}),
    ("{a: 1, b: 2, a: {c: 3}}", {"a": {"c": 3}, "b": 2}),
    ("{1: a, true: b, 1.5: c, 0x10: d, off: e, 1e7: f, 2.50: g, 0.00001: h, 1234567.5: i}",
     {"1": "a", "true": "b", "1.5": "c", "16": "d", "false": "e", "1e+07": "f", "2.5": "g", "1e-05": "h", "1.2345675e+06": "i"}),
    ("{&k a: 1, b: *k, *k : 2}", {"a": 2, "b": "a"}),
    ("!!set {a, b}", {"a": None, "b": None}),
    ('"\\e[0m\\r\\n\\0\\x07"', "\x1b[0m\r\n\0\x07"),
    ("{http://x: 1, a:b, 'c':d, e: , f: [g:h, i: j]}", {"http://x": 1, "a:b": None, "c": "d", "e": None, "f": ["g:h", {"i": "j"}]}),
    ("é😀", "é😀"),
)  # fmt: skip
REFUSED = (
    "[.inf]", "[-.INF]", "[.nan]", "{<<: 1}", "{<<: [1]}", "{~: a}", "{[a]: b}", "*nope", "&a [*a]", "!!int abc", "!!bool 1", "!!null x",
    "[a, , b]", "@x", "`x`", "%x", "- b: [", '"\\ud800"',
)  # fmt: skip


@pytest.mark.parametrize(("text", "meant"), CASES, ids=[text for text, _ in CASES])
def test_a_value_is_what_go_reads(text: str, meant: Any) -> None:
    (found,) = goyaml.values(f"v: {text}\n", "x.yaml")
    assert found == {"v": meant}
    assert json.dumps(found, sort_keys=True) == json.dumps({"v": meant}, sort_keys=True), "1, 1.0 and True are not the same"


@pytest.mark.parametrize("text", REFUSED)
def test_what_go_refuses_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^x\.yaml:2"):
        goyaml.documents(f"a: 1\nv: {text}\n", "x.yaml")


def test_documents_have_their_lines_and_say_what_stands_twice() -> None:
    first, second = goyaml.documents("\ufeffa: 1\na: 2\n---\nb:\n  - c: 1\n", "x.yaml")
    assert first.twice == ("x.yaml:2: 'a' stands here a second time, and what stands last counts",)
    assert second.twice == ()
    assert str(second.place(("b", "0", "c"))) == "x.yaml:5"
    assert goyaml.documents("# nothing\n", "x.yaml") == []


def test_a_file_that_grows_without_end_is_refused() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
    )
    with pytest.raises(ConfigError, match="more than 1000000 values"):
        goyaml.documents(bomb, "x.yaml")
    with pytest.raises(ConfigError, match="nested deeper than 200 levels"):
        goyaml.documents("a: " + "[" * 5000, "x.yaml")


@pytest.mark.parametrize(
    "text", ["y", "N", "on", "=", "0o17", "0755", "1e3", "1_000", ".5", "1:30", "2026-01-01", "", "~", "<<", "a: b", "é\n#"]
)
def test_what_is_written_is_read_as_the_same_by_go_and_by_yaml_1_1(text: str) -> None:
    import yaml

    shared = {text or "k": [text]}
    written = goyaml.dump([{"a": shared, "b": shared}])
    assert goyaml.values(written, "x") == [yaml.safe_load(written)] == [{"a": shared, "b": shared}]
    assert "&" not in written
    assert goyaml.values(goyaml.block({"z": shared, "a": text}), "x") == [{"z": shared, "a": text}]
