from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.safe import cells, clean, cut, fold, lines, wrap


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain text, ümläut, 漢字, 🚀", "plain text, ümläut, 漢字, 🚀"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x1b]52;c;ZXZpbA==\x07", "\\x1b]52;c;ZXZpbA==\\x07"),
        ("\x1b]8;;https://evil.example\x1b\\click", "\\x1b]8;;https://evil.example\\x1b\\click"),
        ("done\rfake", "done\\x0dfake"),
        ("ends like a file from Windows\r\n", "ends like a file from Windows"),
        ("\u202etxt.exe", "\\u202etxt.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("a\u2028b\x85c", "a\\u2028b\\x85c"),
        ("tab\tstop", "tab stop"),
        ("nul\0", "nul\\x00"),
        ("lone \udc80 surrogate", "lone \\udc80 surrogate"),
        ("\x9b31mC1", "\\x9b31mC1"),
        ("\U000e0041tag", "\\U000e0041tag"),
        ("x ##[set-output name=a]b", "x # #[set-output name=a]b"),
        ("x ##vso[task.setvariable variable=a]b", "x # #vso[task.setvariable variable=a]b"),
        ("## a heading", "## a heading"),
    ],
)
def test_g01_what_a_tool_says_is_shown_and_does_nothing(raw: str, shown: str) -> None:
    assert clean(raw) == shown


@given(st.text())
def test_g01_no_text_stays_dangerous(text: str) -> None:
    shown = clean(text)
    assert all(char.isprintable() or unicodedata.category(char) == "Zs" for char in shown)  # a space, of whatever width
    assert not any(char in shown for char in "\x1b\r\n\x9b\u202e\u2066\x07\x00")
    assert clean(shown) == shown


def test_only_a_newline_ends_a_line() -> None:
    assert lines("a\nb\x0bc\u2028d\n") == ["a", "b\\x0bc\\u2028d", ""]


@given(st.text(), st.integers(0, 50))
def test_what_is_cut_fits_and_begins_as_before(text: str, width: int) -> None:
    short = cut(text, width)
    assert cells(short) <= width
    assert text.startswith(short.removesuffix("…") if short != text else short)
    if cells(text) <= width:
        assert short == text


def test_wide_characters_count_twice_and_combining_ones_not() -> None:
    assert cells("漢字") == 4
    assert cells("e\u0301") == 1
    assert cut("漢字漢字", 5) == "漢字…"
    assert cut("漢字漢字", 4) == "漢…"


@given(st.text(st.characters(categories=["L", "N", "P", "Zs"])), st.integers(2, 40))
def test_what_is_wrapped_fits_and_loses_nothing_but_spaces(text: str, width: int) -> None:
    found = wrap(text, width)
    assert all(cells(line) <= width for line in found)
    assert "".join("".join(found).split()) == "".join(text.split())


def test_words_stay_whole_where_they_fit() -> None:
    assert wrap("one two three four", 9) == ["one two", "three", "four"]
    assert wrap("a sixteen-letters-word", 8) == ["a", "sixteen-", "letters-", "word"]
    assert wrap("", 8) == [""]


@pytest.mark.parametrize(
    ("row", "width", "folded"),
    [
        ("here     a1b2c3d", 30, ["here     a1b2c3d"]),
        ("here     a1b2c3d  is not what is live", 30, ["here     a1b2c3d  is not what", "         is live"]),
        ("  ok      git     git version 2.39.5 of Debian", 36, ["  ok      git     git version 2.39.5", "                  of Debian"]),
        ("image    registry.example.org/a/b@sha256:0123  here", 24, ["image    registry.example.org/a/b@sha256:0123", "         here"]),
        ("one sentence that has no columns at all", 20, ["one sentence that", "has no columns at", "all"]),
        ("漢字  漢字 漢字 漢字 漢字", 16, ["漢字  漢字 漢字", "      漢字 漢字"]),
    ],
)
def test_what_does_not_fit_goes_on_below_its_own_column(row: str, width: int, folded: list[str]) -> None:
    assert fold(row, width) == folded


@given(st.text(alphabet="ab  漢/-", max_size=80), st.integers(min_value=1, max_value=40))
def test_a_folded_row_keeps_its_words_and_breaks_none(row: str, width: int) -> None:
    folded = fold(row, width)
    assert [word for line in folded for word in line.split()] == row.split()
