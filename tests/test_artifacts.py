"""Every artifact comes back from JSON equal, and nothing else comes back at all."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.artifacts import (
    KINDS,
    Artifact,
    Bundle,
    Check,
    Image,
    Images,
    Infra,
    Moved,
    Release,
    Report,
    Source,
    Tree,
    content_hash,
    from_json,
    to_json,
)

TEXT = st.text(max_size=8)
NUMBER = st.integers(0, 2**53)
SOURCES = st.builds(Source, TEXT, TEXT, st.booleans(), TEXT)
IMAGES = st.lists(st.builds(Image, TEXT, TEXT, TEXT, TEXT), max_size=3).map(tuple)
RELEASES = st.builds(Release, SOURCES, IMAGES, TEXT, TEXT, TEXT, NUMBER, TEXT)
CHECKS = st.lists(st.builds(Check, TEXT, st.booleans(), TEXT), max_size=3).map(tuple)
BY_KIND: dict[str, st.SearchStrategy[Artifact]] = {
    "source": SOURCES,
    "tree": st.builds(Tree, SOURCES, TEXT, TEXT),
    "bundle": st.builds(Bundle, SOURCES, TEXT, TEXT, TEXT, TEXT, TEXT, NUMBER),
    "image": st.builds(Image, TEXT, TEXT, TEXT, TEXT),
    "images": st.builds(Images, SOURCES, IMAGES, st.lists(st.builds(Moved, TEXT, TEXT, TEXT), max_size=2).map(tuple)),
    "release": RELEASES,
    "report": st.builds(Report, RELEASES, CHECKS, TEXT),
    "infra": st.builds(Infra, TEXT, TEXT, NUMBER, NUMBER),
}
ARTIFACTS = st.one_of(*BY_KIND.values())
SOURCE = Source("7" * 40, "c" * 40, False, "/copy")
IMAGE = Image("registry:5000/app", "sha256:" + "d" * 64, "c0ffee1")
RELEASE = Release(SOURCE, (IMAGE,), "k3s", "coulomb", "app", 7, "e" * 64)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def test_every_kind_is_tried() -> None:
    assert set(BY_KIND) == set(KINDS)
    assert all(cls.kind == kind for kind, cls in KINDS.items())


@given(ARTIFACTS)
def test_json_and_back_is_the_same(artifact: Artifact) -> None:
    again = from_json(json.loads(json.dumps(to_json(artifact))))
    assert again == artifact
    assert type(again) is type(artifact)
    assert again.id == artifact.id


@given(ARTIFACTS, st.data())
def test_y03_a_wrong_value_anywhere_is_refused(artifact: Artifact, data: st.DataObject) -> None:
    value = json.loads(json.dumps(to_json(artifact)))
    spot, key = value, "kind"
    for _ in range(3):
        key = data.draw(st.sampled_from(sorted(spot)))
        if not isinstance(spot[key], dict):
            break
        spot = spot[key]
    old, spot[key] = spot[key], data.draw(JUNK)
    if type(spot[key]) is type(old) and not isinstance(old, list | dict):
        return  # another text in place of a text is another artifact, not a wrong one
    try:
        again = from_json(value)
    except (KeyError, TypeError, ValueError):
        return
    assert json.loads(json.dumps(to_json(again))) == value, "what was taken is what was written"


@settings(max_examples=200)
@given(JUNK)
def test_y03_what_is_no_artifact_is_refused_with_the_errors_it_names(junk: Any) -> None:
    for value in (junk, {"kind": "source", "tree": junk}, {"kind": junk}, {"kind": "images", "source": junk, "images": junk}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            from_json(value)


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"revision": "7"},
        {"revision": True},
        {"revision": 7.0},
        {"images": "abc"},
        {"images": {"a": 1}},
        {"images": [["a"]]},
        {"source": None},
        {"source": {**dataclasses.asdict(SOURCE), "extra": 1}},
        {"kind": "nothing"},
        {"kind": ["release"]},
        {"name": None},
    ],
)
def test_y03_unknown_fields_and_other_types_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        from_json({**to_json(RELEASE), **change})


@pytest.mark.parametrize("missing", ["kind", "source", "revision"])
def test_a_missing_field_is_refused(missing: str) -> None:
    value = to_json(RELEASE)
    del value[missing]
    with pytest.raises((KeyError, TypeError)):
        from_json(value)


def test_ids_name_content_not_place() -> None:
    moved = dataclasses.replace(SOURCE, path="/elsewhere")
    assert moved.id == SOURCE.id
    assert Tree(SOURCE, "a", "/x").id == Tree(moved, "b", "/y").id
    assert Bundle(SOURCE, "a", "/x", "n", "sha256:1").id == Bundle(SOURCE, "b", "/y", "m", "sha256:1").id
    assert Images(SOURCE, (IMAGE,)).id == Images(SOURCE, (dataclasses.replace(IMAGE, tag="moved"),)).id
    assert Images(SOURCE, (IMAGE,)).id != Images(SOURCE, (dataclasses.replace(IMAGE, digest="sha256:0"),)).id
    assert dataclasses.replace(RELEASE, revision=8).id == RELEASE.id, "the same release rolled out again is the same"
    assert Artifact.kind == ""
    with pytest.raises(TypeError, match="no identity"):
        _ = Artifact().id


def test_a_dirty_tree_is_part_of_the_identity() -> None:
    dirty = dataclasses.replace(SOURCE, dirty=True)
    assert (SOURCE.id, SOURCE.label) == ("c" * 40, "c" * 7)
    assert (dirty.id, dirty.label) == (f"{'c' * 40}+{'7' * 40}", "ccccccc-dirty-77777777")


def test_an_image_is_deployed_by_digest() -> None:
    assert IMAGE.reference == f"registry:5000/app@sha256:{'d' * 64}"


def test_a_report_without_checks_has_not_passed() -> None:
    good, bad = Check("pods", True, "1 of 1"), Check("GET /", False, "500")
    assert not Report(RELEASE, ()).passed
    assert Report(RELEASE, (good,)).passed
    assert not Report(RELEASE, (good, bad)).passed
    assert Report(RELEASE, (good,)).id != Report(RELEASE, (bad,)).id


def test_content_hash_does_not_depend_on_order_or_space() -> None:
    assert content_hash({"a": 1, "b": [1, 2]}) == content_hash({"b": [1, 2], "a": 1})
    assert content_hash({"a": 1}) != content_hash({"a": "1"})
    assert content_hash(["ab"]) != content_hash(["a", "b"])
    assert content_hash([]) == "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"


def test_what_tags_were_moved_comes_back_but_is_no_part_of_the_set() -> None:
    bare, told = Images(SOURCE, (IMAGE,)), Images(SOURCE, (IMAGE,), (Moved("registry:5000/app", "main", "sha256:" + "a" * 64),))
    assert told.id == bare.id
    assert told == bare
    assert from_json(to_json(told)).moved == told.moved  # type: ignore[attr-defined]
    old = {name: value for name, value in to_json(bare).items() if name != "moved"}
    assert from_json(old) == bare, "a record from before tags were moved"
