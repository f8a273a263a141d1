"""Versions: the grammar and the order of semver.org 2.0.0, sections 2, 9 and 11."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tools.semver import Version, parse

NUMBERS = st.integers(0, 50)
PARTS = st.lists(st.one_of(NUMBERS.map(str), st.sampled_from(["alpha", "beta", "rc", "x-1", "a0"])), max_size=3)
VERSIONS = st.builds(lambda a, b, c, pre: f"{a}.{b}.{c}" + (f"-{'.'.join(pre)}" if pre else ""), NUMBERS, NUMBERS, NUMBERS, PARTS)
IN_ORDER = (
    "0.9.9", "1.0.0-1", "1.0.0-2", "1.0.0-11", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
    "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.9.0", "1.10.0", "2.0.0-0", "2.0.0",
)  # fmt: skip


def version(text: str) -> Version:
    found = parse(text)
    assert found, text
    return found


def test_the_order_of_section_11() -> None:
    assert sorted(IN_ORDER, key=lambda text: version(text).key) == list(IN_ORDER)
    assert sorted(IN_ORDER[::-1] + IN_ORDER[:1], key=lambda text: version(text).key)[1:] == list(IN_ORDER)


@given(VERSIONS, VERSIONS)
def test_order_is_total_and_says_the_same_both_ways(one: str, other: str) -> None:
    first, second = version(one).key, version(other).key
    assert (first < second) + (first > second) + (first == second) == 1
    assert (first == second) == (one == other)


@given(VERSIONS)
def test_a_version_is_written_as_it_was_read(text: str) -> None:
    assert version(text).version == text
    assert version("v" + text).version == text
    assert version("v" + text).raw == "v" + text


@pytest.mark.parametrize("text", ["v1.2.3", "1.2.3+build.5", "v1.2.3-rc.1+b-1", "1.0.0-x-y-z.--", "1.0.0-0a"])
def test_what_is_a_version(text: str) -> None:
    assert version(text).raw == text


@pytest.mark.parametrize(
    "text",
    ["", "v", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3-a..b", "1.2.3+", "vv1.2.3", "1.2.3 ", "release-1.2.3",
     "1.2.3\n", "1.2.x", "\u0661.2.3", "1.2." + "9" * 300],
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    assert parse(text) is None
