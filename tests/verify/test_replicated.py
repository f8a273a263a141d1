from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import AuthError, VerifyError
from pipeline.testing.kube import Fault
from pipeline.verify.message import Message
from pipeline.verify.replicated import Replicated, held
from tests.verify.mesh import NAMES, Mesh, playing
from tests.verify.worlds import Shop

SET = "StatefulSet/node"
DATA = Message("/data/{key}", headers={"X-TTL": "60"})


def ran(at: Shop, **options: Any) -> str:
    check = held(Replicated(**{"replicated": SET, "message": DATA, **options}), at.world, at.look())
    assert check.passed
    if not options.get("through"):  # that way is the stage's own, and closed with it
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("port-forward")]
    return check.evidence


def test_each_node_is_given_one_and_every_other_has_it_with_how_late(tmp_path: Path) -> None:
    mesh = Mesh(late=0.1)
    with playing(tmp_path, mesh) as at:
        said = ran(at)
    for name in NAMES:
        others = ", ".join(rf"{other} after (\d+) ms" for other in NAMES if other != name)
        found = re.search(f"through {name}: {others}", said)
        assert found, said
        assert all(int(late) >= 50 for late in found.groups())
    assert "the slowest of 6 copies after" in said
    written = [head for head in mesh.heads if head.startswith("PUT /data/pipeline-verify-")]
    assert len({head.split(" ")[1] for head in written}) == 3
    assert all("X-TTL: 60" in head for head in written)


def test_two_runs_never_meet(tmp_path: Path) -> None:
    mesh = Mesh()
    with playing(tmp_path, mesh) as at:
        ran(at)
        ran(at)
    assert all(len(store) == 6 for store in mesh.stores.values())


def test_a_node_that_gets_no_copies_is_named_with_what_it_says(tmp_path: Path) -> None:
    with (
        playing(tmp_path, Mesh(deaf={"node-1"})) as at,
        pytest.raises(VerifyError, match="2 of 6 copies were not there within 3 s") as caught,
    ):
        ran(at, within=3.0)
    lines = caught.value.cause.splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["node-1 status 404"] * 2
    assert "written through node-0" in lines[0]
    assert "kubectl logs --namespace coulomb node-1" in caught.value.mend


def test_a_copy_that_comes_too_late_fails(tmp_path: Path) -> None:
    with playing(tmp_path, Mesh(late=0.6)) as at, pytest.raises(VerifyError, match=r"6 of 6 copies were not there within 0\.2 s"):
        ran(at, within=0.2)


def test_what_another_node_has_under_the_key_has_to_be_the_same(tmp_path: Path) -> None:
    mesh = Mesh()
    mesh.copy = lambda _name, target, _content: [store.setdefault(target, b"old") for store in mesh.stores.values()]  # type: ignore[assignment,method-assign]
    with playing(tmp_path, mesh) as at, pytest.raises(VerifyError) as caught:
        ran(at, within=0.2)
    assert "another content" in caught.value.cause


def test_a_node_that_takes_nothing_is_named_with_its_answer(tmp_path: Path) -> None:
    with playing(tmp_path, Mesh(mean=True)) as at, pytest.raises(VerifyError, match="node-0 did not take a message") as caught:
        ran(at)
    assert "status 503" in caught.value.cause
    assert "no such thing" in caught.value.cause


def test_by_a_way_of_ones_own_it_is_read_from_all(tmp_path: Path) -> None:
    mesh = Mesh()
    with playing(tmp_path, mesh) as at:
        said = ran(at, through="port-forward:pod/node-1:http")
        at.ways.close()
    assert re.match(r"through port-forward:pod/node-1:http: node-0 after \d+ ms, node-1 after \d+ ms, node-2 after", said)


def test_by_the_front_door_it_is_written_under_the_public_name(tmp_path: Path) -> None:
    mesh = Mesh()
    with playing(tmp_path, mesh) as at:
        address = at.fake.ports["node-2:8080"]
        world = at.world.__class__(**{**vars(at.world), "front": lambda: f"http://{address}"})
        check = held(Replicated(SET, DATA, through="ingress"), world, at.look())
    assert check.passed
    assert "Host: probe.example" in next(head for head in mesh.heads if head.startswith("PUT"))


def test_with_too_few_nodes_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.verify.replicated.READY", 0.2)
    mesh = Mesh()
    with playing(tmp_path, mesh) as at:
        with pytest.raises(VerifyError, match="3 of 5 nodes of StatefulSet/node are ready: nothing was written"):
            ran(at, nodes=5)
        at.fake.drop("/api/v1/namespaces/coulomb/pods/node-2")
        mesh.away = 9
        with pytest.raises(VerifyError, match="2 of 3 nodes") as caught:
            ran(at)
        mesh.threads.clear()
    assert caught.value.cause == "node-0 ready, node-1 ready"
    assert mesh.heads == []


def test_the_nodes_may_be_named_by_their_label(tmp_path: Path) -> None:
    with playing(tmp_path, Mesh()) as at:
        assert "through node-0: node-1 after" in ran(at, replicated="app=node")


def test_it_takes_its_messages_away_where_it_is_asked_to(tmp_path: Path) -> None:
    mesh = Mesh()
    with playing(tmp_path, mesh) as at:
        ran(at, message=Message("/data/{key}", remove=True))
    assert all(store == {} for store in mesh.stores.values())


def test_what_may_not_be_asked_ends_it_at_once(tmp_path: Path) -> None:
    forbidden: Fault = (403, {"kind": "Status", "message": "pods/portforward is forbidden"}, {})
    asked: list[str] = []

    def fault(_method: str, target: str) -> Fault | None:
        if "portforward" not in target:
            return None
        asked.append(target)
        return forbidden

    with playing(tmp_path, Mesh()) as at:
        at.fake.fault = fault
        with pytest.raises(AuthError, match="portforward"):
            ran(at)
    assert len(asked) == len(set(asked)), "no pod is asked a second time"


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"replicated": "node"}, "names no nodes"),
        ({"replicated": "StatefulSet/--all"}, "names no nodes"),
        ({"within": 0.0}, "are not between"),
        ({"nodes": 1}, "with one of them nothing is replicated"),
        ({"through": "ingres"}, "did you mean 'ingress'"),
    ],
)
def test_i01_what_no_check_can_mean_is_refused(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Replicated(**{"replicated": SET, "message": DATA, **wrong})
