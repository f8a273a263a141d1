"""The contract holds for a driver that keeps it, and names each promise that is broken."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Artifact, Source, Tree
from pipeline.records import Records
from pipeline.stage import Driver, Finding, Site
from pipeline.testing.contract import check_declaration, check_driver

SOURCE = Source("a" * 40, "b" * 40, False, "/copy")


@dataclass(frozen=True)
class Copy:
    """Where the tree is put."""

    name: str = "tree"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "world").mkdir()
    nothing: Any = {}
    return Site("app", tmp_path, nothing, nothing, nothing, nothing, nothing, nothing, Records(tmp_path / "records.db"))


def place(site: Site) -> Path:
    return site.root / "world" / "tree"


def tree(site: Site) -> Tree:
    return Tree(SOURCE, "here", str(place(site)))


def find(_spec: Copy, _given: Source, site: Site) -> Finding:
    return Finding(tree(site)) if place(site).exists() else Finding(None, "it is not there")


def make(_spec: Copy, _given: Source, site: Site) -> Tree:
    place(site).touch()
    return tree(site)


GOOD = Driver("sync", "copy", Source, Tree, Copy, find, make)


def check(driver: Driver, site: Site, spec: Any = None) -> Artifact:
    folder = site.root / "world"
    return check_driver(driver, spec or Copy(), SOURCE, site, world=lambda: sorted(folder.rglob("*")))


def test_a_driver_that_keeps_its_promises(site: Site) -> None:
    assert check(GOOD, site) == tree(site)
    place(site).unlink()
    fresh = dataclasses.replace(GOOD, fresh=True, find=lambda *_: Finding(None, "always fresh"))
    assert check(fresh, site) == tree(site)


def finds_by_itself(_spec: Copy, _given: Source, site: Site) -> Finding:
    return Finding(tree(site))


def is_silent(spec: Copy, given: Source, site: Site) -> Finding:
    return Finding(find(spec, given, site).artifact)


def acts_when_it_looks(spec: Copy, given: Source, site: Site) -> Finding:
    (site.root / "world" / "seen").touch()
    return find(spec, given, site)


def forgets(_spec: Copy, _given: Source, _site: Site) -> Finding:
    return Finding(None, "it is never there")


def makes_another_each_time(_spec: Copy, _given: Source, site: Site) -> Tree:
    count = len(list((site.root / "world").iterdir()))
    (site.root / "world" / str(count)).touch()
    place(site).touch()
    return dataclasses.replace(tree(site), source=dataclasses.replace(SOURCE, commit=str(count) * 40))


def finds_the_newest(spec: Copy, given: Source, site: Site) -> Finding:
    if not place(site).exists():
        return Finding(None, "it is not there")
    count = len(list((site.root / "world").iterdir())) - 2
    return Finding(dataclasses.replace(tree(site), source=dataclasses.replace(SOURCE, commit=str(count) * 40)))


def makes_another_kind(_spec: Copy, _given: Source, _site: Site) -> Source:
    return SOURCE


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"find": finds_by_itself}, "where nothing had been made yet"),
        ({"find": is_silent}, "did not say why"),
        ({"find": acts_when_it_looks}, "changed the world by looking in an empty world"),
        ({"find": forgets}, "found nothing after it was made"),
        ({"make": makes_another_each_time}, "and found"),
        ({"make": makes_another_each_time, "find": finds_the_newest}, "the second time"),
        ({"make": makes_another_kind}, "gives Tree, and made Source"),
        ({"takes": Tree}, "takes Tree, and was given Source"),
        ({"fresh": True}, "acts each time"),
        ({"live": lambda *_: None}, "says that None is live"),
        ({"verb": "publish"}, "is not a verb"),
        ({"name": ""}, "has no name"),
        ({"gives": Artifact}, "cannot be read back"),
    ],
)
def test_a_broken_promise_is_named(site: Site, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check(dataclasses.replace(GOOD, **change), site)


@dataclass
class Loose:
    """Options that anybody can change."""

    name: str = "tree"


@dataclass(frozen=True)
class Undescribed:
    name: str = "tree"


@dataclass(frozen=True)
class Callback:
    """Options with a function among them."""

    call: Callable[[], None] = field(default=print)


@dataclass(frozen=True)
class Bytes:
    """Options that JSON does not know."""

    content: bytes = b""


class Bare:
    """Not a dataclass."""


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        (Loose(), "can be changed"),
        (Undescribed(), "does not describe its options"),
        (Callback(lambda: None), "prints as an address"),
        (Bytes(b"x"), "not plain JSON"),
        (Bare(), "is not its spec"),
    ],
)
def test_options_that_could_not_name_an_outcome(spec: Any, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_declaration(dataclasses.replace(GOOD, spec=type(spec)), spec)
    with pytest.raises(AssertionError, match="is not its spec"):
        check_declaration(GOOD, spec)
