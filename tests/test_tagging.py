"""The tasks of tags as a face: what they print and hand on, and what they try again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.events import What
from pipeline.stage import Site
from pipeline.tagging import collection
from pipeline.testing.registry import FakeRegistry
from tests.build.test_placing import PLAN, image, registry, site, source

__all__ = ["registry", "site", "source"]


class Face:
    """The tasks by name, over one site."""

    def __init__(self, site: Site) -> None:
        self.plan = PLAN
        self.printed: list[dict[str, Any]] = []

        @contextlib.contextmanager
        def opened(*_options: Any) -> Iterator[tuple[Any, Any]]:
            yield self, site

        made = collection(lambda body: body, opened, self.printed.append, {})
        self.tasks = {name: task.body for name, task in made.tasks.items()}


@pytest.fixture
def face(source: Any, site: Site) -> Face:  # `source`: the working copy has to be there
    return Face(site)


def test_where_tags_stand_as_lines_and_as_json(face: Face, registry: FakeRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    digest = image(registry, "relay", "main")
    face.tasks["show"](None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{registry.address}/team/node:main  not there"
    assert lines[2] == f"{registry.address}/team/relay:main  {digest[:19]} (main, commit ccccccc)"
    face.tasks["show"](None, json=True)
    assert [(row["tag"], row["digest"]) for row in face.printed[0]["tags"]][2] == ("main", digest)
    assert capsys.readouterr().out == ""


def test_a_tag_that_is_put_prints_what_it_stands_for_now(face: Face, registry: FakeRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = image(registry, "relay", "sha-1111111"), image(registry, "relay", "main")
    face.tasks["put"](None, "main", to="sha-1111111", image="relay")
    assert capsys.readouterr().out == f"{registry.address}/team/relay@{old}\n"
    face.tasks["show"](None)
    assert f"{registry.address}/team/relay:main  {old[:19]} (sha-1111111, commit ccccccc), before {new[:19]}\n" in capsys.readouterr().out
    face.tasks["put"](None, "main", to="before", image="relay", json=True)
    assert face.printed[0]["moved"] == [{"repository": f"{registry.address}/team/relay", "tag": "main", "before": old}]


def test_what_it_is_to_stand_for_has_to_be_said(face: Face) -> None:
    with pytest.raises(ConfigError, match="what is it to stand for") as caught:
        face.tasks["put"](None, "main")
    assert "inv tags.put main --to" in caught.value.mend


def test_what_passes_is_tried_again_and_told(face: Face, registry: FakeRegistry, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    old = image(registry, "relay", "sha-1111111")
    told: list[What] = []
    monkeypatch.setattr(type(site), "tell", lambda _site, what, _stage, _text, **_data: told.append(what))
    monkeypatch.setattr(site.clock, "sleep", lambda _seconds: None)
    registry.fault("PUT", "/main$", status=503)
    face.tasks["put"](None, "main", to="sha-1111111", image="relay")
    assert registry.tags["team/relay", "main"] == old
    assert told.count(What.RETRY) == 1
