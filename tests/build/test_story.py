"""A build whose log cannot be written goes on, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.build.story import Story
from pipeline.events import Event, What
from pipeline.records import Records
from pipeline.stage import Site


class Lines:
    """A tool whose lines are for people."""

    status = ""

    def feed(self, line: str) -> str | None:
        return line


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def site(tmp_path: Path, events: list[Event]) -> Site:
    return Site("probe", tmp_path, {}, {}, {}, {}, {}, {}, Records(tmp_path / "records.db"), sink=events.append)


def told(events: list[Event]) -> list[str]:
    return [event.text for event in events if event.what == What.WARN]


@pytest.mark.parametrize("where", ["a file in its place", "a full disk", "a full disk found out late"])
def test_a_log_that_cannot_be_written_does_not_end_the_build(site: Site, events: list[Event], tmp_path: Path, where: str) -> None:
    logs = tmp_path / ".pipeline" / "logs"
    if where == "a file in its place":
        logs.parent.mkdir()
        logs.write_text("")
    else:
        logs.mkdir(parents=True)
        (logs / "build-1.log").symlink_to("/dev/full")
    count = 3 if where == "a full disk found out late" else 3000
    with Story(site, "build-1", Lines()) as story:
        for number in range(count):
            story.hear(f"line {number}")
        story.hear("@fact made")
    assert story.facts == ["made"]
    (warning,) = told(events)
    assert "the build goes on" in warning


def test_a_log_is_whole_if_it_can_be_written(site: Site, events: list[Event]) -> None:
    with Story(site, "build-1", Lines()) as story:
        story.hear("one")
    assert story.path.read_text() == "one\n"
    assert told(events) == []
