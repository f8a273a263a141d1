"""The tag policy: what docker/metadata-action documents, what may never happen whatever the ref, and which tags move."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.tools import references
from pipeline.tools.git_ref import in_actions
from pipeline.tools.semver import parse as version_of
from pipeline.tools.tag_rules import parse
from pipeline.tools.tags import Ref, Tag, by_commit, labels, sanitised, tags

COMMIT = "90dd6032fac8bda1b6c4436a2e65de27961ed071"
TIME = 1_700_000_000
CASES = yaml.safe_load((Path(__file__).parents[1] / "cases/tags/metadata_action.yml").read_text())
RULES = st.lists(
    st.sampled_from(
        ["branch", "sha", "tag", "pr", "commit", "sortable", "sha:main-@main", "raw:main-latest@main", "raw:x-{{sha}}", "branch:b-",
         "semver:{{version}}", "semver:{{major}}.{{minor}}", "semver:{{major}}", "semver:{{raw}}", "raw:{{tag}}", "sortable@main"]
    ), min_size=1, unique=True,
)  # fmt: skip
VERSIONS = st.builds(
    lambda a, b, c, pre: f"v{a}.{b}.{c}{pre}",
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from(["", "-rc.1", "-beta"]),
)
REFS = st.builds(
    Ref,
    commit=st.text("0123456789abcdef", min_size=40, max_size=40),
    branch=st.sampled_from(["", "main", "topic", "feature/a_b", "dependabot/npm/x@1.2"]),
    tags=st.lists(st.one_of(VERSIONS, st.sampled_from(["nightly", "x/y"])), max_size=3, unique=True).map(tuple),
    pull=st.integers(0, 3),
    time=st.integers(1, 2**33),
)


def names(ref: Ref, *rules: str) -> tuple[str, ...]:
    return tags(parse(rules), ref).names


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['from']} {','.join(case['rules'])} {case['ref']}")
def test_documented_outputs(case: dict[str, Any]) -> None:
    given_ = tags(parse(case["rules"]), in_actions(Ref(COMMIT, time=TIME), case["ref"]))
    assert (list(given_.names), given_.version) == (case["tags"], case["version"])


@given(RULES, REFS)
def test_every_name_is_a_tag_and_comes_once(rules: list[str], ref: Ref) -> None:
    found = tags(parse(rules), ref).names
    assert all(references.TAG.fullmatch(name) for name in found)
    assert len(set(found)) == len(found)


@given(RULES, REFS)
def test_the_same_ref_gives_the_same_tags_at_any_time_and_in_any_order_of_git_tags(rules: list[str], ref: Ref) -> None:
    assert tags(parse(rules), ref) == tags(parse(rules), dataclasses.replace(ref, tags=ref.tags[::-1]))


@given(RULES, REFS)
def test_latest_is_for_releases_alone(rules: list[str], ref: Ref) -> None:
    released = any(found and not found.pre for found in map(version_of, ref.tags))
    wanted = released and any(rule == "tag" or rule.startswith("semver") for rule in rules)
    assert ("latest" in tags(parse(rules), ref).names) == wanted
    assert "latest" not in tags(parse([*rules, "latest:never"]), ref).names


@given(REFS)
def test_a_pre_release_never_moves_a_version_tag(ref: Ref) -> None:
    only = dataclasses.replace(ref, tags=tuple(tag for tag in ref.tags if "-" in tag))
    found = tags(parse(["semver:{{version}}", "semver:{{major}}.{{minor}}", "semver:{{major}}", "tag"]), only)
    assert found.moving == ()


@given(RULES, REFS)
def test_a_fixed_tag_tells_commits_or_git_tags_apart(rules: list[str], ref: Ref) -> None:
    """A tag that does not move has the commit, or the whole of a git tag, in it."""
    for tag in tags(parse(rules), ref).fixed:
        written = [sanitised(name.removeprefix("v")) for name in ref.tags]
        assert ref.commit[:7] in tag.name or any(name in tag.name for name in written)


@given(RULES, REFS)
def test_a_dirty_working_copy_takes_no_name_of_its_commit(rules: list[str], ref: Ref) -> None:
    clean = set(tags(parse(rules), ref).names)
    dirty = tags(parse(rules), dataclasses.replace(ref, dirty=f"{ref.commit[:7]}-dirty-12345678"))
    assert dirty.names
    assert not dirty.moving
    assert not clean & set(dirty.names)
    assert all(name.endswith(f"{ref.commit[:7]}-dirty-12345678") for name in dirty.names)


@pytest.mark.parametrize(
    ("rule", "ref", "tag"),
    [
        ("branch", Ref(COMMIT, "main"), Tag("main", True, branch="main")),
        ("raw:main-latest@main", Ref(COMMIT, "main"), Tag("main-latest", True, branch="main")),
        ("raw:edge", Ref(COMMIT), Tag("edge", True)),
        ("pr", Ref(COMMIT, pull=7), Tag("pr-7", True)),
        ("sha", Ref(COMMIT), Tag("sha-90dd603", False)),
        ("sortable", Ref(COMMIT, "main", time=5), Tag("main-90dd603-5", False)),
        ("tag", Ref(COMMIT, tags=("nightly",)), Tag("nightly", False)),
        ("semver:{{version}}", Ref(COMMIT, tags=("v1.2.3",)), Tag("1.2.3", False)),
        ("semver:v{{major}}.{{minor}}.{{patch}}", Ref(COMMIT, tags=("v1.2.3",)), Tag("v1.2.3", False)),
        ("semver:{{major}}", Ref(COMMIT, tags=("v1.2.3",)), Tag("1", True, release="1.2.3")),
    ],
)
def test_which_tags_move_and_what_they_follow(rule: str, ref: Ref, tag: Tag) -> None:
    assert tags(parse([rule]), ref).all[0] == tag


def test_latest_moves_with_the_release() -> None:
    assert tags(parse(["tag"]), Ref(COMMIT, tags=("v1.2.3",))).moving == (Tag("latest", True, release="1.2.3"),)


def test_of_several_git_tags_the_highest_version_comes_first_and_is_latest() -> None:
    found = tags(parse(["semver:{{version}}", "semver:{{major}}.{{minor}}"]), Ref(COMMIT, tags=("v1.10.0", "v1.9.0", "v2.0.0-rc.1", "x")))
    assert found.names == ("2.0.0-rc.1", "1.10.0", "1.9.0", "1.10", "1.9", "latest")
    assert found.all[-1].release == "1.10.0"


def test_a_commit_that_is_on_a_branch_and_released_is_called_by_its_release() -> None:
    found = tags(parse(["branch", "sha", "tag"]), Ref(COMMIT, "main", ("v1.2.3",)))
    assert (found.version, found.names) == ("v1.2.3", ("v1.2.3", "main", "sha-90dd603", "latest"))


def test_a_branch_named_as_its_own_pull_request_is_told_once() -> None:
    assert names(Ref(COMMIT, "pr-3", pull=3), "branch", "pr") == ("pr-3",)


@pytest.mark.parametrize(
    ("branch", "cause"),
    [("x" * 129, "it has 129 characters, a tag at most 128"), ("\u00e4" + "x" * 128, "it has 129 characters, a tag at most 128"),
     ("\u00e4" + "x" * 127, "a tag starts with a letter, a digit or _, and is not empty")],
)  # fmt: skip
def test_why_a_name_is_no_tag(branch: str, cause: str) -> None:
    with pytest.raises(ConfigError, match="rule 'branch' gives") as caught:
        names(Ref(COMMIT, branch), "branch")
    assert caught.value.cause == cause


@pytest.mark.parametrize(
    ("branch", "tag"),
    [
        ("feature/x", "feature-x"),
        ("a@b#c", "a-b-c"),
        ("a//b", "a-b"),
        ("ümlaut-1", None),
        ("UPPER.case_1", "UPPER.case_1"),
        ("x" * 129, None),
    ],
)
def test_branch_names_are_written_as_the_action_writes_them(branch: str, tag: str | None) -> None:
    if tag is not None:
        assert names(Ref(COMMIT, branch), "branch") == (tag,)
        return
    with pytest.raises(ConfigError) as caught:
        names(Ref(COMMIT, branch), "branch")
    assert "which no registry takes" in caught.value.what
    assert "rename the branch" in caught.value.mend
    assert "128" in caught.value.cause or "starts with" in caught.value.cause


def test_a_tag_of_128_characters_is_one() -> None:
    assert names(Ref(COMMIT, "x" * 128), "branch") == ("x" * 128,)


def test_labels_are_the_same_for_the_same_commit_and_name_it() -> None:
    ref = Ref(COMMIT, "main", time=TIME)
    found = labels(tags(parse(["branch", "sha"]), ref), ref, title="relay", source="https://github.com/o/relay")
    assert found == {
        "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
        "org.opencontainers.image.revision": COMMIT,
        "org.opencontainers.image.source": "https://github.com/o/relay",
        "org.opencontainers.image.title": "relay",
        "org.opencontainers.image.url": "https://github.com/o/relay",
        "org.opencontainers.image.version": "main",
    }


def test_a_dirty_working_copy_claims_no_revision() -> None:
    ref = Ref(COMMIT, "main", dirty="90dd603-dirty-12345678")
    assert labels(tags(parse(["branch"]), ref), ref) == {"org.opencontainers.image.version": "sha-90dd603-dirty-12345678"}


@pytest.mark.parametrize("dirty", ["", "ccccccc-dirty-12345678"])
def test_a_tag_is_known_again_by_the_commit_that_it_is_called_after(dirty: str) -> None:
    words = "branch tag sha sha:main-@main commit semver:{{version}} raw:latest@main sortable@main raw:x-{{sha}}.b"
    rules = parse(words.split())
    ref = Ref("c" * 40, "main", ("v1.2.3",), 0, 1700000000, dirty)
    known = [re.compile(name) for name in by_commit(rules)]
    found = {name: match[1] for name in tags(rules, ref).names for pattern in known if (match := pattern.fullmatch(name))}
    short, whole = "c" * 7, "c" * 40
    clean = {f"sha-{short}": short, f"main-{short}": short, whole: whole, f"main-{short}-1700000000": short, f"x-{short}.b": short}
    assert found == ({f"sha-{dirty}": short, f"main-{dirty}": short} if dirty else clean)
    assert not [name for name in ("latest", "main", "v1.2.3", "1.2.3", "sha-", "sha-xyz") if any(each.fullmatch(name) for each in known)]
