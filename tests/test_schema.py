"""Dataclasses as the one schema: what is taken, what is refused and how it is told, and the same as JSON Schema."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import schema
from pipeline.errors import ConfigError
from pipeline.push.skopeo import Spec
from pipeline.yamlfile import Document, Place, parse


@dataclass(frozen=True)
class Check:
    """One page."""

    path: str
    status: int = 200
    json: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise ValueError(f"path {self.path!r} does not begin with /")


@dataclass(frozen=True)
class Options:
    """Every kind of option there is."""

    host: str
    rollback: Literal["previous", "never"] = "previous"
    deadline: float = 300.0
    restarts: int = 2
    pods: bool = True
    checks: tuple[Check, ...] = ()
    words: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    secret: Check | None = None
    port: int | str = 0


GOOD = """\
host: haskelseed
rollback: never
deadline: 60
restarts: 3
pods: false
checks:
  - {path: /, status: 204}
  - path: /healthz
    json: {status: ok, "deep": {a: [1]}}
words: [a, b]
env: {GHCRTS: -A32m}
values: {image: {tag: x}, n: 1}
secret: {path: /s}
port: http
"""


def build(text: str, cls: type[Any] = Options) -> Any:
    return schema.build(cls, parse(text, "app.yml"))


def refusal(text: str, cls: type[Any] = Options) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        build(text, cls)
    return caught.value


def test_everything_is_read_into_its_type() -> None:
    assert build(GOOD) == Options(
        host="haskelseed",
        rollback="never",
        deadline=60.0,
        restarts=3,
        pods=False,
        checks=(Check("/", 204), Check("/healthz", json={"status": "ok", "deep": {"a": [1]}})),
        words=("a", "b"),
        env={"GHCRTS": "-A32m"},
        values={"image": {"tag": "x"}, "n": 1},
        secret=Check("/s"),
        port="http",
    )
    assert isinstance(build(GOOD).deadline, float)


def test_what_is_not_said_is_the_default() -> None:
    assert build("host: x") == Options("x")
    assert build("host: x\nsecret: ~\n").secret is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("host: x\nrestart: 3", "app.yml:2: restart is not known; did you mean 'restarts'?"),
        ("host: x\nchecks:\n- path: /\n- path: /\n  stauts: 1", "app.yml:5: checks.1.stauts is not known; did you mean 'status'?"),
        ("restarts: 1", "app.yml:1: the file lacks host"),
        ("host: x\nchecks:\n- status: 1", "app.yml:3: checks.0 lacks path"),
        ("host: 5", "app.yml:1: host takes text, not 5; put quotes around it"),
        ("host: 1.10", "app.yml:1: host takes text, not 1.1; put quotes around it"),
        ("host: true", "app.yml:1: host takes text, not True; put quotes around it"),
        ("host: ~", "app.yml:1: host takes text, not nothing"),
        ("host: [a]", "app.yml:1: host takes text, not a list"),
        ("host: x\nrestarts: '3'", "app.yml:2: restarts takes a whole number, not '3'"),
        ("host: x\nrestarts: 3.5", "app.yml:2: restarts takes a whole number, not 3.5"),
        ("host: x\nrestarts: true", "app.yml:2: restarts takes a whole number, not True"),
        ("host: x\ndeadline: soon", "app.yml:2: deadline takes a number, not 'soon'"),
        ("host: x\ndeadline: true", "app.yml:2: deadline takes a number, not True"),
        ("host: x\npods: yes", "app.yml:2: pods takes true or false, not 'yes'"),
        ("host: x\npods: 1", "app.yml:2: pods takes true or false, not 1"),
        ("host: x\nrollback: prevoius", "app.yml:2: rollback is 'prevoius', not one of: previous, never; did you mean 'previous'?"),
        ("host: x\nchecks: {path: /}", "app.yml:2: checks takes a list, not a mapping"),
        ("host: x\nchecks: [/]", "app.yml:2: checks.0 takes a mapping, not '/'"),
        ("host: x\nwords: [a, 5]", "app.yml:2: words.1 takes text, not 5; put quotes around it"),
        ("host: x\nenv: [a]", "app.yml:2: env takes a mapping, not a list"),
        ("host: x\nenv:\n  A: b\n  N: 1", "app.yml:4: env.N takes text, not 1; put quotes around it"),
        ("host: x\nsecret: {}", "app.yml:2: secret lacks path"),
        ("host: x\nport: [1]", "app.yml:2: port takes a whole number, not a list"),
        ("[]", "app.yml:1: the file takes a mapping, not a list"),
        ("host: x\nchecks:\n- path: healthz", "app.yml:3: checks.0: path 'healthz' does not begin with /"),
    ],
)
def test_a_refusal_names_file_line_key_and_what_is_taken(text: str, says: str) -> None:
    assert refusal(text).what == says


def test_a_refusal_lists_what_there_is() -> None:
    assert refusal("host: x\nzzz: 1").mend.startswith("the file takes: host, rollback, deadline")
    assert refusal("rollback: never").mend == "add host: … there"
    assert "stands" not in refusal("host: " + "x" * 500 + "\npods: " + "y" * 500).what
    assert len(refusal("host: x\npods: " + "y" * 500).what) < 100


def test_i01_control_characters_do_not_come_through_another_door() -> None:
    """A document need not come from a file."""
    document = Document({"host": "a\x1b[2J"}, {(): Place("made", 1)})
    with pytest.raises(ConfigError, match="control character"):
        schema.build(Options, document)


def test_a_part_of_a_document_is_read_with_its_places() -> None:
    document = parse("stages:\n  deploy:\n    host: x\n    restarts: no\n", "app.yml")
    with pytest.raises(ConfigError, match=r"app\.yml:4: stages\.deploy\.restarts takes a whole number, not 'no'"):
        schema.build(Options, document, ("stages", "deploy"))


def test_the_overlay_is_named_where_it_is_wrong() -> None:
    document = parse("host: x\nrestarts: 1", "app.yml").under(parse("# over\n\nrestarts: x", "app.lab.yml"))
    with pytest.raises(ConfigError, match=r"app\.lab\.yml:3: restarts"):
        schema.build(Options, document)


# the same as JSON Schema


def test_json_schema_is_one_and_takes_what_is_good() -> None:
    shape = schema.json_schema(Options)
    jsonschema.Draft202012Validator.check_schema(shape)
    jsonschema.validate(parse(GOOD, "x").data, shape)
    assert shape["$schema"].endswith("2020-12/schema")
    assert shape["required"] == ["host"]
    assert shape["description"] == "Every kind of option there is."
    assert shape["properties"]["rollback"] == {"enum": ["previous", "never"]}


VALUES = st.sampled_from(
    ["x", "/x", "previous", 1, 0, -1, 1.5, True, False, None, [], ["a"], [{"path": "/"}], {}, {"path": "/p"}, {"a": "b"}, {"a": 1}]
)
KEYS = st.sampled_from([*Options.__dataclass_fields__, "unknown", "path"])


@settings(max_examples=300)
@given(st.dictionaries(KEYS, VALUES, max_size=3), st.booleans())
def test_both_schemas_agree(changes: dict[str, Any], good: bool) -> None:
    data = {**(copy.deepcopy(parse(GOOD, "x").data) if good else {"host": "x"}), **changes}
    checks = [data.get("secret"), *(data["checks"] if isinstance(data.get("checks"), list) else [])]
    paths = [check.get("path") for check in checks if isinstance(check, dict)]
    if any(isinstance(path, str) and not path.startswith("/") for path in paths):
        return  # what a dataclass refuses by itself, no JSON Schema knows
    try:
        schema.build(Options, Document(data, {(): Place("x", 1)}))
        built = True
    except ConfigError:
        built = False
    assert jsonschema.Draft202012Validator(schema.json_schema(Options)).is_valid(data) == built


def test_i01_a_name_that_a_driver_refuses_comes_with_its_place_and_mend() -> None:
    with pytest.raises(ConfigError, match=r"web\.yml:1: the file: '\.\./x' is not the name of a repository") as caught:
        schema.build(Spec, parse('registry: shelf\nrepository: "../x"\n', "web.yml"))
    assert "team/app" in caught.value.mend


@dataclass(frozen=True)
class Steps:
    """Steps, each of one kind."""

    steps: tuple[Annotated[Any, schema.OneOf({"path": "tests.test_schema:Check", "never": "tests.nothing_of_the_kind:Never"})], ...] = ()


def test_a_kind_is_loaded_where_a_document_has_one_of_it() -> None:
    found = schema.build(Steps, parse("steps: [{path: /a, status: 204}]", "probe.yml"))
    assert found == Steps((Check("/a", 204),))
    with pytest.raises(ModuleNotFoundError, match="nothing_of_the_kind"):
        schema.build(Steps, parse("steps: [{never: 1}]", "probe.yml"))


def test_what_is_of_no_kind_is_told_without_loading_any() -> None:
    with pytest.raises(ConfigError, match="'pth' is no kind of it; did you mean 'path'") as caught:
        schema.build(Steps, parse("steps: [{pth: /a}]", "probe.yml"))
    assert caught.value.mend == "it is named by one key: path, never"
