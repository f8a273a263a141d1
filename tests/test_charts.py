"""The chart's tasks as a face: what they write, print and hand on."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.charts import collection
from pipeline.deploy import packed
from pipeline.deploy.helm import DRIVER
from pipeline.errors import ConfigError, Transient
from pipeline.events import Event, What
from pipeline.stage import Site, Stage
from pipeline.testing.registry import FakeRegistry
from tests.deploy.test_oci import raised, registry, site, spec

__all__ = ["registry", "site"]


class Face:
    """The tasks by name, over one site; `plan` says what is published."""

    def __init__(self, site: Site) -> None:
        self.plan: tuple[Stage, ...] = (Stage("deploy", DRIVER, spec()),)
        self.root = site.root
        self.printed: list[dict[str, Any]] = []

        @contextlib.contextmanager
        def opened(*_options: Any) -> Iterator[tuple[Any, Any]]:
            yield self, site

        made = collection(lambda body: body, opened, self.printed.append, {})
        self.tasks = {name: task.body for name, task in made.tasks.items()}


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def face(site: Site) -> Face:
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "Start"]):
        subprocess.run(["git", "-C", str(site.root), *words], check=True)
    return Face(site)


def test_a_package_is_a_file_and_nothing_is_published(face: Face, registry: FakeRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    face.tasks["package"](None)
    file = Path(capsys.readouterr().out.strip())
    assert file == face.root / ".pipeline/packages/web-1.0.0.tgz"
    assert packed.unpack(file.read_bytes(), "here")[0] == "web"
    assert registry.asked == []
    before = file.read_bytes()
    face.tasks["package"](None, to=str(face.root / "dist"), json=True)
    assert (face.root / "dist/web-1.0.0.tgz").read_bytes() == before
    assert face.printed[0]["version"] == "1.0.0"


def test_a_push_prints_what_can_be_pinned(face: Face, registry: FakeRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    face.tasks["push"](None)
    digest = registry.tags["team/web", "1.0.0"]
    assert capsys.readouterr().out == f"oci://{registry.address}/team/web:1.0.0@{digest}  made\n"
    face.tasks["push"](None, json=True)
    assert (face.printed[0]["chart"]["state"], face.printed[0]["chart"]["digest"]) == ("found", digest)


def test_the_commit_may_be_the_app_version(face: Face, registry: FakeRegistry) -> None:
    commit = subprocess.run(["git", "-C", str(face.root), "rev-parse", "--short=7", "HEAD"], check=True, capture_output=True, text=True)
    face.tasks["push"](None, app_version="commit")
    (archive,) = [body for body in registry.blobs.values() if body[:2] == b"\x1f\x8b"]
    assert f'appVersion: "{commit.stdout.strip()}"'.encode() in dict(packed.unpack(archive, "there")[1])["Chart.yaml"]


def test_what_passes_is_tried_again_and_told(
    face: Face, registry: FakeRegistry, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.random", lambda: 0.0)
    registry.fault("PUT", "manifests/1.0.0", status=502, stored=True)
    face.tasks["push"](None, json=True)
    assert face.printed[0]["chart"]["state"] == "found"
    assert [event.stage for event in events if event.what is What.RETRY] == ["chart"]


def test_a_blueprint_without_a_chart_of_its_own_is_told(face: Face) -> None:
    face.plan = ()
    for name in ("push", "package"):
        with pytest.raises(ConfigError, match="publishes no chart"):
            face.tasks[name](None)


def test_a_registry_that_stays_away_ends_it(face: Face, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.retry.Policy.wait", lambda *_: 0.0)
    registry.fault("HEAD", "manifests", status=500, count=99)
    with pytest.raises(Transient):
        face.tasks["push"](None)
    raised(face.root, "1.0.0")
    assert registry.tags == {}
