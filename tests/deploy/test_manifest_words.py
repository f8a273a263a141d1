"""Words in braces are filled in where they are words, and nothing else in a manifest is touched."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.deploy.manifest_words import filled
from pipeline.errors import ConfigError

WORDS: dict[str, Any] = {
    "reference": "r@sha256:1", "relay.reference": "r@sha256:2", "team/relay.tag": "v1",
    "values.replicas": 2, "values.hosts": ["a", "b"], "values.on": True,
}  # fmt: skip


def place(path: tuple[str, ...]) -> str:
    return f"web.yaml:{len(path)}"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("{reference}", "r@sha256:1"),
        ("image={relay.reference}!", "image=r@sha256:2!"),
        ("{team/relay.tag}", "v1"),
        ("{values.replicas}", 2),
        ("{values.hosts}", ["a", "b"]),
        ("n={values.replicas} {values.on}", "n=2 true"),
        ({"a": ["{values.replicas}", 1, None]}, {"a": [2, 1, None]}),
    ],
)
def test_words_are_filled_in(given: Any, wanted: Any) -> None:
    assert filled(given, WORDS, place) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "${reference}",
        "{{reference}}",
        "{{ .Values.x }}",
        '{"a": 1}',
        "{}",
        "{ reference }",
        "server { listen 80; }",
        "$${HOME}",
        "a{2,3}",
        "{A}",
    ],
)
def test_what_is_a_shells_a_templates_or_a_servers_stays(text: str) -> None:
    assert filled(text, WORDS, place) == text


def test_an_unknown_word_is_told_with_file_and_line_and_the_near_one() -> None:
    with pytest.raises(ConfigError, match=r"web\.yaml:2: \{refrence\} is not known; did you mean 'reference'") as caught:
        filled({"a": {"b": "{refrence}"}}, WORDS, place)
    assert "`placeholders` does not name" in caught.value.mend
    with pytest.raises(ConfigError, match="is no text"):
        filled("x {values.hosts}", WORDS, place)
