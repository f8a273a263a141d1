"""Names of images: nothing but what the grammar allows gets into a URL or an argv."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError, IntegrityError
from pipeline.tools import references

GOOD = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize("name", ["probe", "team/probe", "a/b-c_d.e/f__g", "a--b"])
def test_repositories_that_are_names(name: str) -> None:
    assert references.repository(name) == name


@pytest.mark.parametrize(
    "name", ["", "-probe", "--authfile=/x", "Team/probe", "a/../b", "a//b", "/a", "a/", "a b", "a:b", "a@b", "a?x=1", "a\n", "a" * 256]
)
def test_repositories_that_are_not(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        references.repository(name)
    assert caught.value.mend


@pytest.mark.parametrize("tag", ["", "-x", ".x", "a/b", "a:b", "a b", "x" * 129, "a\n"])
def test_tags_that_are_not(tag: str) -> None:
    with pytest.raises(ConfigError):
        references.tag(tag)


@pytest.mark.parametrize(
    "digest", ["sha256:../../x", "md5:" + "0" * 32, "sha256:" + "A" * 64, "sha256:" + "0" * 63, "sha512:" + "0" * 128, GOOD + "\n"]
)
def test_t03_wrong_algorithms_and_paths_are_no_digests(digest: str) -> None:
    with pytest.raises(IntegrityError):
        references.digest(digest)
    with pytest.raises((IntegrityError, ConfigError)):
        references.tag_or_digest(digest)


@pytest.mark.parametrize("address", ["http://a", "a/b", "user@a", "a:b", "-a", "a b", "", "a:123456"])
def test_addresses_that_are_not(address: str) -> None:
    with pytest.raises(ConfigError):
        references.address(address)


@pytest.mark.parametrize("address", ["127.0.0.1:32166", "registry.example.test", "[::1]:5000", "localhost:5000"])
def test_addresses(address: str) -> None:
    assert references.split(f"{address}/team/probe@{GOOD}") == (address, "team/probe", GOOD)
    assert references.split(f"{address}/team/probe:1.2") == (address, "team/probe", "1.2")


@pytest.mark.parametrize("reference", ["probe", "a/b", "a/b@", "a/@" + GOOD, "/b:1"])
def test_references_that_are_not(reference: str) -> None:
    with pytest.raises(ConfigError):
        references.split(reference)


@given(st.text(max_size=40))
def test_whatever_passes_needs_no_quoting_and_is_no_option(text: str) -> None:
    for check in (references.repository, references.tag):
        try:
            passed = check(text)
        except ConfigError:
            continue
        assert quote(passed) == passed
        assert not passed.startswith("-")
        assert ".." not in passed.split("/")


@pytest.mark.parametrize(
    ("text", "parts", "registry", "path"),
    [
        ("redis", ("redis", "", ""), "", "redis"),
        ("library/redis:7", ("library/redis", "7", ""), "", "redis"),
        ("127.0.0.1:5000/team/app", ("127.0.0.1:5000/team/app", "", ""), "127.0.0.1:5000", "team/app"),
        (f"a.example/team/app:v1@{GOOD}", ("a.example/team/app", "v1", GOOD), "a.example", "team/app"),
        (f"localhost/app@{GOOD}", ("localhost/app", "", GOOD), "localhost", "app"),
        ("", ("", "", ""), "", ""),
    ],
)
def test_what_others_write_is_taken_apart(text: str, parts: tuple[str, str, str], registry: str, path: str) -> None:
    found = references.read(text)
    assert (found.repository, found.tag, found.digest) == parts
    assert (found.registry, found.path) == (registry, path)


def test_of_a_tag_and_a_digest_the_digest_counts() -> None:
    assert references.split(f"a.example:5000/team/app:v1@{GOOD}") == ("a.example:5000", "team/app", GOOD)
