"""The short form of a tag policy: what is refused and how it is told, and the same policy as docker/metadata-action's input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.tools.tag_rules import DEFAULT, KINDS, action, parse
from pipeline.tools.tags import Ref, Rule, tags
from tests.tools import metadata_action


@pytest.mark.parametrize(
    ("rule", "read"),
    [
        ("branch", Rule("branch", "", "", "branch")),
        ("sha", Rule("sha", "sha-", "", "sha")),
        ("sha:main-@main", Rule("sha", "main-", "main", "sha:main-@main")),
        ("pr", Rule("pr", "pr-", "", "pr")),
        ("raw:main-latest@release/1.x", Rule("raw", "main-latest", "release/1.x", "raw:main-latest@release/1.x")),
        ("semver:{{ major }}.{{minor}}", Rule("semver", "{{ major }}.{{minor}}", "", "semver:{{ major }}.{{minor}}")),
        ("raw:{{branch}}-{{commit_date 'X'}}", Rule("raw", "{{branch}}-{{commit_date 'X'}}", "", "raw:{{branch}}-{{commit_date 'X'}}")),
    ],
)
def test_what_is_read(rule: str, read: Rule) -> None:
    assert parse([rule]).rules == (read,)


def test_no_rules_are_the_usual_ones() -> None:
    assert parse([]) == parse(DEFAULT)


def test_rules_stand_by_priority_and_then_as_written() -> None:
    policy = parse(["sha", "raw:x", "tag", "branch", "semver:{{major}}", "semver:{{version}}"])
    assert [rule.text for rule in policy.rules] == ["semver:{{major}}", "semver:{{version}}", "tag", "branch", "raw:x", "sha"]


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (["brnch"], "'brnch' is no rule; did you mean 'branch'?"),
        (["SHA"], "'SHA' is no rule"),
        (["semvar:{{version}}"], "did you mean 'semver'?"),
        ([""], "'' is no rule"),
        ([" sha"], "' sha' is no rule"),
        (["type=sha"], "'type=sha' is no rule"),
        (["semver"], "names no part of a version"),
        (["semver:1.0"], "names no part of a version"),
        (["semver:{{verison}}"], "{{verison}} is not known there; did you mean 'version'?"),
        (["semver:{{branch}}"], "{{branch}} is not known there"),
        (["raw"], "raw needs a text"),
        (["raw:"], "says nothing after its colon"),
        (["raw:a b"], "cannot be part of a tag"),
        (["raw:-x"], "cannot be part of a tag"),
        (["raw:{{branch}"], "cannot be part of a tag"),
        (["raw:{{bracnh}}"], "did you mean 'branch'?"),
        (["raw:{{commit_date 'YYYY'}}"], "is not known"),
        (["raw:{{commit_date}}"], "is not known"),
        (["raw:{{sha 'X'}}"], "is not known"),
        (["raw:" + "x" * 129], "cannot be part of a tag"),
        (["raw:x@-main"], "'-main' in 'raw:x@-main' is not the name of a branch"),
        (["raw:x@"], "is not the name of a branch"),
        (["tag@main"], "is for one branch, which tag is not"),
        (["sortable:x"], "sortable takes no value"),
        (["latest:always"], "not 'always'"),
        (["latest"], "not 'alone'"),
        (["latest:never"], "no rule gives a tag"),
        (["sha", "sha"], "'sha' stands there twice"),
        (["sha", "latest:never", "latest:auto"], "latest is said twice"),
        (["sha:a/b"], "cannot be part of a tag"),
        (["raw:$(id)"], "cannot be part of a tag"),
        (["raw:x\n"], "cannot be part of a tag"),
    ],
)
def test_i01_what_is_refused_and_how_it_is_told(rules: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(rules)
    assert told in caught.value.what
    assert caught.value.mend


@given(
    st.lists(
        st.one_of(st.text(max_size=12), st.builds(lambda kind, rest: kind + rest, st.sampled_from(KINDS), st.text(":@{}x'", max_size=6)))
    )
)
def test_anything_is_read_or_refused(rules: list[str]) -> None:
    try:
        policy = parse(rules)
    except ConfigError:
        return
    assert policy.rules


def test_the_relay_s_policy_as_the_action_s_input() -> None:
    assert action(parse(["branch", "sha", "tag"])) == (
        [
            "type=ref,event=branch",
            "type=semver,pattern={{raw}},priority=600",
            "type=raw,value={{tag}},priority=600,enable=${{ startsWith(github.ref, 'refs/tags/') }}",
            "type=sha",
        ],
        ["latest=auto"],
    )


def test_every_kind_as_the_action_s_input() -> None:
    lines, flavor = action(
        parse(
            [
                "raw:main-latest@main",
                "sha:main-@main",
                "pr",
                "sortable",
                "commit",
                "semver:{{version}}",
                "latest:never",
                "raw:x",
                "branch:b-",
            ]
        )
    )
    assert lines == [
        "type=semver,pattern={{version}}",
        "type=ref,event=pr",
        "type=ref,event=branch,prefix=b-",
        "type=raw,value=main-latest,enable=${{ github.ref == 'refs/heads/main' }}",
        "type=raw,value={{branch}}-{{sha}}-{{commit_date 'X'}},enable=${{ startsWith(github.ref, 'refs/heads/') }}",
        "type=raw,value=x",
        "type=sha,prefix=main-,enable=${{ github.ref == 'refs/heads/main' }}",
        "type=sha,format=long,prefix=",
    ]
    assert flavor == ["latest=false"]


SOME = (
    "branch", "branch:b-", "sha", "sha:main-@main", "commit", "tag", "tag:t-", "pr", "sortable", "sortable@main", "raw:main-latest@main",
    "raw:x", "raw:x-{{sha}}", "raw:{{branch}}-y", "raw:{{tag}}-z", "raw:{{commit_date 'X'}}", "raw:latest@main",
    "semver:{{version}}", "semver:{{major}}.{{minor}}", "semver:v{{major}}", "semver:{{raw}}",
)  # fmt: skip
RULES = st.lists(st.sampled_from(SOME), min_size=1, unique=True)
COMMITS = st.text("0123456789abcdef", min_size=40, max_size=40)
TAGS = st.sampled_from(["v1.2.3", "1.2.3", "v2.0.0-rc.1", "v1.2.3+b.1", "nightly", "x/y", "v1", "1.2.3-beta"])
BRANCHES = st.sampled_from(["main", "topic", "feature/a_b", "dependabot/npm@1"])
REFS = st.one_of(
    st.builds(Ref, COMMITS, branch=BRANCHES, time=st.integers(1, 2**33)),
    st.builds(Ref, COMMITS, tags=st.tuples(TAGS), time=st.integers(1, 2**33)),
    st.builds(Ref, COMMITS, pull=st.integers(1, 999), time=st.integers(1, 2**33)),
)


@given(RULES, st.booleans(), REFS)
def test_the_action_gives_what_we_give(rules: list[str], never: bool, ref: Ref) -> None:
    policy = parse([*rules, "latest:never"] if never else rules)
    theirs = metadata_action.given(*action(policy), ref)
    ours = tags(policy, ref)
    assert set(theirs) == set(ours.names)
    assert theirs[:1] == ours.names[:1]
    assert ours.version == (theirs[0] if theirs else "")
