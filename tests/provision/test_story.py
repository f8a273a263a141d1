"""What became of an apply, from its log and the state."""

from __future__ import annotations

import json

import pytest

from pipeline.provision.story import Outcome, outcome
from pipeline.tools.terraform_plan import State


def log(*events: tuple[str, str, str]) -> str:
    return "\n".join(
        json.dumps({"type": kind, "hook": {"resource": {"addr": address}, "action": action}}) for kind, address, action in events
    )


START, DONE, FAILED = "apply_start", "apply_complete", "apply_errored"


@pytest.mark.parametrize(
    ("action", "events", "there", "fate"),
    [
        ("create", [], False, "waiting"),
        ("create", [(START, "create")], False, "open"),
        ("create", [(START, "create")], True, "made"),
        ("create", [(START, "create"), (DONE, "create")], True, "made"),
        ("create", [(START, "create"), (DONE, "create")], False, "lost"),
        ("create", [(START, "create"), (DONE, "create")], None, "made"),
        ("create", [(START, "create"), (FAILED, "create")], False, "failed"),
        ("update", [(START, "update")], True, "open"),
        ("update", [(START, "update"), (DONE, "update")], True, "made"),
        ("replace", [(START, "delete"), (DONE, "delete")], False, "open"),
        ("replace", [(START, "delete"), (DONE, "delete"), (START, "create"), (DONE, "create")], True, "made"),
        ("delete", [(START, "delete")], True, "open"),
        ("delete", [(START, "delete")], False, "made"),
        ("delete", [(START, "delete"), (DONE, "delete")], True, "made"),
        ("delete", [(START, "delete"), (FAILED, "delete")], True, "failed"),
        ("delete", [], False, "waiting"),
    ],
)
def test_the_fate_of_a_change(action: str, events: list[tuple[str, str]], there: bool | None, fate: str) -> None:
    state = None if there is None else State("l", 1, ("a.b",) if there else ())
    found = outcome([("a.b", action)], log(*((kind, "a.b", did) for kind, did in events)), state)
    assert {name: getattr(found, name) for name in ("made", "lost", "open", "failed", "waiting") if getattr(found, name)} == {
        fate: ("a.b",)
    }
    assert found.touched == (fate != "waiting")
    assert found.unsure == (("a.b",) if fate in ("lost", "open") else ())


def test_it_is_told_in_the_order_that_counts() -> None:
    text = log((START, "a.a", "create"), (DONE, "a.a", "create"), (START, "a.b", "create"))
    changes = [("a.a", "create"), ("a.b", "create"), ("a.c", "create")]
    found = outcome(changes, f"{text}\nno json\n{text[:30]}", State("l", 1, ("a.a", "a.x"), ("a.a", "a.x")))
    assert found == Outcome(made=("a.a",), open=("a.b",), waiting=("a.c",), tainted=("a.a",))
    assert found.sentences() == [
        "made: a.a", "begun, and its end is not known: a.b", "not begun: a.c", "half made, the next plan replaces it: a.a",
    ]  # fmt: skip


def test_what_is_done_to_the_state_alone_is_known_by_the_state() -> None:
    changes = (("a.in", "import"), ("a.moved", "move"), ("a.left", "forget"), ("a.still", "forget"), ("a.out", "import"))
    found = outcome(changes, "", State("l", 1, ("a.in", "a.moved", "a.still")))
    assert found.made == ("a.in", "a.moved", "a.left")
    assert found.waiting == ("a.still", "a.out")
    assert outcome(changes, "", None).made == ()
