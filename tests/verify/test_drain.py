from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Check
from pipeline.errors import ConfigError, VerifyError
from pipeline.host import Address
from pipeline.verify.drain import RESTARTED, Drain, held
from tests.verify.servers import answer, serving
from tests.verify.worlds import Shop, shop

HEALTHY = answer(b'{"status": "ok"}')
DRAINING = answer(b'{"status": "draining"}', "503 Service Unavailable")


class Rollout:
    """A Deployment whose restart is played: its old pod drains for `drains` seconds, then it is gone and the new one is there."""

    def __init__(self, drains: float = 0.6, says: bytes = DRAINING, loses: bool = False) -> None:
        self.drains, self.says, self.loses = drains, says, loses
        self.restarted = threading.Event()
        self.gone = threading.Event()

    def pod_page(self, peer: socket.socket, _head: str) -> None:
        peer.sendall(self.says if self.restarted.is_set() else HEALTHY)

    def front_page(self, peer: socket.socket, _head: str) -> None:
        peer.sendall(DRAINING if self.loses and self.restarted.is_set() and not self.gone.is_set() else answer(b"hello"))


@contextlib.contextmanager
def playing(folder: Path, rollout: Rollout) -> Iterator[Shop]:
    with serving(rollout.front_page) as front, serving(rollout.pod_page) as inside, shop(folder, front.url) as at:
        old = at.pod("probe-1")
        at.fake.ports["probe-1:8000"] = Address(inside.address, inside.port)
        selector = {"matchLabels": {"app": "probe"}}
        good = {"observedGeneration": 9, "updatedReplicas": 1, "replicas": 1, "availableReplicas": 1}
        where = at.put("Deployment", "probe", spec={"replicas": 1, "selector": selector, "template": {}}, status=good)
        threads: list[threading.Thread] = []

        def end() -> None:
            time.sleep(rollout.drains)
            at.pod("probe-2")
            at.fake.drop(old)
            rollout.gone.set()

        def changed(_type: str, target: str, value: dict[str, Any]) -> None:
            if target == where and RESTARTED in json.dumps(value) and not rollout.restarted.is_set():
                rollout.restarted.set()
                threads.append(threading.Thread(target=end, daemon=True))
                threads[0].start()

        at.fake.changed = changed
        yield at
        for thread in threads:
            thread.join(5)


def test_a_restart_that_loses_nothing_passes_with_its_figures(tmp_path: Path) -> None:
    with playing(tmp_path, Rollout()) as at:
        check = held(Drain("/healthz", rate=40, seconds=8), at.world, at.view)
    assert isinstance(check, Check)
    assert check.passed
    assert " requests, 0 lost, the slowest " in check.evidence
    assert "while Deployment probe restarted; pod probe-1 said 503 draining for 0." in check.evidence
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("port-forward")]


def test_a_lost_request_fails_with_when_and_why(tmp_path: Path) -> None:
    with playing(tmp_path, Rollout(loses=True)) as at, pytest.raises(VerifyError, match="requests were lost, the first after") as caught:
        held(Drain("/healthz", rate=40, seconds=8), at.world, at.view)
    assert "status 503 while Deployment probe restarted" in caught.value.what
    assert "maxUnavailable: 0" in caught.value.mend


def test_a_pod_that_goes_without_a_word_fails(tmp_path: Path) -> None:
    with (
        playing(tmp_path, Rollout(says=HEALTHY)) as at,
        pytest.raises(VerifyError, match="pod probe-1 did not say that it drains") as caught,
    ):
        held(Drain("/healthz", seconds=8), at.world, at.view)
    assert "its last answer was status 200" in caught.value.cause


def test_a_restart_that_does_not_end_fails_at_its_time(tmp_path: Path) -> None:
    with (
        playing(tmp_path, Rollout(drains=3.0)) as at,
        pytest.raises(VerifyError, match=r"the restart did not end within 2 s: pod probe-1 is") as caught,
    ):
        held(Drain("/healthz", seconds=2), at.world, at.view)
    assert "0 lost" in caught.value.cause


def test_nothing_is_restarted_where_requests_are_lost_already(tmp_path: Path) -> None:
    rollout = Rollout()
    with (
        playing(tmp_path, rollout) as at,
        serving(lambda peer, _head: peer.sendall(DRAINING)) as broken,
        pytest.raises(VerifyError, match="before anything was restarted"),
    ):
        held(Drain("/healthz", through=broken.url), at.world, at.view)
    assert not rollout.restarted.is_set()


def test_which_deployment_has_to_be_known(tmp_path: Path) -> None:
    with playing(tmp_path, Rollout()) as at:
        at.put("Deployment", "worker", spec={}, status={})
        with pytest.raises(ConfigError, match=r"which Deployment\?") as caught:
            held(Drain("/healthz"), at.world, at.view)
        assert "probe, worker" in caught.value.mend
        with pytest.raises(ConfigError, match="there is no Deployment wroker"):
            held(Drain("/healthz", deployment="wroker"), at.world, at.view)


@pytest.mark.parametrize(
    "wrong",
    [
        {"drain": "healthz"},
        {"drain": "/", "load": ""},
        {"drain": "/", "rate": 0.0},
        {"drain": "/", "rate": 1000.0},
        {"drain": "/", "seconds": 1.0},
        {"drain": "/", "seconds": 1000.0},
        {"drain": "/", "through": "port-forward:service/a:80"},
    ],
)
def test_i01_what_no_check_can_mean_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        Drain(**wrong)
