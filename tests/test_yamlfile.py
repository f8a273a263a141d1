"""YAML: plain values, with their places, within limits, and nothing that YAML would like to be clever about."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.yamlfile import DEEPEST, LARGEST, MOST_VALUES, Document, keys_like, parse, read, scalar

ROOT = Path(__file__).parents[1]
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in ("ab", "bc", "cd", "de", "ef", "fg")
)


TEXTS = (
    "NO no No yes on off y n TRUE True FALSE Null NULL 012 0o14 0x1F 1_000 1e5 1.5e3 +5 .5 5. -.5 .inf .nan 12:30:45 2026-01-01 "
    "2026-01-01T00:00:00Z 1234567890123456789 == = <<x 1,5 --5 0b1 00 -01"
)


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "app.yml")
    assert caught.value.what.startswith("app.yml")
    return caught.value.what


def test_y01_a_bomb_is_refused_at_once() -> None:
    assert len(BOMB) < 300
    assert len(yaml.safe_load(BOMB)["g"]) == 9, "safe_load does not mind"
    started = time.process_time()
    assert f"more than {MOST_VALUES} values" in refused(BOMB)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "a:\n ", "[{a: "])
def test_y01_deep_nesting_is_refused_and_does_not_end_the_process(opening: str) -> None:
    """Composing nodes recurses in C: the same text ends the process with a segmentation fault."""
    script = "import sys; from pipeline.yamlfile import parse\ntry: parse(sys.stdin.read(), 'x')\nexcept Exception as error: print(error)"
    text = opening * (500_000 // len(opening))
    done = subprocess.run([sys.executable, "-c", script], input=text, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    assert "x:" in done.stdout


def test_y01_depth_counts_through_aliases() -> None:
    deep = "".join(f"k{number}: &k{number} [[[[[[[[*k{number - 1}]]]]]]]]\n" for number in range(1, 9))
    assert f"deeper than {DEEPEST}" in refused("k0: &k0 x\n" + deep)
    assert parse("[" * (DEEPEST - 1) + "]" * (DEEPEST - 1), "x").data


def test_y01_size_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "big.yml"
    path.write_bytes(b"# " + b"x" * LARGEST)
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        read(path)
    assert "more than" in refused("- x\n" * (MOST_VALUES + 1))


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [touch /tmp/never]",
        "a: !!python/name:os.system",
        "a: !!str 5",
        "a: !!int '5'",
        "a: !!binary aGVsbG8=",
        "a: !!set {x, y}",
        "a: !env HOME",
        "a: ! x",
        "!!map {a: 1}",
        "a: [!!null x]",
        "!!str a: 1",
    ],
)
def test_y02_every_tag_is_refused(text: str) -> None:
    assert "app.yml:1" in refused(text)


def test_y02_duplicate_keys_are_refused_with_their_line() -> None:
    assert refused("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n") == "app.yml:5: 'c' stands here a second time"
    assert "second time" in refused('a: 1\n"a": 2')
    assert parse("a: {x: 1}\nb: {x: 1}", "x").data == {"a": {"x": 1}, "b": {"x": 1}}


@pytest.mark.parametrize("text", ["<<: {a: 1}", "base: &b {a: 1}\nc:\n  <<: *b", "? [a, b]\n: c", "? {a: 1}\n: c", "a: &x b\n*x : c"])
def test_y02_keys_are_plain_words(text: str) -> None:
    assert "a key is a plain word" in refused(text)


@pytest.mark.parametrize(
    "text",
    TEXTS.split(),
)
def test_y02_what_yaml_would_turn_into_something_else_stays_text(text: str) -> None:
    assert parse(f"a: {text}", "x").data == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("true", True), ("false", False), ("0", 0), ("-7", -7), ("32166", 32166),
        ("999999999999999999", 999999999999999999), ("1.5", 1.5), ("-0.25", -0.25), ('"5"', "5"), ("'true'", "true"), ('""', ""),
        ("|\n  5\n", "5\n"), (">-\n  null\n", "null"), ("[]", []), ("{}", {}),
    ],
)  # fmt: skip
def test_plain_values(text: str, value: object) -> None:
    found = parse(f"a: {text}", "x").data["a"]
    assert found == value
    assert type(found) is type(value)


@given(st.integers(-(10**18) + 1, 10**18 - 1))
@example(0)
def test_whole_numbers_are_read_as_they_are_written(number: int) -> None:
    assert scalar(str(number)) == number


@given(st.text(alphabet="0123456789.-+eExob_:", min_size=1))
def test_a_number_is_never_read_as_another_text(text: str) -> None:
    value = scalar(text)
    assert value == text or float(value) == float(text)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.text(alphabet=st.characters(min_codepoint=32, blacklist_categories=["Cs", "Cc"], max_codepoint=0xFFFD), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet="abcdefghij-_", min_size=1, max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(alphabet="abcdefghij-_", min_size=1, max_size=8), JSON, max_size=4))
def test_what_json_writes_is_read_back(data: dict[str, Any]) -> None:
    assert parse(json.dumps(data, ensure_ascii=False), "x").data == data


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found: Document | None = parse(text, "app.yml")
    except ConfigError:
        found = None
    assert found is None or str(found.place(())) == "app.yml:1"


@pytest.mark.parametrize("char", ["\\x1b", "\\0", "\\r", "\\x7f", "\\x9b", "\\b"])
def test_i01_control_characters_are_refused_in_values_and_keys(char: str) -> None:
    assert "control character" in refused(f'a: "x{char}y"')
    assert "control character" in refused(f'"x{char}y": a')
    assert "control character" in refused(f'a: ["x{char}y"]')
    assert parse('a: "x\\ty\\nz"', "x").data == {"a": "x\ty\nz"}


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: b: c", 1), ("a: 1\n b: 2", 2), ("a:\n- 1\nb", 4), ("a: {b", 1), ("a: '", 1), ("a: 1\n\tb: 2", 2), ("%FOO\n---\na", 1)],
)
def test_what_is_not_yaml_is_told_with_its_line(text: str, line: int) -> None:
    what = refused(text)
    assert "not YAML" in what
    assert abs(int(what.split(":")[1]) - line) <= 1


@pytest.mark.parametrize("text", ["&a [*a]", "a: *b", "a: &a {b: *a}"])
def test_an_alias_of_itself_or_of_nothing_is_refused(text: str) -> None:
    assert "stands for nothing yet, or for itself" in refused(text)


def test_a_second_document_is_refused() -> None:
    assert refused("a: 1\n---\nb: 2") == "app.yml:2: a second document starts here"


def test_an_alias_gives_the_value_again() -> None:
    assert parse("a: &x {b: [1, 2]}\nc: *x\nd: &w word\ne: *w", "x").data == {
        "a": {"b": [1, 2]},
        "c": {"b": [1, 2]},
        "d": "word",
        "e": "word",
    }


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "~", "---\n...\n"])
def test_nothing_is_an_empty_mapping(text: str) -> None:
    assert parse(text, "x").data == {}


# places


def test_places_are_where_things_stand() -> None:
    document = parse("app: x\nstages:\n  push:\n    list:\n      - a\n      - b: c\n", "app.yml")
    assert str(document.place(("app",))) == "app.yml:1"
    assert str(document.place(("stages", "push"))) == "app.yml:3"
    assert str(document.place(("stages", "push", "list", "0"))) == "app.yml:5"
    assert str(document.place(("stages", "push", "list", "1", "b"))) == "app.yml:6"
    assert str(document.place(("stages", "push", "missing", "deep"))) == "app.yml:3", "the nearest thing above it"
    assert str(document.place(("nothing",))) == "app.yml:1"


# overlays


def test_an_overlay_merges_key_by_key() -> None:
    low = parse("app: x\nstages:\n  push: {driver: skopeo, tag: a, list: [1, 2, 3]}\n  deploy:\n    values: {a: 1}\n", "low.yml")
    high = parse("stages:\n  push:\n    tag: b\n    list: [9]\n  verify: {driver: checks}\n", "high.yml")
    document = low.under(high)
    assert document.data == {
        "app": "x",
        "stages": {"push": {"driver": "skopeo", "tag": "b", "list": [9]}, "deploy": {"values": {"a": 1}}, "verify": {"driver": "checks"}},
    }
    places = {path: str(document.place(path)) for path in [("app",), ("stages", "push", "driver"), ("stages", "push", "tag")]}
    assert places == {("app",): "low.yml:1", ("stages", "push", "driver"): "low.yml:3", ("stages", "push", "tag"): "high.yml:3"}
    assert str(document.place(("stages", "verify", "driver"))) == "high.yml:5"
    assert str(document.place(("stages", "push", "list", "0"))) == "high.yml:4"
    assert low.data["stages"]["push"]["tag"] == "a", "what is below is not changed"


def test_null_in_an_overlay_removes() -> None:
    low = parse("a: 1\nb: {c: 1, d: 2}\n", "low.yml")
    assert low.under(parse("a: ~\nb: {c: null}\nnever: null\n", "high.yml")).data == {"b": {"d": 2}}
    assert low.under(parse("new: {x: null, y: {z: null, v: 1}}\n", "high.yml")).data["new"] == {"y": {"v": 1}}


def test_an_empty_overlay_changes_nothing() -> None:
    low = parse("a: 1", "low.yml")
    assert low.under(parse("# nothing", "high.yml")).data == low.data


def test_another_kind_of_value_replaces() -> None:
    low = parse("a: {b: 1}\nc: [1]\n", "low.yml")
    assert low.under(parse("a: text\nc: {d: 1}", "high.yml")).data == {"a": "text", "c": {"d": 1}}
    assert low.under(parse("[1]", "high.yml")).data == [1]


@given(st.dictionaries(st.sampled_from("abc"), JSON, max_size=3), st.dictionaries(st.sampled_from("abc"), JSON, max_size=3))
def test_laying_over_twice_is_laying_over_once(low: dict[str, Any], high: dict[str, Any]) -> None:
    below, above = parse(json.dumps(low), "low.yml"), parse(json.dumps(high), "high.yml")
    once = below.under(above)
    assert once.under(above).data == once.data
    assert once.under(parse("{}", "none.yml")).data == once.data


# files


@pytest.mark.parametrize("name", ["missing.yml", "folder", "binary.yml"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=name):
        read(tmp_path / name)


def test_a_byte_order_mark_and_windows_lines_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "win.yml"
    path.write_bytes("\ufeffa: 1\r\nb: x\r\n".encode())
    assert read(path).data == {"a": 1, "b": "x"}


def test_keys_like() -> None:
    assert keys_like("registrry", ["registry", "driver"]) == "; did you mean 'registry'?"
    assert keys_like("zzz", ["registry", "driver"]) == ""
    assert keys_like("x", []) == ""


def test_a_tab_is_named_as_what_is_wrong() -> None:
    for text in ("a:\n\tb: 1\n", "a:\n  b: 1\n\tc: 2\n"):
        with pytest.raises(ConfigError, match="this is not YAML") as caught:
            parse(text, "web.yml")
        assert caught.value.mend == "indent with blanks: YAML takes no tabs there"
    with pytest.raises(ConfigError) as caught:
        parse("a: b: c\n", "web.yml")
    assert "quote what holds" in caught.value.mend
