"""`inv remove`: by name, told first, done only if that was said, and written down."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.deploy.helm import DRIVER
from pipeline.deploy.spec import Helm
from pipeline.errors import ConfigError, Transient
from pipeline.prune.remove import confirm, facts, lines, look, remove
from pipeline.records import Records
from pipeline.stage import Removal, Site, Stage, Stays

SPEC = Helm("lab", "shop", "web")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site("web", tmp_path, {}, {}, {}, {}, {}, {}, Records(tmp_path / "records.db")) as made:
        yield made


def removal(done: list[str], error: Exception | None = None) -> Removal:
    def go() -> None:
        done.append("gone")
        if error:
            raise error

    return Removal("web", "shop", ("Deployment/web",), (Stays("PersistentVolumeClaim/disk", "it may hold data"),), go)


def plan(found: Removal) -> tuple[Stage, ...]:
    return (Stage("deploy", dataclasses.replace(DRIVER, removal=lambda _spec, _with_data, _site: found), SPEC),)


def test_only_the_release_that_is_named_is_looked_at(site: Site) -> None:
    found = removal([])
    assert look(plan(found), site, "web", with_data=False) is found
    assert look(plan(found), site, "shop/web", with_data=False) is found
    for wrong in ("", "other", "other/web", "we"):
        with pytest.raises(ConfigError) as caught:
            look(plan(found), site, wrong, with_data=False)
        assert "shop/web" in caught.value.mend
    with pytest.raises(ConfigError, match="no stage"):
        look(plan(found)[:0], site, "web", with_data=False)


def test_it_is_told_what_goes_and_what_stays() -> None:
    assert lines(removal([])) == [
        "the release shop/web is taken away", "goes   Deployment/web", "goes   all of its revisions",
        "stays  PersistentVolumeClaim/disk: it may hold data",
    ]  # fmt: skip
    assert facts(removal([]))["stays"] == [{"name": "PersistentVolumeClaim/disk", "why": "it may hold data"}]
    assert lines(dataclasses.replace(removal([]), goes=(), stays=(), go=None)) == ["there is no release shop/web"]


def test_it_is_said_or_typed_or_nothing_is_done() -> None:
    found = removal([])
    confirm(found, yes=True, ask=None)
    confirm(found, yes=False, ask=lambda _question: "web")
    confirm(dataclasses.replace(found, go=None), yes=False, ask=None)
    for ask in (None, lambda _question: "", lambda _question: "yes"):
        with pytest.raises(ConfigError, match="shop/web was not taken away") as caught:
            confirm(found, yes=False, ask=ask)
        assert "inv remove web --yes" in caught.value.mend


def test_it_is_written_down_whatever_comes_of_it(site: Site) -> None:
    done: list[str] = []
    remove(removal(done), site)
    assert done == ["gone"]
    (record,) = site.records.history()
    assert (record.stage, record.state, record.detail["why"]) == ("remove", "made", "shop/web was taken away")
    assert record.detail["stays"] == ["PersistentVolumeClaim/disk"]
    with pytest.raises(Transient):
        remove(removal(done, Transient("the API went away")), site)
    assert (site.records.history(1)[0].state, site.records.history(1)[0].detail["why"]) == ("failed", "the API went away")
    remove(dataclasses.replace(removal(done), go=None), site)
    assert site.records.history(1)[0].state == "found"
    assert site.records.unfinished() == []
