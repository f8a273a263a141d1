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
    assert (before.notes[LABEL + "version"], after.notes[LABEL + "version"]) == ("main", "v1.2.3")
    assert after.content == before.content, "else the tag of the commit would stand for one image and the release for another"


def test_a_change_is_other_content_and_its_commit_is_the_same_again(work: Worktree, tmp_path: Path) -> None:
    first = seen(work, tmp_path).images[0].content
    work.write("Dockerfile", "FROM scratch\nCOPY . /\n")
    dirty = seen(work, tmp_path).images[0]
    work.commit()
    clean = seen(work, tmp_path).images[0]
    assert first != dirty.content == clean.content
    assert dirty.before != clean.before, "until now the commit counted"
    assert not any(word in text for text in clean.labels for word in ("revision", "created", "version"))


def content(work: Worktree, tmp_path: Path, image: ImageSpec) -> str:
    spec = Buildx(registry="hub", images={"relay": image})
    with Site("relay", work.path, {}, {}, {}, {}, {}, {}, Records(tmp_path / "r.db")) as site:
        return wanted(spec, snapshot(work.path), site).images[0].content


OUTSIDE = ImageSpec(repository="team/relay", context="web", dockerfile="docker/web.Dockerfile")


@pytest.mark.parametrize(
    ("image", "file", "counts"),
    [
        (ImageSpec(repository="team/relay"), "README.md", False),
        (ImageSpec(repository="team/relay"), "web/README.md", True),
        (ImageSpec(repository="team/relay"), "Dockerfile", True),
        (ImageSpec(repository="team/relay"), ".dockerignore", True),
        (ImageSpec(repository="team/relay", context="web"), "README.md", False),
        (ImageSpec(repository="team/relay", context="web"), "web/main.c", True),
        (ImageSpec(repository="team/relay", context="./web/"), "web/main.c", True),
        (ImageSpec(repository="team/relay", context="web"), ".gitattributes", True),
        (OUTSIDE, "docker/web.Dockerfile", True),
        (OUTSIDE, "docker/other.Dockerfile", False),
        (OUTSIDE, "web/main.c", True),
        (ImageSpec(repository="team/relay", context="linked"), "README.md", True),  # nobody follows the link: all of the source counts
    ],
)
def test_what_a_build_cannot_see_does_not_count(work: Worktree, tmp_path: Path, image: ImageSpec, file: str, counts: bool) -> None:
    for name in ("web/Dockerfile", "web/main.c", "docker/web.Dockerfile", "README.md"):
        work.write(name, "a\n")
    work.write(".dockerignore", "/README.md\ndocker\n")
    (work.path / "linked").symlink_to("web")
    work.commit()
    before = content(work, tmp_path, image)
    work.write("nothing/of/it", "b\n") if image.context == "web" else None
    work.write(file, "docker\n/README.md\n/CHANGELOG.md\n" if file == ".dockerignore" else "* text\nb\n")
    if file == ".dockerignore":
        work.write("CHANGELOG.md", "b\n")
        before = content(work, tmp_path, image)
        work.write(file, "/README.md\ndocker\n")
    assert (content(work, tmp_path, image) != before) is counts
