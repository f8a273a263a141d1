"""Versions in order, in ranges, as tags."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.tools import versions

RISING = ["0.1.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
          "1.0.0", "1.2.0", "1.10.0", "v2.0.0"]  # fmt: skip


def test_versions_rise_as_semver_says() -> None:
    assert sorted(sorted(RISING), key=versions.order) == RISING
    assert versions.order("1.0.0+a") == versions.order("1.0.0+b")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("latest", "2.0.0"), ("*", "2.0.0"), ("^1", "1.10.1"), ("^1.2", "1.10.1"), ("~1.2", "1.2.9"), ("~1.2.3", "1.2.9"),
        ("1.x", "1.10.1"), ("1.2.x", "1.2.9"), ("1", "1.10.1"), ("^0.2.3", "0.2.4"), ("^0.0.3", None), (">=1.0 <1.10", "1.2.9"),
        (">=1.0, <2", "1.10.1"), ("<1", "0.3.0"), ("<=1.2", "1.2.9"), (">1.10", "2.0.0"), (">1.10.0 <2", "1.10.1"), ("<=1.2.3", "1.2.3"),
        ("!=2.0.0", "1.10.1"), ("~0.2 || ~1.2", "1.2.9"), ("^2.0.1-0", "2.1.0-rc.2"), (">=2.1.0-rc.1 <2.1.0", "2.1.0-rc.2"),
        ("~>1.2", "1.2.9"), ("!=2", "1.10.1"), ("^3", None), (">= 1.2 < 1.10", "1.2.9"),
    ],
)  # fmt: skip
def test_a_range_takes_the_highest_it_allows(wanted: str, found: str | None) -> None:
    there = ["0.2.3", "0.2.4", "0.3.0", "1.0.0", "1.2.3", "1.2.9", "1.10.0", "1.10.1", "2.0.0", "2.1.0-rc.1", "2.1.0-rc.2"]
    assert versions.best(wanted, there) == found


@pytest.mark.parametrize("text", ["", "newest", "^", "1.2 - 2.0", "^1.2 beta", "1.2.3.4", "-1", ">=1 <", "$(id)", "||", "^1 ||"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="neither a version nor a range"):
        versions.best(text, ["1.0.0"])


def test_a_plus_becomes_an_underscore_in_a_tag_and_back() -> None:
    assert versions.tag("1.0.0+build.5") == "1.0.0_build.5"
    assert versions.of_tags(["1.0.0_build.5", "main-latest", "0.9.0", "sha256-abc.sig"]) == ["0.9.0", "1.0.0+build.5"]
    with pytest.raises(ConfigError, match="registry's tag"):
        versions.tag("1.0.0-" + "x" * 130)


@pytest.mark.parametrize(
    ("text", "is_one"), [("1.2.3", True), ("v1.2.3-rc.1+b", True), ("1.2", False), ("^1.2.3", False), ("01.2.3", False)]
)
def test_what_names_one_version(text: str, is_one: bool) -> None:
    assert versions.exact(text) == is_one
    if not is_one:
        with pytest.raises(ConfigError, match="is not a version"):
            versions.order(text)


@pytest.mark.parametrize(
    ("wanted", "inside", "outside"),
    [
        (">=1.2.3", ["1.2.3", "1.2.4"], ["1.2.2", "1.2.3-rc.1"]),
        ("<1.2.3", ["1.2.2"], ["1.2.3", "1.2.3-rc.1"]),
        ("<=1.2.3", ["1.2.3"], ["1.2.4"]),
        ("<=1.2", ["1.2.0", "1.2.9"], ["1.3.0"]),
        (">1.2.3", ["1.2.4"], ["1.2.3"]),
        (">1.2", ["1.3.0"], ["1.2.0", "1.2.9"]),
        ("=1.2.3", ["1.2.3", "1.2.3+b"], ["1.2.4", "1.2.2"]),
        ("!=1.2.3", ["1.2.4", "1.2.2"], ["1.2.3"]),
        ("!=1.2", ["1.3.0", "1.1.9"], ["1.2.0", "1.2.9"]),
        (">=1.2.3-rc.1", ["1.2.3-rc.1", "1.2.3-rc.2", "1.2.3"], ["1.2.3-beta"]),
        ("^1.2.3-0", ["1.2.3-alpha", "1.9.0"], ["2.0.0-alpha", "2.0.0"]),
    ],
)
def test_the_bounds_of_a_range(wanted: str, inside: list[str], outside: list[str]) -> None:
    allows = versions.allowing(wanted)
    assert [version for version in (*inside, *outside) if allows(version)] == inside
