"""The tasks of the infrastructure as a face: what they show, what they ask, what they refuse."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.infra import collection, confirmed, root_of, shown
from pipeline.provision.terraform import Reviewed
from pipeline.tools.terraform_plan import Change, Planned


def root(*, protected: bool = False) -> Any:
    return SimpleNamespace(name="relay.spot", protected=protected)


def reviewed(*changes: tuple[str, str], **more: Any) -> Reviewed:
    return Reviewed(0.0, "anna@desk", more.pop("destroy", False), "", "", changes, not changes, **more)


def test_the_tasks_by_name() -> None:
    tasks = collection(lambda body: body, lambda *_: None, print, {})  # type: ignore[arg-type]
    assert sorted(tasks.task_names) == ["apply", "destroy", "output", "plan"]


@pytest.mark.parametrize("yes", ["relay.spot"])
def test_the_name_is_enough(yes: str) -> None:
    confirmed(root(protected=True), yes, ask=False)


@pytest.mark.parametrize("yes", ["", "y", "yes", "relay", "relay.spot ", "RELAY.SPOT"])
def test_anything_else_is_not(yes: str) -> None:
    with pytest.raises(ConfigError) as caught:
        confirmed(root(), yes, ask=False)
    assert caught.value.mend == "if that is meant: inv infra.destroy --yes relay.spot"


def test_a_terminal_is_asked_and_what_is_typed_counts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("relay.spot\n"))
    confirmed(root(), "", ask=True)
    assert "Type its name to go on" in capsys.readouterr().err
    for typed in ("y\n", ""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(ConfigError):
            confirmed(root(), "", ask=True)


def test_about_a_protected_one_nobody_is_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("relay.spot\n"))
    with pytest.raises(ConfigError, match="which is protected"):
        confirmed(root(protected=True), "", ask=True)
    assert capsys.readouterr().err == ""


def test_a_blueprint_without_infra_says_how_to_name_it() -> None:
    blueprint = SimpleNamespace(name="x", infra_root=lambda _site: None)
    with pytest.raises(ConfigError, match="blueprint x has no infra") as caught:
        root_of(blueprint, None)
    assert caught.value.mend.startswith("infra: {driver: terraform")


def test_a_plan_for_a_person() -> None:
    changes = (
        Change("a.new", "create", ("size 1",)),
        Change("a.old", "delete"),
        Change("a.kept", "update", ("size 1 -> 2",)),
        Change("a.moved", "replace", (), ("region",)),
        Change("data.d", "read"),
    )
    planned = Planned(changes, (Change("a.kept", "update", ("size 2 -> 1",)),), ("url",))
    found = reviewed(("a.new", "create"), ("a.old", "delete"), ("a.kept", "update"), ("a.moved", "replace"))
    assert shown(planned, found, "relay.spot") == [
        "drifted  update   a.kept",
        "drifted               size 2 -> 1",
        "+   create   a.new",
        "             size 1",
        "-   delete   a.old",
        "~   update   a.kept",
        "             size 1 -> 2",
        "-/+ replace  a.moved, because region cannot change in place",
        "<=  read     data.d",
        "outputs  url",
        "plan     1 to create, 1 to update, 1 to replace, 1 to delete, 1 to read of relay.spot: inv infra.apply does exactly this",
    ]


def test_nothing_to_do_and_outputs_alone() -> None:
    assert shown(Planned((), (), ()), reviewed(), "x.y") == ["nothing to do: x.y is as it is written"]
    only = Reviewed(0.0, "a@b", False, "", "")
    assert (
        shown(Planned((), (), ("kubeconfig",)), only, "x.y")[-1] == "plan     only outputs change of x.y: inv infra.apply does exactly this"
    )


def test_a_plan_counts_all_that_it_will_do() -> None:
    planned = Planned(
        (
            Change("a.new", "create"),
            Change("a.taken", "import", ('imported: "i-1"',)),
            Change("a.other", "update", (), (), ("import", "move")),
            Change("a.left", "forget"),
            Change("data.a.b", "read"),
        ),
        (),
        (),
    )
    reviewed = Reviewed(0.0, "me", False, "", changes=tuple((each.address, each.action) for each in planned.changes if each.touches))
    *lines, last = shown(planned, reviewed, "base")
    assert last.startswith("plan     1 to create, 1 to update, 2 to import, 1 to move, 1 to forget, 1 to read of base")
    assert lines[1:3] == ["<-  import   a.taken", '             imported: "i-1"']
    assert "only outputs change" in shown(Planned((), (), ("x",)), reviewed, "base")[-1]
