"""`inv prune` on the lab: real registries, a real cluster, real git; what is needed stays, whoever needs it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.tools.registry import Client, client_of
from tests.real.app import App, application
from tests.real.test_hub import push

pytestmark = pytest.mark.real
PLACE = "coulomb/{}"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, lab_site_file: Path) -> Iterator[App]:
    """Released once, so that its oldest commit is what is live; then seven more commits, each with an image of its own in the registry."""
    with application("prune", tmp_path_factory.mktemp("prune")) as made:
        first = made.inv("deploy")
        assert first.returncode == 0, first.stderr
        yield made


def commits(app: App, count: int) -> list[str]:
    """That many commits, a minute apart, the newest last."""
    made = []
    for _ in range(count):
        number = int(app.git("rev-list", "--count", "HEAD"))
        (app.root / "number").write_text(f"{number}\n")
        when = f"2030-01-01T00:{number:02d}:00Z"
        os.environ["GIT_COMMITTER_DATE"] = when
        try:
            made.append(app.commit(f"Number {number}")[:7])
        finally:
            del os.environ["GIT_COMMITTER_DATE"]
    return made


def pruned(app: App, *words: str, code: int = 0) -> dict[str, Any]:
    done = app.inv("prune", "--json", *words)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"error": done.stderr}
    return found


@pytest.fixture
def client(app: App) -> Iterator[Client]:
    with app.blueprint.site() as site:
        yield client_of(site, "coulombcore")


def test_the_last_five_tags_stay_and_what_is_live(app: App, client: Client) -> None:
    place, live = PLACE.format(app.name), app.git("rev-parse", "HEAD")[:7]
    new = commits(app, 7)
    for each in new:
        push(client, place, each, each)
    moving = client.manifest(place, new[1])
    assert moving
    client.put_manifest(place, "stable", moving)
    shown = pruned(app, "--dry-run")
    assert len([tag for tag in client.tags(place) if not tag.startswith("sha256-")]) == 9, "nothing has gone"
    assert [row["name"].partition(" ")[0] for row in shown["rows"] if row["goes"]] == [f"{place}:{new[0]}"]
    done = pruned(app)
    assert [row["goes"] for row in done["rows"]] == [row["goes"] for row in shown["rows"]]
    assert {tag for tag in client.tags(place) if not tag.startswith("sha256-")} == {live, new[1], "stable", *new[2:]}
    assert not [row for row in pruned(app)["rows"] if row["goes"]], "what went is gone, and nothing else goes"
