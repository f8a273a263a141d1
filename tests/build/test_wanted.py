"""What a source is to become, of each image: the same commit is the same image, whatever ref it is built for."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import pytest

from pipeline.build.buildx_spec import Buildx, ImageSpec
from pipeline.build.wanted import Set, wanted
from pipeline.records import Records
from pipeline.source import snapshot
from pipeline.stage import Site
from pipeline.tools.tags import LABEL
from tests.source.worktree import Worktree

SPEC = Buildx(registry="hub", images=MappingProxyType({"relay": ImageSpec(repository="team/relay")}), tags=("branch", "sha", "tag"))


@pytest.fixture
def work(tmp_path: Path) -> Worktree:
    made = Worktree(tmp_path / "work")
    made.write("Dockerfile", "FROM scratch\n")
    made.commit()
    return made


def seen(work: Worktree, tmp_path: Path) -> Set:
    with Site("relay", work.path, {}, {}, {}, {}, {}, {}, Records(tmp_path / "r.db")) as site:
        return wanted(SPEC, snapshot(work.path), site)


def test_a_git_tag_that_is_put_on_later_gives_more_tags_and_the_same_content(work: Worktree, tmp_path: Path) -> None:
    before = seen(work, tmp_path).images[0]
    work.git("tag", "v1.2.3")
    after = seen(work, tmp_path).images[0]
    assert {tag.name for tag in after.tags} - {tag.name for tag in before.tags} == {"v1.2.3", "latest"}
    assert (before.labels[LABEL + "version"], after.labels[LABEL + "version"]) == ("main", "v1.2.3")
    assert after.content == before.content, "else the tag of the commit would stand for one image and the release for another"


def test_another_commit_or_a_change_is_other_content(work: Worktree, tmp_path: Path) -> None:
    first = seen(work, tmp_path).images[0].content
    work.write("Dockerfile", "FROM scratch\nCOPY . /\n")
    dirty = seen(work, tmp_path).images[0].content
    work.commit()
    assert len({first, dirty, seen(work, tmp_path).images[0].content}) == 3
