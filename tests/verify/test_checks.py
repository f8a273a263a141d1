from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.clock import Clock, SystemClock
from pipeline.errors import AuthError, ConfigError, Expired, RateLimited, Transient, VerifyError
from pipeline.events import Event, What
from pipeline.records import Records
from pipeline.stage import Cluster, Site
from pipeline.testing import FakeClock
from pipeline.verify import look as looks
from pipeline.verify import until
from pipeline.verify.checks import DRIVER, Checks, find, make
from pipeline.verify.expect import Page
from tests.verify.releases import COMMIT, OLD, OTHER, RELEASE, REPOSITORY, pod, secret
from tests.verify.servers import Server, answer, saying, serving

HOST = "probe.example"
HEALTHY = answer(json.dumps({"status": "ok", "commit": COMMIT}).encode())
STALE = answer(json.dumps({"status": "ok", "commit": OLD}).encode())
CHECKS = (Page("/healthz", json={"status": "ok", "commit": "{commit}"}), Page("/", text="{short}"))


@pytest.fixture(autouse=True)
def _time_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers are real, and the clock is not: a busy machine has a minute for each, however little that clock leaves."""
    monkeypatch.setattr(looks, "REQUEST", 60.0)
    monkeypatch.setattr(until, "look", lambda questions, view, _left: looks.look(questions, view, 60.0))


class FakeKube:
    """Stands where the API's client does: each list takes the next of `answers`, the last one for ever."""

    def __init__(self, *answers: Sequence[Any] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str]] = []

    def list(self, target: str, labels: str = "", fields: str = "", *, metadata: bool = False) -> dict[str, Any]:
        self.asked.append((target, labels))
        if target.endswith("/secrets"):
            return {"items": [secret()]}
        if metadata:
            return {"items": [{"metadata": {"name": fields.rpartition("=")[2]}}]}
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return {"items": found}


def site(root: Path, ingress: str, kube: FakeKube, clock: Clock | None = None) -> tuple[Site, list[Event]]:
    events: list[Event] = []
    found = Site(
        app="probe",
        root=root,
        hosts={},
        remotes={},
        registries={},
        clusters={"railiance01": Cluster(kubeconfig="kubeconfig", ingress=ingress)},
        tools={},
        values={},
        records=Records(root / "records.sqlite"),
        clock=clock or FakeClock(),
        sink=events.append,
        shared={"kube:railiance01": kube},
    )
    return found, events


def spec(**options: Any) -> Checks:
    return Checks(**{"cluster": "railiance01", "host": HOST, "checks": CHECKS, **options})


@contextlib.contextmanager
def probe(health: bytes = HEALTHY) -> Iterator[Server]:
    def handler(peer: socket.socket, head: str) -> None:
        peer.sendall(health if head.startswith("GET /healthz ") else answer(f"Version 1, commit {COMMIT}".encode()))

    with serving(handler) as server:
        yield server


def test_the_driver_takes_a_release_gives_a_report_and_is_always_fresh(tmp_path: Path) -> None:
    assert (DRIVER.verb, DRIVER.name, DRIVER.fresh) == ("verify", "checks", True)
    found, _ = site(tmp_path, "", FakeKube([pod()]))
    assert find(spec(), RELEASE, found).artifact is None


def test_everything_that_holds_is_in_the_report_with_its_evidence(tmp_path: Path) -> None:
    kube = FakeKube([pod()])
    with probe() as server:
        found, events = site(tmp_path, server.url, kube)
        report = make(spec(), RELEASE, found)
    assert report.passed
    assert report.release == RELEASE
    assert report.url == f"http://{HOST}"
    assert [check.name for check in report.checks] == ["pods", "GET /healthz", "GET /"]
    assert [bool(check.evidence) for check in report.checks] == [True] * 3
    assert events == []


def test_one_list_of_pods_and_ten_answers_a_page_is_all_it_costs(tmp_path: Path) -> None:
    kube = FakeKube([pod()])
    twice = (*CHECKS, Page("/healthz", json={"status": "ok"}), Page("/healthz", text="ok"))
    with probe() as server:
        found, _ = site(tmp_path, server.url, kube)
        report = make(spec(checks=twice), RELEASE, found)
    assert len(report.checks) == 5
    assert sorted(server.paths) == ["/"] * 10 + ["/healthz"] * 10
    asked = [("secrets", "name=probe,version=3"), ("pods", "app=probe"), ("deployments", "")]
    assert [(target.rpartition("/")[2], labels) for target, labels in kube.asked] == asked


@contextlib.contextmanager
def front_door(wrong: Sequence[int], of: int) -> Iterator[Server]:
    """A front door that answers 500 to those of every `of` requests for / that `wrong` names, counted from 0."""
    lock, count = threading.Lock(), itertools.count()

    def handler(peer: socket.socket, _head: str) -> None:
        with lock:
            number = next(count) % of
        peer.sendall(answer(b"no", "500 Internal Server Error") if number in wrong else answer(b"yes"))

    with serving(handler) as server:
        yield server


def test_a_front_door_with_one_good_answer_in_twenty_is_not_verified(tmp_path: Path) -> None:
    with front_door(range(1, 20), 20) as server:
        found, _ = site(tmp_path, server.url, FakeKube([pod()]))
        with pytest.raises(VerifyError) as failed:
            make(spec(checks=(Page("/"),), deadline=3), RELEASE, found)
    assert "failed  GET /: " in failed.value.cause
    assert "status 500" in failed.value.cause


def test_wrong_answers_behind_a_good_one_are_counted(tmp_path: Path) -> None:
    with front_door(range(7, 10), 10) as server:
        found, _ = site(tmp_path, server.url, FakeKube([pod()]))
        with pytest.raises(VerifyError, match="1 of 1 checks") as failed:
            make(spec(checks=(Page("/"),), pods=False, deadline=3), RELEASE, found)
    assert "3 of 10 answers are wrong, none may be: status 500, expected 200" in failed.value.cause


def test_as_many_wrong_answers_as_the_blueprint_allows_are_told_and_pass(tmp_path: Path) -> None:
    with front_door([9], 10) as server:
        found, _ = site(tmp_path, server.url, FakeKube([pod()]))
        report = make(spec(checks=(Page("/", failures=1),), pods=False), RELEASE, found)
    assert report.checks[0].evidence.startswith("1 of 10 answers are wrong, 1 may be: status 500")


def test_a_page_that_is_dear_is_asked_as_often_as_it_says(tmp_path: Path) -> None:
    with front_door([], 10) as server:
        found, _ = site(tmp_path, server.url, FakeKube([pod()]))
        make(spec(checks=(Page("/", times=1),), pods=False), RELEASE, found)
    assert server.paths == ["/"]


def test_pages_and_pods_are_asked_at_the_same_time(tmp_path: Path) -> None:
    together = threading.Barrier(3, timeout=60)

    class Waiting(FakeKube):
        def list(self, target: str, labels: str = "", fields: str = "", *, metadata: bool = False) -> dict[str, Any]:
            if target.endswith("/pods"):
                together.wait()
            return super().list(target, labels, fields, metadata=metadata)

    def handler(peer: socket.socket, head: str) -> None:
        together.wait()
        peer.sendall(HEALTHY if "/healthz" in head else answer(COMMIT.encode()))

    with serving(handler) as server:
        found, _ = site(tmp_path, server.url, Waiting([pod()]))
        assert make(spec(), RELEASE, found).passed


def test_v01_the_old_version_behind_the_front_door_fails_and_both_commits_are_named(tmp_path: Path) -> None:
    with probe(STALE) as server:
        found, _ = site(tmp_path, server.url, FakeKube([pod()]))
        with pytest.raises(VerifyError) as caught:
            make(spec(), RELEASE, found)
    error = caught.value
    assert error.exit_code == 18
    assert error.what == "1 of 3 checks of coulomb/probe revision 3 (b2b2b2b) do not hold after 59 s"
    lines = error.cause.splitlines()
    assert [line.split(":")[0] for line in lines] == ["passed  pods", "passed  GET /", "failed  GET /healthz"]
    assert f'another version answers: commit is "{OLD}", "{COMMIT}" was released' in lines[2]
    assert "leads to something else" in error.mend


def test_v01_an_old_pod_that_still_runs_fails(tmp_path: Path) -> None:
    with probe() as server:
        found, _ = site(tmp_path, server.url, FakeKube([pod(), pod("probe-0", f"{REPOSITORY}@{OTHER}")]))
        with pytest.raises(VerifyError) as caught:
            make(spec(), RELEASE, found)
    assert "failed  pods: probe-0 runs sha256:0d0d0d0d0d0d" in caught.value.cause
    assert "inv deploy" in caught.value.mend


def test_v03_a_late_front_door_is_asked_with_growing_pauses_and_seen_within_a_second(tmp_path: Path) -> None:
    clock = FakeClock()

    def handler(peer: socket.socket, head: str) -> None:
        late = clock.monotonic() < 20
        peer.sendall(answer(b"no route", "404 Not Found") if late else HEALTHY if "/healthz" in head else answer(COMMIT.encode()))

    with serving(handler) as server:
        found, events = site(tmp_path, server.url, FakeKube([pod()]), clock)
        assert make(spec(), RELEASE, found).passed
    assert 20 <= clock.monotonic() < 21
    assert clock.slept[:3] == pytest.approx([0.05, 0.075, 0.1125])
    assert max(clock.slept) == 1
    assert [(event.what, event.stage) for event in events] == [(What.WAIT, "verify")], "the same wait is told once"
    assert events[0].text.startswith("2 of 3 checks not yet: GET /healthz: status 404, expected 200")


def test_v03_a_front_door_that_opens_late_in_real_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found, _ = site(tmp_path, f"http://127.0.0.1:{port}", FakeKube([pod()]), SystemClock())
    opened, done = threading.Event(), threading.Event()

    def open_late() -> None:
        with serving(saying(HEALTHY), port):
            opened.set()
            done.wait(10)

    timer = threading.Timer(0.6, open_late)
    timer.start()
    try:
        make(spec(checks=CHECKS[:1]), RELEASE, found)
        assert opened.is_set()
    finally:
        done.set()
        timer.join(10)


def test_v04_an_endpoint_that_hangs_fails_at_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # this clock is real
    release = threading.Event()
    with serving(lambda peer, _head: void(release.wait(10))) as server:
        found, _ = site(tmp_path, server.url, FakeKube([pod()]), SystemClock())
        with pytest.raises(VerifyError) as caught:
            make(spec(deadline=0.6), RELEASE, found)
        release.set()
    assert "failed  GET /healthz: no complete answer within" in caught.value.cause
    assert "passed  pods" in caught.value.cause


def test_a_release_is_not_condemned_when_nothing_at_all_could_be_reached(tmp_path: Path) -> None:
    """A VerifyError takes the release back; an operator's own broken network must not."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found, _ = site(tmp_path, f"http://127.0.0.1:{port}", FakeKube(Transient("no route to host")))
    with pytest.raises(Expired, match=r"is unverified: http://probe\.example and the cluster could not be reached for") as caught:
        make(spec(), RELEASE, found)
    assert not isinstance(caught.value, VerifyError)
    assert "the release stays as it is" in caught.value.mend
    assert "the cluster could not be asked: no route to host" in caught.value.cause


def test_a_closed_front_door_alone_does_not_condemn_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found, _ = site(tmp_path, f"http://127.0.0.1:{port}", FakeKube([pod()]))
    with pytest.raises(Expired, match=r"is unverified: http://probe\.example could not be reached"):
        make(spec(), RELEASE, found)


def test_a_silent_cluster_alone_does_not_condemn_it(tmp_path: Path) -> None:
    with probe() as server:
        found, _ = site(tmp_path, server.url, FakeKube(Transient("no route to host")))
        with pytest.raises(Expired, match="is unverified: the cluster could not be reached") as caught:
            make(spec(), RELEASE, found)
    assert caught.value.exit_code == 10
    assert "passed  GET /healthz" in caught.value.cause


def test_a_page_that_answers_wrong_condemns_it_though_the_cluster_is_silent(tmp_path: Path) -> None:
    with probe(STALE) as server:
        found, _ = site(tmp_path, server.url, FakeKube(Transient("no route to host")))
        with pytest.raises(VerifyError):
            make(spec(), RELEASE, found)


def test_credentials_that_are_refused_end_it_at_once(tmp_path: Path) -> None:
    kube = FakeKube(AuthError("401"))
    with probe() as server:
        found, _ = site(tmp_path, server.url, kube)
        with pytest.raises(AuthError):
            make(spec(), RELEASE, found)
    assert [target.rpartition("/")[2] for target, _ in kube.asked] == ["secrets", "pods"]


def test_a_busy_api_server_is_left_alone_as_long_as_it_asks(tmp_path: Path) -> None:
    clock = FakeClock()
    with probe() as server:
        found, _ = site(tmp_path, server.url, FakeKube(RateLimited("429", retry_after=7), [pod()]), clock)
        assert make(spec(), RELEASE, found).passed
    assert clock.slept == [7]


def test_without_pods_only_the_pages_are_asked(tmp_path: Path) -> None:
    kube = FakeKube(AssertionError("asked"))
    with probe() as server:
        found, _ = site(tmp_path, "", kube)
        report = make(spec(url=server.url + "/", pods=False), RELEASE, found)
    assert [check.name for check in report.checks] == ["GET /healthz", "GET /"]
    assert kube.asked == []


def test_with_pods_only_no_page_is_asked(tmp_path: Path) -> None:
    found, _ = site(tmp_path, "http://127.0.0.1:9", FakeKube([pod()]))
    assert [check.name for check in make(spec(checks=()), RELEASE, found).checks] == ["pods"]


def test_a_cluster_without_an_ingress_needs_a_url(tmp_path: Path) -> None:
    found, _ = site(tmp_path, "", FakeKube([pod()]))
    with pytest.raises(ConfigError, match="no usable ingress") as caught:
        make(spec(), RELEASE, found)
    assert "`ingress`" in caught.value.mend


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": ""},
        {"host": "a;touch /tmp/p"},
        {"host": "a\r\nX: y"},
        {"host": "-a"},
        {"host": "http://a"},
        {"url": "probe.example"},
        {"url": "ftp://probe.example"},
        {"url": "http://user:secret@probe.example"},
        {"url": "http://probe.example/path"},
        {"url": "http://probe.example:99999"},
        {"deadline": 0.0},
        {"checks": (), "pods": False},
    ],
)
def test_i01_options_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        spec(**wrong)


def void(_value: object) -> None:
    """Discard what a lambda has to return."""
