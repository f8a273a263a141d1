"""Which ref is built: asked of a real git, whatever the user's settings, and of GitHub Actions' variables where they hold."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipeline.artifacts import Source
from pipeline.source.look import snapshot
from pipeline.tools.git_ref import is_ancestor, ref_of
from pipeline.tools.tags import Ref

WHEN = {"GIT_AUTHOR_DATE": "1700000000 +0200", "GIT_COMMITTER_DATE": "1700000123 +0200"}


def git(root: Path, *words: str) -> str:
    argv = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "HOME": str(root), **WHEN})
    return done.stdout.strip()


@pytest.fixture
def source(tmp_path: Path) -> Source:
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    (tmp_path / "a").write_text("a\n")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "--quiet", "--message=a")
    return snapshot(tmp_path)


def test_branch_and_commit_time(source: Source) -> None:
    assert ref_of(source, env={}) == Ref(source.commit, "main", time=1700000123)


def test_tags_light_and_annotated_beside_other_branches(source: Source) -> None:
    root = Path(source.path)
    git(root, "tag", "v1.0.0")
    git(root, "tag", "--annotate", "--message=x", "rel/2")
    git(root, "branch", "other")
    git(root, "tag", "a,b")
    assert ref_of(source, env={}) == Ref(source.commit, "main", ("a,b", "rel/2", "v1.0.0"), time=1700000123)


def test_a_detached_head_is_on_no_branch(source: Source) -> None:
    git(Path(source.path), "checkout", "--quiet", "--detach")
    assert ref_of(source, env={}).branch == ""


def test_settings_of_the_user_change_nothing(source: Source) -> None:
    root = Path(source.path)
    git(root, "tag", "v1")
    git(root, "config", "log.excludeDecoration", "refs/tags/*")
    git(root, "config", "log.showSignature", "true")
    git(root, "config", "log.decorate", "no")
    git(root, "config", "color.ui", "always")
    assert ref_of(source, env={}) == Ref(source.commit, "main", ("v1",), time=1700000123)


def test_a_dirty_working_copy_says_so(source: Source) -> None:
    (Path(source.path) / "b").write_text("b\n")
    dirty = snapshot(Path(source.path))
    assert ref_of(dirty, env={}).dirty == dirty.label


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        ("refs/heads/feature/x", {"branch": "feature/x"}),
        ("refs/tags/v1.2.3", {"tags": ("v1.2.3",)}),
        ("refs/pull/12/merge", {"pull": 12}),
    ],
)
def test_in_actions_the_run_s_own_ref_counts(source: Source, name: str, ref: dict[str, object]) -> None:
    git(Path(source.path), "tag", "v9")
    env = {"GITHUB_ACTIONS": "true", "GITHUB_SHA": source.commit, "GITHUB_REF": name}
    assert ref_of(source, env=env) == Ref(source.commit, time=1700000123, **ref)  # type: ignore[arg-type]


def test_in_actions_another_commit_than_the_run_s_is_asked_of_git(source: Source) -> None:
    env = {"GITHUB_ACTIONS": "true", "GITHUB_SHA": "0" * 40, "GITHUB_REF": "refs/tags/v1.2.3"}
    assert ref_of(source, env=env) == Ref(source.commit, "main", time=1700000123)


def test_ancestors_by_git_s_history(source: Source) -> None:
    root, known = Path(source.path), is_ancestor(source)
    git(root, "commit", "--quiet", "--allow-empty", "--message=b")
    newer = git(root, "rev-parse", "HEAD")
    git(root, "checkout", "--quiet", "-b", "other", source.commit)
    git(root, "commit", "--quiet", "--allow-empty", "--message=c")
    aside = git(root, "rev-parse", "HEAD")
    assert known(source.commit, newer) is True
    assert known(newer, source.commit) is False
    assert known(newer, aside) is False
    assert known(source.commit, "0" * 40) is None
    assert known(source.commit, "--all") is None
