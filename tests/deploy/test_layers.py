"""Values files over each other, each value with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.deploy import layers
from pipeline.deploy.spec import Helm
from pipeline.errors import ConfigError
from pipeline.tools.placeholders import render


def plain(text: str, _place: str) -> Any:
    return text


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "values").mkdir()
    (tmp_path / "values/base.yaml").write_text("env:\n  A: one\n  B: two\nlist: [1, 2]\nkeep: on hold\n")
    (tmp_path / "values/staging.yaml").write_text("env:\n  B: '{short}'\n  C: null\nlist: [3]\n")
    return tmp_path


FILES = ("values/base.yaml", "values/staging.yaml")


def test_each_layer_goes_over_the_one_before_and_the_blueprint_over_all(root: Path) -> None:
    found = layers.read(root, FILES, {"env": {"A": "{commit}"}, "more": {"x": "{{x}}"}})
    words = {"short": "abc", "commit": "abcdef"}
    assert found.merged(lambda text, place: render(text, words, place)) == {
        "env": {"A": "abcdef", "B": "abc", "C": None}, "list": [3], "keep": "on hold", "more": {"x": "{x}"},
    }  # fmt: skip


def test_a_null_stays_for_helm_to_remove_the_chart_s_own_default(root: Path) -> None:
    assert layers.read(root, FILES, {"env": None}).merged(plain)["env"] is None


def test_the_place_of_a_value_is_where_it_was_written_last(root: Path) -> None:
    found = layers.read(root, FILES, {"env": {"A": "x"}, "hosts": [{"name": "a"}]})
    assert found.origin(("env", "A")) == "values.env.A"
    assert found.origin(("env", "B")) == "values/staging.yaml:2: env.B"
    assert found.origin(("keep",)) == "values/base.yaml:5: keep"
    assert found.origin(("hosts", "0", "name")) == "values.hosts.0.name"
    assert found.origin(("hosts", "1")) == "values.hosts.1"
    assert found.origin(("nowhere",)) == "values.nowhere"


def test_an_unknown_placeholder_is_told_with_file_and_line(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"values/staging.yaml:2: env\.B: \{short\} is not known"):
        layers.read(root, FILES, {}).merged(lambda text, place: render(text, {}, place))
    with pytest.raises(ConfigError, match=r"^values\.a\.0: \{x\} is not known"):
        layers.read(root, (), {"a": ["{x}"]}).merged(lambda text, place: render(text, {}, place))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("- a\n- b\n", r"values/staging\.yaml:1: a values file holds a mapping, not list"),
        ("text\n", r"values/staging\.yaml:1: a values file holds a mapping, not str"),
        ("a: 1\nb: 2\na: 3\n", r"staging\.yaml:3: 'a' stands here a second time"),
        ("a: [1\n", r"staging\.yaml:\d: this is not YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", r"staging\.yaml:1: the tag"),
        ("a: 1\n---\nb: 2\n", r"staging\.yaml:2: a second document"),
    ],
)
def test_y02_what_is_wrong_with_a_file_is_told_with_its_line(root: Path, text: str, what: str) -> None:
    (root / "values/staging.yaml").write_text(text)
    with pytest.raises(ConfigError, match=what):
        layers.read(root, FILES, {})


@pytest.mark.parametrize(
    "word",
    [
        "no",
        "Yes",
        "OFF",
        "on",
        "y",
        "N",
        "True",
        "NULL",
        "012",
        "0x1f",
        "0o17",
        "1_000",
        "1e3",
        ".inf",
        "12345678901234567890",
        "089",
        "0b11",
        "+3",
        ".5",
    ],
)
def test_y02_a_word_that_helm_takes_for_something_else_is_refused(root: Path, word: str) -> None:
    (root / "values/staging.yaml").write_text(f"a: 1\nb: [x, {word}]\n")
    with pytest.raises(ConfigError, match=r"values/staging\.yaml:2: '.*' is not text to helm") as caught:
        layers.read(root, FILES, {})
    assert f'"{word}"' in caught.value.mend
    (root / "values/staging.yaml").write_text(f"a: 1\nb: [x, '{word}']\n")
    assert layers.read(root, FILES, {}).merged(plain)["b"] == ["x", word]


@pytest.mark.parametrize("word", ["2026-01-01", "10:20", "none", "nope", "1.2.3", "sha256:ab", "/path", "0.1.0-rc.1"])
def test_what_is_text_to_helm_too_needs_no_quotes(root: Path, word: str) -> None:
    (root / "values/staging.yaml").write_text(f"b: {word}\n")
    assert layers.read(root, FILES, {}).merged(plain)["b"] == word


def test_an_empty_file_says_nothing(root: Path) -> None:
    (root / "values/staging.yaml").write_text("# nothing yet\n")
    assert layers.read(root, FILES, {}).merged(plain)["list"] == [1, 2]


def test_a_file_that_is_missing_is_told_with_the_near_one(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"no values file values/stagin\.yaml; did you mean 'values/staging\.yaml'\?") as caught:
        layers.read(root, ("values/stagin.yaml",), {})
    assert caught.value.mend == "beside it are: values/base.yaml, values/staging.yaml"
    with pytest.raises(ConfigError, match=r"no values file none/x\.yaml"):
        layers.read(root, ("none/x.yaml",), {})


def test_y06_a_file_outside_the_working_copy_is_refused(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("out") / "x.yaml"
    outside.write_text("a: 1\n")
    (root / "linked.yaml").symlink_to(outside)
    with pytest.raises(ConfigError, match="leads out of the working copy"):
        layers.read(root, ("linked.yaml",), {})
    for name in ("/etc/x.yaml", "../x.yaml", "-x", "", "a\0"):
        with pytest.raises(ValueError, match="is not a file inside"):
            Helm("lab", "shop", "web", values_files=(name,))
