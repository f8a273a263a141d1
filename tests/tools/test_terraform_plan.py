"""Plans, states and outputs as they are read: everything that counts, and no secret."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.tools.terraform_plan import Change, Out, State, read_outputs, read_plan, read_state


def plan_of(*changes: dict[str, Any], **more: Any) -> str:
    return json.dumps({"resource_changes": [{"address": "a.b", "change": each} for each in changes], **more})


def one(change: dict[str, Any]) -> Change:
    (found,) = read_plan(plan_of(change)).changes
    return found


@pytest.mark.parametrize(
    ("actions", "action"),
    [
        (["create"], "create"),
        (["delete"], "delete"),
        (["delete", "create"], "replace"),
        (["create", "delete"], "replace"),
        (["update"], "update"),
        (["read"], "read"),
        (["forget"], "forget"),
    ],
)
def test_what_is_to_be_done(actions: list[str], action: str) -> None:
    assert one({"actions": actions}).action == action
    assert one({"actions": actions}).touches == (action != "read")


@pytest.mark.parametrize(
    ("change", "more", "action", "also", "said"),
    [
        ({"actions": ["no-op"], "importing": {"id": "i-1"}}, {}, "import", (), ('imported: "i-1"',)),
        ({"actions": ["update"], "importing": {"id": "i-1"}}, {}, "update", ("import",), ('imported: "i-1"',)),
        ({"actions": ["no-op"]}, {"previous_address": "a.old"}, "move", (), ("moved from a.old",)),
        ({"actions": ["delete", "create"]}, {"previous_address": "a.old"}, "replace", ("move",), ("moved from a.old",)),
        ({"actions": ["no-op"], "importing": {"id": "i"}}, {"previous_address": "a.old"}, "import", ("move",),
         ('imported: "i"', "moved from a.old")),
        ({"actions": ["create", "forget"]}, {}, "create", ("forget",), ("what was there is forgotten, and stays",)),
    ],
)  # fmt: skip
def test_what_is_done_to_the_state_alone_or_beside_is_read(
    change: dict[str, Any], more: dict[str, Any], action: str, also: tuple[str, ...], said: tuple[str, ...]
) -> None:
    text = json.dumps({"resource_changes": [{"address": "a.b", "change": change, **more}]})
    assert read_plan(text).changes == (Change("a.b", action, said, (), also),)


def test_what_stays_is_left_out() -> None:
    assert read_plan(plan_of({"actions": ["no-op"]})).changes == ()
    assert read_plan("{}").changes == ()


def test_the_attributes_that_change_and_those_that_force() -> None:
    change = one(
        {
            "actions": ["delete", "create"],
            "before": {"name": "a", "size": 1, "same": 1}, "after": {"name": "b", "size": 2, "same": 1, "id": None},
            "after_unknown": {"id": True, "size": True}, "replace_paths": [["name"], ["box", 0, "x"]],
        }
    )  # fmt: skip
    assert change.fields == ('name "a" -> "b"',)
    assert change.forced == ("name", "box.0.x")


@pytest.mark.parametrize("mark", [True, {"key": True}, {"key": {"deep": [False, True]}}], ids=str)
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_sensitive_value_is_not_shown(mark: Any, side: str) -> None:
    change = one({"actions": ["update"], "before": {"key": "old-secret"}, "after": {"key": "new-secret"}, f"{side}_sensitive": mark})
    assert change.fields == ("key (sensitive)",)


def test_long_values_and_whole_files_are_not_shown() -> None:
    change = one({"actions": ["create"], "before": None, "after": {"file": "a\nb\nsecret", "long": "x" * 500, "n": 7}})
    assert change.fields == ("file (2 lines)", f'long "{"x" * 56}…', "n 7")


def test_a_data_source_is_read_and_its_values_are_nobodys() -> None:
    assert one({"actions": ["read"], "after": {"raw": "secret"}}).fields == ()


def test_drift_and_outputs() -> None:
    text = plan_of(
        resource_drift=[{"address": "a.b", "change": {"actions": ["update"], "before": {"n": 1}, "after": {"n": 3}}}],
        output_changes={"x": {"actions": ["update"]}, "y": {"actions": ["no-op"]}},
    )
    planned = read_plan(text)
    assert planned.drift == (Change("a.b", "update", ("n 1 -> 3",)),)
    assert planned.outputs == ("x",)


@pytest.mark.parametrize(
    "text", ["", "[]", "no", '{"resource_changes":[{}]}', '{"resource_changes":[{"address":"a","change":{"actions":7}}]}']
)
def test_what_is_no_plan_is_refused_without_its_text(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_plan(text)
    assert caught.value.cause in ("JSONDecodeError", "AttributeError", "KeyError", "TypeError")


def test_the_state_by_address() -> None:
    text = json.dumps(
        {
            "lineage": "l", "serial": 7,
            "resources": [
                {"mode": "data", "type": "d", "name": "d", "instances": [{}]},
                {"mode": "managed", "type": "t", "name": "n", "instances": [{"status": "tainted"}]},
                {"mode": "managed", "type": "t", "name": "m", "module": "module.x", "instances": [{"index_key": 0}, {"index_key": "a"}]},
            ],
        }
    )  # fmt: skip
    assert read_state(text) == State("l", 7, ("t.n", "module.x.t.m[0]", 'module.x.t.m["a"]'), ("t.n",))
    assert read_state("\n") == State()


@pytest.mark.parametrize("text", ["[]", "{}", "x", '{"lineage":"l","serial":"x"}'])
def test_what_is_no_state(text: str) -> None:
    with pytest.raises(ConfigError):
        read_state(text)


def test_outputs_and_their_text() -> None:
    found = read_outputs('{"a":{"sensitive":true,"value":"s3cret"},"b":{"value":[1,"ä"]}}')
    assert found == {"a": Out("a", "s3cret", True), "b": Out("b", [1, "ä"], False)}
    assert "s3cret" not in repr(found)
    assert [each.text for each in found.values()] == ["s3cret", '[1, "ä"]']
    with pytest.raises(ConfigError):
        read_outputs('{"a":7}')
