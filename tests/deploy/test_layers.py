"""Values files over each other, each value with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.deploy import layers
from pipeline.deploy.spec import Helm
from pipeline.errors import ConfigError
from pipeline.tools.placeholders import render


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "values").mkdir()
    (tmp_path / "values/base.yaml").write_text("env:\n  A: one\n  B: two\nlist: [1, 2]\nkeep: on hold\n")
    (tmp_path / "values/staging.yaml").write_text("env:\n  B: three\n  C: null\nlist: [3]\n")
    return tmp_path


FILES = ("values/base.yaml", "values/staging.yaml")


def test_each_layer_goes_over_the_one_before_and_the_blueprint_over_all(root: Path) -> None:
    found = layers.read(root, FILES, {"env": {"A": "{commit}"}, "more": {"x": "{{x}}"}})
    assert found.merged(render(found.values, {"commit": "abcdef"})) == {
        "env": {"A": "abcdef", "B": "three", "C": None}, "list": [3], "keep": "on hold", "more": {"x": "{x}"},
    }  # fmt: skip


def test_a_null_stays_for_helm_to_remove_the_chart_s_own_default(root: Path) -> None:
    assert layers.read(root, FILES, {"env": None}).merged({"env": None})["env"] is None


def test_the_place_of_a_value_is_where_it_was_written_last(root: Path) -> None:
    found = layers.read(root, FILES, {"env": {"A": "x"}, "hosts": [{"name": "a"}]})
    assert found.origin(("env", "A")) == "values.env.A"
    assert found.origin(("env", "B")) == "values/staging.yaml:2: env.B"
    assert found.origin(("keep",)) == "values/base.yaml:5: keep"
    assert found.origin(("hosts", "0", "name")) == "values.hosts.0.name"
    assert found.origin(("hosts", "1")) == "values.hosts.1"
    assert found.origin(("nowhere",)) == "values.nowhere"


FOREIGN = """
existing: "{{ .Release.Name }}-db" # helm's tpl
legend: "{{instance}} of {{ $labels.job }}" # Grafana's and Prometheus's
caddyfile: |
  example.org {
    reverse_proxy {host}:8080
    log { format "{time} {level}" }
  }
script: "echo ${tag} $${digest} $(date) {}"
json: '{"digest": "{0}", "tag": {"commit": 1}}'
pattern: "^[a-z]{2,3}$"
url: https://example.org/{owner}/{repo}{?page}
python: "%(levelname)s {message!r} {x:>10}"
mode: 0755
"""


def test_a_values_file_is_handed_on_byte_for_byte(root: Path) -> None:
    """Row 4 of the strangers, and what Caddy, shells, jq, regular expressions, URI templates and Python's format have in braces."""
    (root / "values/staging.yaml").write_text(FOREIGN)
    found = layers.read(root, FILES, {})
    assert found.texts[1] == FOREIGN
    merged = found.merged({})
    assert (merged["existing"], merged["legend"]) == ("{{ .Release.Name }}-db", "{{instance}} of {{ $labels.job }}")
    assert "{host}:8080" in merged["caddyfile"]
    assert list(found.told()) == []


@pytest.mark.parametrize("word", ["tag", "web.digest", "repository", "reference", "team/web.tag", "short", "secret.name", "values.image"])
def test_a_word_of_ours_that_stands_alone_is_told_with_where_it_belongs(root: Path, word: str) -> None:
    (root / "values/staging.yaml").write_text(f"image:\n  tag: '{{{word}}}'\n")
    with pytest.raises(ConfigError, match=rf"values/staging\.yaml:2: image\.tag is {{{re.escape(word)}}}, and a values file") as told:
        layers.read(root, FILES, {})
    assert told.value.mend.startswith("write image.tag under the stage's `values`, where it is filled in")


def test_a_word_of_ours_within_a_text_is_told_and_left(root: Path) -> None:
    (root / "values/staging.yaml").write_text("a: [1, 'v-{short}']\nb: '{host} {{tag}} ${digest}'\n")
    found = layers.read(root, FILES, {})
    assert found.merged({})["a"] == [1, "v-{short}"]
    (line,) = found.told()
    assert line.startswith("values/staging.yaml:1: a.1 holds {short}, which stays as it is")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("- a\n- b\n", r"values/staging\.yaml:1: a values file holds a mapping, not list"),
        ("text\n", r"values/staging\.yaml:1: a values file holds a mapping, not str"),
        ("a: [1\n", r"staging\.yaml:\d: this is not YAML"),
        ("a: .inf\n", r"staging\.yaml:1: \.inf is no number that JSON has"),
        ("a: 1\n---\nb: 2\n", r"staging\.yaml:2: a second document"),
        ("---\n# nothing\n---\na: 1\n", r"staging\.yaml:3: a second document"),
        ("{}\r\n---\r\na: 1\r\n", r"staging\.yaml:2: a second document"),
        ("a: 1\n...\n---\nb: 2\n", r"staging\.yaml:3: a second document"),
        ("%YAML 1.1\n---\na: 1\n", r"staging\.yaml:1: '%YAML 1\.1' is no separator to Helm 4"),
        ("# one\n--- {a: 1}\n", r"staging\.yaml:2: '--- \{a: 1\}' is no separator to Helm 4"),
    ],
)
def test_y02_what_is_wrong_with_a_file_is_told_with_its_line(root: Path, text: str, what: str) -> None:
    (root / "values/staging.yaml").write_text(text)
    with pytest.raises(ConfigError, match=what):
        layers.read(root, FILES, {})


def test_y02_a_word_is_what_it_is_to_helm_and_a_key_that_stands_twice_is_told(root: Path) -> None:
    (root / "values/staging.yaml").write_text("b: [no, 0755, 1e3, =, 2026-01-01, !str 1]\nkeep: 1\nkeep: 2\n---\n# nothing\n")
    found = layers.read(root, FILES, {})
    assert found.merged({})["b"] == [False, 493, 1000, "=", "2026-01-01", "1"]
    assert found.merged({})["keep"] == 2
    assert list(found.told()) == ["values/staging.yaml:3: 'keep' stands here a second time, and what stands last counts"]


def test_a_number_that_helm_rounds_is_told(root: Path) -> None:
    (root / "values/staging.yaml").write_text("account: {id: 90071992547409931}\nround: 9007199254740992\ntext: '90071992547409931'\n")
    found = layers.read(root, FILES, {"list": [9007199254740993]})
    assert list(found.told()) == [
        "values/staging.yaml:1: account.id is 90071992547409931, of which helm makes 90071992547409936: put it in quotes",
        "values.list.0 is 9007199254740993, of which helm makes 9007199254740992: put it in quotes",
    ]


@pytest.mark.parametrize("text", ["---\na: 1\n", "# c\n--- # c\na: 1\n---\n# nothing\n", "\n---  \r\na: 1\r\n"])
def test_a_separator_with_nothing_behind_it_is_taken(root: Path, text: str) -> None:
    (root / "values/staging.yaml").write_text(text, newline="")
    assert layers.read(root, FILES, {}).merged({})["a"] == 1


def test_an_empty_file_says_nothing(root: Path) -> None:
    (root / "values/staging.yaml").write_text("# nothing yet\n")
    assert layers.read(root, FILES, {}).merged({})["list"] == [1, 2]


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
