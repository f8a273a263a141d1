from __future__ import annotations

import dataclasses
import re
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Check, Release
from pipeline.errors import ConfigError, VerifyError
from pipeline.events import Event, What
from pipeline.verify.checks import Checks, make
from pipeline.verify.message import Message
from pipeline.verify.survives import Survives, held
from tests.verify.mesh import NAMES, Mesh, playing
from tests.verify.releases import RELEASE
from tests.verify.servers import answer, serving
from tests.verify.worlds import Shop

SET = "StatefulSet/node"
DATA = Message("/data/{key}")


def ran(at: Shop, **options: Any) -> Check:
    return held(Survives(**{"survives": SET, "message": DATA, "seconds": 15.0, "within": 5.0, **options}), at.world, at.look())


def deleted(at: Shop) -> list[str]:
    return [target for method, target in at.fake.asked if method == "DELETE"]


def left() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("port-forward", "users", "load"))]


def test_what_was_replicated_is_read_from_the_others_and_from_the_node_that_came_back(tmp_path: Path) -> None:
    mesh = Mesh(late=0.05, away=0.5)
    with playing(tmp_path, mesh) as at:
        check = ran(at)
        assert deleted(at) == ["/api/v1/namespaces/coulomb/pods/node-2?propagationPolicy=Background&gracePeriodSeconds=0"]
    assert check.passed
    found = re.fullmatch(
        r"pod node-2 deleted: 6 messages read from 2 others after (\d+) ms; node-2 ready again after ([\d.]+) s, "
        r"with all of them after ([\d.]+) s",
        check.evidence,
    )
    assert found, check.evidence
    assert 0.5 <= float(found[2]) <= float(found[3]) < 10
    assert all(len(store) == 6 for store in mesh.stores.values())
    assert left() == []


def test_the_messages_are_written_through_every_node_in_turn(tmp_path: Path) -> None:
    mesh = Mesh()
    with playing(tmp_path, mesh) as at:
        ran(at, messages=4, pod="node-0", grace=None)
        assert deleted(at) == ["/api/v1/namespaces/coulomb/pods/node-0?propagationPolicy=Background"]
    assert len([head for head in mesh.heads if head.startswith("PUT")]) == 4


def test_nothing_is_deleted_before_every_node_has_every_message(tmp_path: Path) -> None:
    with playing(tmp_path, Mesh(deaf={"node-1"})) as at:
        with pytest.raises(VerifyError, match="not every message was on every node within 1 s; no pod was deleted") as caught:
            ran(at, within=1.0)
        assert deleted(at) == []
    assert "node-1 status 404" in caught.value.cause
    assert left() == []


def test_what_was_lost_is_named_by_its_keys(tmp_path: Path) -> None:
    """The others forget what the dead node gave them: a service that only keeps pointers to it."""
    mesh = Mesh(away=0.2)
    with playing(tmp_path, mesh) as at:
        inner = at.fake.changed

        def changed(kind: str, where: str, value: dict[str, Any]) -> None:
            if kind == "DELETED":
                mesh.stores["node-0"].clear()
            inner(kind, where, value)

        at.fake.changed = changed
        with pytest.raises(VerifyError, match="pod node-2 was deleted: what was replicated was lost with it") as caught:
            ran(at, messages=3, within=1.0)
        keys = {head.split(" ")[1].removeprefix("/data/") for head in mesh.heads if head.startswith("PUT")}
    assert "3 of 3 messages were lost" in caught.value.cause
    assert all(f"{key} (node-0 status 404)" in caught.value.cause for key in keys)
    assert left() == []


def test_a_node_that_does_not_come_back_fails_at_the_budget(tmp_path: Path) -> None:
    mesh = Mesh(away=4.0)
    with playing(tmp_path, mesh) as at, pytest.raises(VerifyError, match="it was not back after 2 s") as caught:
        ran(at, seconds=2.0)
    assert "6 messages read from 2 others" in caught.value.cause
    assert re.search(r"not back after \d+\.", caught.value.cause)
    assert "it is not there" in caught.value.cause


def test_a_node_that_comes_back_empty_fails(tmp_path: Path) -> None:
    with playing(tmp_path, Mesh(blank=True)) as at, pytest.raises(VerifyError, match="came back without what the others have") as caught:
        ran(at, messages=2, within=1.0)
    assert "node-2 ready again after" in caught.value.cause
    assert caught.value.cause.count("node-2 status 404") == 2


def test_users_are_answered_all_the_time(tmp_path: Path) -> None:
    with serving(lambda peer, _head: peer.sendall(answer(b"hello"))) as front, playing(tmp_path, Mesh(away=0.5), front.url) as at:
        check = ran(at, load="/", rate=40.0)
    found = re.search(r"; (\d+) requests, 0 lost, the slowest \d+ ms$", check.evidence)
    assert found, check.evidence
    assert int(found[1]) > 10
    assert left() == []


def test_a_request_that_is_lost_while_the_node_is_away_fails(tmp_path: Path) -> None:
    mesh = Mesh(away=0.5)

    def page(peer: socket.socket, _head: str) -> None:
        away = not mesh.stores["node-2"] and mesh.stores["node-0"]
        peer.sendall(answer(b"no node", "502 Bad Gateway") if away else answer(b"hello"))

    with serving(page) as front, playing(tmp_path, mesh, front.url) as at:
        with pytest.raises(VerifyError, match=r"requests were lost, the first after .* status 502") as caught:
            ran(at, load="/", rate=40.0)
        assert len(deleted(at)) == 1
    assert "let the server ask another node" in caught.value.mend
    assert "with all of them" in caught.value.cause


def test_no_pod_is_deleted_where_users_are_not_answered_anyway(tmp_path: Path) -> None:
    with (
        serving(lambda peer, _head: peer.sendall(answer(b"", "503 Service Unavailable"))) as front,
        playing(tmp_path, Mesh(), front.url) as at,
    ):
        with pytest.raises(VerifyError, match="no pod was deleted"):
            ran(at, load="/")
        assert deleted(at) == []
    assert left() == []


def test_no_pod_is_deleted_where_too_few_are_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.verify.survives.READY", 0.2)
    with playing(tmp_path, Mesh()) as at:
        with pytest.raises(VerifyError, match=r"3 of 4 nodes .* are ready: nothing was written, and no pod deleted"):
            ran(at, nodes=4)
        assert deleted(at) == []


def test_a_pod_that_nobody_would_put_back_is_not_deleted(tmp_path: Path) -> None:
    with playing(tmp_path, Mesh()) as at:
        for name in NAMES:
            at.fake.objects[f"/api/v1/namespaces/coulomb/pods/{name}"]["metadata"]["ownerReferences"] = []
        with pytest.raises(ConfigError, match="pod node-2 is nobody's: deleted, it would never come back"):
            ran(at, survives="app=node")
        assert deleted(at) == []


def test_a_pod_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with playing(tmp_path, Mesh()) as at:
        with pytest.raises(ConfigError, match="there is no such pod") as caught:
            ran(at, pod="node-7")
        assert caught.value.mend == "name one of: node-0, node-1, node-2"
        assert deleted(at) == []


def test_its_messages_are_taken_away_where_it_is_asked_to(tmp_path: Path) -> None:
    mesh = Mesh()
    with playing(tmp_path, mesh) as at:
        ran(at, message=Message("/data/{key}", remove=True))
    assert all(store == {} for store in mesh.stores.values())


def test_without_a_word_of_the_environment_it_is_left_out_and_told(tmp_path: Path) -> None:
    check = Survives(SET, DATA, seconds=5.0)
    spec: dict[str, Any] = {"cluster": RELEASE.cluster, "checks": (check,), "pods": False}
    with playing(tmp_path, Mesh()) as at:
        events: list[Event] = []
        site = dataclasses.replace(at.site, sink=events.append)
        assert make(Checks(**spec), RELEASE, site).checks == ()
        assert deleted(at) == []
        told = [event.text for event in events if event.what == What.WARN and "left out" in event.text]
        assert len(told) == 1
        assert told[0].startswith("survives StatefulSet/node is left out: it deletes a pod")
        report = make(Checks(**spec, disturb=True), RELEASE, site)
        assert len(deleted(at)) == 1
    assert [found.name for found in report.checks] == ["survives StatefulSet/node"]


def test_a_release_that_has_survived_it_is_not_disturbed_again(tmp_path: Path) -> None:
    def verify(release: Release, **options: Any) -> str:
        check = Survives(SET, DATA, **{"seconds": 15.0, **options})
        return make(Checks(RELEASE.cluster, checks=(check,), pods=False, disturb=True), release, at.site).checks[0].evidence

    with playing(tmp_path, Mesh()) as at:
        first = verify(RELEASE)
        assert verify(RELEASE) == f"{first}; seen before, it is done once a release"
        assert len(deleted(at)) == 1
        verify(RELEASE, messages=2)
        assert len(deleted(at)) == 2
        verify(dataclasses.replace(RELEASE, revision=4), messages=2)
        assert len(deleted(at)) == 3


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"survives": "node"}, "names no nodes"),
        ({"messages": 0}, "messages 0 is not between 1 and 50"),
        ({"nodes": 1}, "nodes 1 is not between"),
        ({"seconds": 1.0}, "seconds 1 is not between 2 and 600"),
        ({"within": 0.0}, "within 0 is not between"),
        ({"grace": -1}, "grace -1 is not between"),
        ({"load": "here"}, "has to start with /"),
        ({"rate": 0.0}, "requests a second"),
        ({"through": "port-forward:service/a:80"}, "by the way that users go"),
    ],
)
def test_i01_what_no_check_can_mean_is_refused(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Survives(**{"survives": SET, "message": DATA, **wrong})
