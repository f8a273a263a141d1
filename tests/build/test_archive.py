from __future__ import annotations

import base64
import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.build import archive
from pipeline.errors import IntegrityError


def facts(info: object) -> archive.Facts:
    encoded = base64.b64encode(json.dumps(info).encode()).decode()
    return archive.read([f"info {encoded[:20]}", f"info {encoded[20:]}", "out /nix/store/x", "size 1"])


@pytest.mark.parametrize(
    "info",
    [
        [{"path": "/nix/store/x", "narHash": "sha256-abc=", "narSize": 1}],
        {"/nix/store/x": {"narHash": "sha256-abc=", "narSize": 1}},
        {"/nix/store/x": {"narHash": {"algorithm": "sha256", "format": "base64", "hash": "abc="}}},
        {"version": 2, "info": {"x": {"narHash": {"algorithm": "sha256", "format": "base64", "hash": "abc="}}}},
    ],
    ids=["2.8", "2.19", "hash in parts", "nested"],
)
def test_the_content_hash_in_every_form_nix_has_given_it(info: object) -> None:
    assert archive.nar_hash(facts(info)) == "sha256-abc="


@pytest.mark.parametrize("info", [None, [], {}, [{}], {"x": None}, {"x": {"narHash": 3}}, "text"])
def test_without_a_content_hash_nothing_is_trusted(info: object) -> None:
    with pytest.raises(IntegrityError, match="does not say what"):
        archive.nar_hash(facts(info))


def test_a_derivation_is_named_where_nix_names_it() -> None:
    assert archive.derivation(dataclasses.replace(facts([]), built=b'[{"drvPath":"/nix/store/x.drv"}]')) == "/nix/store/x.drv"
    assert archive.derivation(dataclasses.replace(facts([]), built=b"[]")) == ""
    assert archive.derivation(dataclasses.replace(facts([]), built=b"nonsense")) == ""


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40)))
def test_no_lines_at_all_make_an_image(lines: list[str]) -> None:
    with pytest.raises(IntegrityError):
        archive.image_id(archive.read(lines))
