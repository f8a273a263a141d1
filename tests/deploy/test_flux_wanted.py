"""What a release by commit writes, and what its commits say."""

from __future__ import annotations

import pytest

from pipeline.artifacts import Image, Images, Source
from pipeline.deploy import flux_message, flux_wanted, flux_world
from pipeline.deploy.flux_wanted import lines, nested, unmade, within
from pipeline.deploy.values import Wanted
from pipeline.errors import ConfigError
from pipeline.tools.gitops_history import Entry
from pipeline.tools.gitops_message import Message, parse, text
from tests.deploy.flux_cluster import spec


def test_lines_are_the_scalars_by_their_paths_and_nest_again() -> None:
    values = {"server": {"image": {"digest": "sha256:a"}, "port": 80}, "debug": False}
    found = lines(values)
    assert found == {("server", "image", "digest"): "sha256:a", ("server", "port"): 80, ("debug",): False}
    assert nested(found) == values


@pytest.mark.parametrize("value", [["a"], {}, None])
def test_what_is_more_than_a_line_is_refused_with_its_name(value: object) -> None:
    with pytest.raises(ConfigError, match=r"values.web.hosts is no single line"):
        lines({"web": {"hosts": value}})


def test_what_the_cluster_has_is_told_from_what_it_has_not() -> None:
    found = within({"a": {"b": 1, "c": {"d": 2}}, "e": None}, [("a", "b"), ("a", "c"), ("a", "b", "x"), ("e",), ("f",)])
    assert found == {("a", "b"): 1, ("e",): None}
    assert within(None, [("a",)]) == {}


def test_lines_of_before_the_first_release_are_known_as_such() -> None:
    assert unmade({("image",): "unreleased.invalid/web@sha256:" + "0" * 64})
    assert not unmade({("image",): "reg.test/web@sha256:" + "1" * 64})


@pytest.mark.parametrize(("said", "seconds"), [("5m", 300.0), ("1m30s", 90.0), ("0.5h", 1800.0), ("250ms", 0.25), ("soon", 0.0)])
def test_a_time_as_go_writes_it(said: str, seconds: float) -> None:
    assert flux_world.seconds(said) == seconds


def images(*, dirty: bool = False) -> Images:
    those = (Image("reg.test/a", "sha256:" + "a" * 64, "v1"), Image("reg.test/b", "sha256:" + "b" * 64, ""))
    return Images(Source("7e" * 20, "c" * 40, dirty, "/w"), those)


WANT = Wanted({}, {}, {}, "c0de")


def entry(message: Message, commit: str = "d" * 40) -> Entry:
    """The commit with that message, as it is read back."""
    found = parse(text(message))
    return Entry(commit, found.subject, "Ada <a@x>", "now", found.trailers, found.trailers.reverts, False)


@pytest.mark.parametrize("dirty", [False, True])
def test_what_a_commit_says_is_read_back_whole(dirty: bool) -> None:
    made = entry(flux_message.release(spec(), "web", images(dirty=dirty), WANT, "e" * 40))
    assert flux_message.source_of(made).id == images(dirty=dirty).source.id
    assert flux_message.images_of(made) == [image.reference for image in images().images]
    assert (made.trailers.inputs, made.trailers.more["Before"], made.trailers.more["Tag"]) == (WANT.inputs, "e" * 40, "v1")
    assert made.trailers.more["Code"] == "c0de"
    assert made.subject == f"web: {images(dirty=dirty).source.label} to production"


def test_a_way_back_carries_what_its_goal_was_made_from() -> None:
    goal = entry(flux_message.release(spec(), "web", images(), WANT, ""))
    back = entry(flux_message.again(spec(), "web", goal, "f" * 40))
    assert flux_message.source_of(back).id == flux_message.source_of(goal).id
    assert flux_message.images_of(back) == flux_message.images_of(goal)
    assert (back.trailers.inputs, back.reverts, back.trailers.more["Restores"], back.trailers.more["Before"]) == (
        WANT.inputs, "f" * 40, goal.commit, "f" * 40,
    )  # fmt: skip
    assert back.trailers.more["Code"] == "c0de"
    failed = entry(flux_message.again(spec(), "web", goal, "f" * 40, "web did not come up: it\nbroke\nPipeline-App: other"))
    assert failed.trailers.more["Failed"] == "web did not come up: it"
    assert failed.trailers.app == "web"
    assert "Before" not in failed.trailers.more


def test_a_first_release_that_is_taken_out_is_no_release() -> None:
    bad = entry(flux_message.release(spec(), "web", images(), WANT, ""))
    gone = entry(flux_message.undone(spec(), "web", bad, "it broke"))
    assert (gone.subject, gone.trailers.inputs, gone.reverts) == ("web: ccccccc is taken out of production", "", bad.commit)


def test_the_first_lines_that_differ_are_named() -> None:
    old: dict[tuple[str, ...], str | int | float | bool | None] = {("a",): 1, ("b", "c"): "x"}
    assert flux_wanted.changes(old, {**old, ("b", "c"): "y", ("d",): 2}) == "b.c, d"
    assert flux_wanted.changes(old, {("e", str(number)): 1 for number in range(6)}).endswith(" …")
