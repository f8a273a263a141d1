"""Values against a chart's schema: keys before helm is asked, the rest in helm's words, each with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.deploy import layers, typos
from pipeline.deploy.chart import Chart, read
from pipeline.errors import AuthError, ConfigError
from pipeline.tools import helm

ROOT = Path(__file__).parents[2]
SCHEMA: dict[str, Any] = {
    "additionalProperties": False,
    "definitions": {"named": {"type": "object", "additionalProperties": False, "properties": {"name": {}}}},
    "properties": {
        "image": {"additionalProperties": False, "properties": {"digest": {"type": "string"}, "tag": {}}},
        "env": {"additionalProperties": {"type": "string"}},
        "hosts": {"items": {"$ref": "#/definitions/named"}},
        "either": {"additionalProperties": False, "anyOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
        "elsewhere": {"$ref": "https://example.org/schema.json"},
        "loop": {"$ref": "#/properties/loop"},
        "nothing": {"$ref": "#/properties/image/type"},
        "deep": {"additionalProperties": {"$ref": "#/definitions/named"}},
    },
}


def chart(schema: Any = SCHEMA) -> Chart:
    text = schema if isinstance(schema, bytes) else json.dumps(schema).encode()
    return Chart(Path("/c"), "web", "1.0.0", ((typos.SCHEMA, text),), "d")


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"imgae": {}}, ("imgae",)),
        ({"image": {"digset": "x"}}, ("image", "digset")),
        ({"hosts": [{"name": "a"}, {"nmae": "b"}]}, ("hosts", "1", "nmae")),
        ({"deep": {"x": {"nmae": "b"}}}, ("deep", "x", "nmae")),
        (
            {"image": {"digest": 3}, "env": {"ANY": "x"}, "either": {"c": 1}, "elsewhere": {"x": 1}, "loop": {"x": 1}, "nothing": {"x": 1}},
            None,
        ),
    ],
)
def test_only_what_is_surely_unknown_is_found(values: dict[str, Any], path: tuple[str, ...] | None) -> None:
    assert [found for found, _ in typos.unknown(SCHEMA, values)] == ([path] if path else [])


def test_a_typing_error_is_told_with_file_line_and_the_near_key(tmp_path: Path) -> None:
    (tmp_path / "staging.yaml").write_text("image:\n  tag: x\n  digset: z\n")
    layered = layers.read(tmp_path, ("staging.yaml",), {})
    with pytest.raises(ConfigError, match=r"^staging.yaml:3: image\.digset is not known to chart web; did you mean 'digest'\?$") as caught:
        typos.check(chart(), layered.merged({}), layered)
    assert caught.value.mend == "image takes: digest, tag"


def test_a_chart_without_a_schema_takes_what_it_is_given() -> None:
    layered = layers.read(Path("/"), (), {"x": 1})
    typos.check(Chart(Path("/c"), "web", "1.0.0", (), "d"), {"x": 1}, layered)
    typos.check(chart(True), {"x": 1}, layered)
    typos.check(chart({"properties": ["x"], "items": 3}), {"x": 1}, layered)
    with pytest.raises(ConfigError, match="is not JSON"):
        typos.check(chart(b"{"), {"x": 1}, layered)
    with pytest.raises(ConfigError, match="is not JSON"):
        typos.check(chart(b"[" * 100_000), {"x": 1}, layered)


@pytest.mark.parametrize("folder", ["chart", "pipeline/lab/samples/tokenplace/chart"])
def test_the_schemas_of_our_own_charts_know_their_own_values(folder: str) -> None:
    import yaml

    files = dict(read(ROOT, folder).files)
    schema, values = json.loads(files[typos.SCHEMA]), yaml.safe_load(files["values.yaml"])
    assert list(typos.unknown(schema, values)) == []
    assert [path for path, _ in typos.unknown(schema, {**values, "replcas": 1})] == [("replcas",)]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("- at '/image/tag': got number, want string", "staging.yaml:2: image.tag: got number, want string"),
        (
            "- image.tag: Invalid type. Expected: string, given: integer",
            "staging.yaml:2: image.tag: Invalid type. Expected: string, given: integer",
        ),
        ("- at '/image/a~1b~0c': x", "staging.yaml:3: image.a/b~c: x"),
        ("- at '': missing property 'a'", "missing property 'a'"),
        ("- (root): a is required", "a is required"),
        ("- at '/env/X': got null, want string", "values.env.X: got null, want string"),
    ],
)
def test_what_helm_says_of_a_value_is_told_with_its_place(tmp_path: Path, said: str, told: str) -> None:
    (tmp_path / "staging.yaml").write_text("image:\n  tag: 3\n  a/b~c: 1\n")
    layered = layers.read(tmp_path, ("staging.yaml",), {"env": {"X": None}})
    error = helm.failure(1, f"Error: values don't meet the specifications of the schema(s) in the following chart(s):\nweb:\n{said}\n")
    explained = typos.explained(error, layered, "web")
    assert (type(explained), explained.what, explained.cause) == (ConfigError, "the values do not fit the chart's schema", told)


def test_what_is_said_of_a_chart_inside_has_its_place_too(tmp_path: Path) -> None:
    (tmp_path / "staging.yaml").write_text("db:\n  size: large\n")
    error = helm.failure(
        1, "Error: values don't meet the specifications of the schema(s) in the following chart(s):\ndb:\n- at '/size': no\n"
    )
    explained = typos.explained(error, layers.read(tmp_path, ("staging.yaml",), {}), "web")
    assert explained.cause == "staging.yaml:2: db.size: no"


@pytest.mark.parametrize("major", [3, 4])
def test_helm_s_recorded_words_are_told_with_their_places(major: int) -> None:
    text = (ROOT / f"tests/cases/helm/helm{major}-schema-value.txt").read_text()
    values = {"image": {"tag": "a b"}, "service": {"port": "5010"}, "env": {"A": None}}
    explained = typos.explained(helm.failure(1, text), layers.read(ROOT, (), values), "tokenplace-relay")
    assert explained.cause.splitlines()[:2] == [
        "values.service.port: got string, want integer",
        "values.env.A: got null, want string",
    ]
    assert explained.cause.splitlines()[2].startswith("values.image.tag: 'a b' does not match pattern")


def test_another_error_stays_as_it_is(tmp_path: Path) -> None:
    error = AuthError("no", cause="Error: forbidden")
    assert typos.explained(error, layers.read(tmp_path, (), {}), "web") is error
