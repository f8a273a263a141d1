"""Text that reads back as what it was written from."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.generate.yamltext import Verbatim, dump

WORDS = "on|yes|null|1.0|true|012|0x1f|a: b|a #b|*x|&x|| x|x |- x|{x}"
LETTERS = st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_categories=["Cc"])
TEXTS = st.text(LETTERS, max_size=30)
KEYS = st.text(LETTERS, min_size=1, max_size=12).filter(lambda key: key != "on")  # a word to GitHub, true to PyYAML
FLAT = st.one_of(TEXTS, st.booleans(), st.integers(-5, 500), st.lists(TEXTS, max_size=3))
VALUES = st.recursive(FLAT, lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=8)


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=4))
def test_every_value_reads_back(value: dict[str, Any]) -> None:
    assert yaml.safe_load(dump(value)) == value


def test_lists_of_mappings_and_blocks_read_back() -> None:
    value: dict[str, Any] = {
        "steps": [{"name": "one", "with": {"a": True}}, {"run": "set -eu\n\nfor x in a; do\n  echo x\ndone\n"}],
        "none": None,
        "empty": {},
    }
    assert yaml.safe_load(dump(value)) == value


@pytest.mark.parametrize("word", WORDS.split("|"))
def test_a_word_that_yaml_reads_otherwise_is_quoted(word: str) -> None:
    assert yaml.safe_load(dump({"key": word, "list": [word]})) == {"key": word, "list": [word]}


def test_a_comment_stays() -> None:
    assert dump({"uses": Verbatim("a/b@c # v1")}) == "uses: a/b@c # v1\n"
