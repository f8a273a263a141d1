"""What stands in a repository's lines before the first release: it fits, and nobody can deploy it by accident."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.tools import unreleased
from pipeline.tools.references import DIGEST

LIVE = {"image": {"repository": "ghcr.io/owner/web", "digest": "sha256:" + "a" * 64}, "commit": "b" * 40}


def release(values: Any, suspend: object = True) -> dict[str, Any]:
    return {"spec": {"suspend": suspend, "values": values}}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{reference}", f"unreleased.invalid/app@{unreleased.DIGEST}"), ("{web.tag}-x", "unreleased-x"), ("{short}", "0000000"),
        ("{app}", "app"), ("{{raw}}", "{raw}"), ("{owner/web.repository}", "unreleased.invalid/web"), (3, 3), (["{app}"], ["app"]),
        ({"a": "{digest}"}, {"a": unreleased.DIGEST}),
    ],
)  # fmt: skip
def test_each_word_has_a_placeholder(text: object, filled: object) -> None:
    assert unreleased.filled(text, "app") == filled


def test_a_placeholder_is_what_a_chart_would_take() -> None:
    assert DIGEST.fullmatch(unreleased.DIGEST)
    assert unreleased.REPOSITORY.endswith(".invalid")


@pytest.mark.parametrize("word", ["{digest}", "{repository}", "{commit}", "{web.tag}", "{web.reference}"])
def test_one_line_is_enough_to_know_it(word: str) -> None:
    values = unreleased.filled({"deep": {"list": [{"line": word}]}}, "app")
    assert unreleased.waits(release(values))
    assert not unreleased.waits(release(values, suspend=False))
    assert not unreleased.waits(release(values, suspend="true"))


def test_one_that_a_person_suspended_does_not_wait_for_its_first_release() -> None:
    assert not unreleased.waits(release(LIVE))
    assert not unreleased.waits({})
    assert not unreleased.waits({"spec": None})
