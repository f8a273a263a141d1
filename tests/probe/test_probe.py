"""The probe as it is: compiled as the image compiles it, started as a process, talked to over its socket."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.sshd import settled

SOURCE = Path(__file__).parents[2] / "pipeline/lab/probe"
SECRET = base64.b64encode(bytes(range(48))).decode()

if not shutil.which("gcc"):
    pytest.skip("no C compiler", allow_module_level=True)


@dataclass
class Probe:
    process: subprocess.Popen[str]
    port: int

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection):
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def health(self) -> tuple[int, dict[str, Any]]:
        status, body = self.get("/healthz")
        return status, json.loads(body)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def send(self, data: bytes) -> bytes:
        """The whole answer to raw bytes."""
        with self.connect() as peer:
            peer.sendall(data)
            return b"".join(iter(lambda: peer.recv(65536), b""))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("probe") / "RunProdServer"
    subprocess.run(["/bin/sh", SOURCE / "compile.sh", SOURCE, path], check=True)
    return path


Start = Callable[..., Probe]


@pytest.fixture
def start(program: Path, tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []
    (tmp_path / "version").write_text("1.2.3\n")

    def run(**environment: str) -> Probe:
        port = free_port()
        env = {"IHP_SESSION_SECRET": SECRET, "PORT": str(port), "PROBE_CONFIG": str(tmp_path), "DRAIN_SECONDS": "1"} | environment
        process = subprocess.Popen([program], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        assert process.stdout
        assert process.stdout.readline().startswith("version 1.2.3")
        return Probe(process, port)

    yield run
    for process in started:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def server_that_answers(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A port that reads a few bytes from each caller and answers with `answer`; the bytes it read are kept."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    with peer:
                        seen.append(peer.recv(64))
                        peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], seen
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_the_page_names_version_commit_and_pod(start: Start) -> None:
    status, page = start(PROBE_COMMIT="abc1234").get("/")
    assert status == 200
    assert "1.2.3" in page
    assert "abc1234" in page
    assert socket.gethostname() in page


def test_health_without_a_database(start: Start) -> None:
    status, health = start(PROBE_COMMIT="abc1234", IHP_BASEURL="http://probe.test").health()
    assert status == 200
    assert health == {
        "status": "ok",
        "version": "1.2.3",
        "commit": "abc1234",
        "baseUrl": "http://probe.test",
        "database": "not configured",
    }


def test_settings_cannot_break_out_of_json_or_html(start: Start) -> None:
    odd = 'a"\\\n<script>&\x7fé' + "x" * 5000
    probe = start(PROBE_COMMIT=odd, IHP_BASEURL=odd)
    _, health = probe.health()
    assert odd.startswith(health["commit"])
    assert health["commit"].startswith(odd[:12])
    assert "<script>" not in probe.get("/")[1]


@pytest.mark.parametrize("answer", [b"N", b"S"])
def test_a_postgresql_server_is_reachable(start: Start, answer: bytes) -> None:
    with server_that_answers(answer) as (port, seen):
        status, health = start(DATABASE_URL=f"postgresql://user:p%40ss@127.0.0.1:{port}/app?sslmode=disable").health()
        assert (status, health["status"], health["database"]) == (200, "ok", "reachable")
        assert seen[0] == bytes([0, 0, 0, 8, 4, 210, 22, 47])


@pytest.mark.parametrize("host", ["localhost", "user@127.0.0.1", "us@er:p@ss@127.0.0.1", "127.0.0.1,192.0.2.1"])
def test_forms_of_the_database_url(start: Start, host: str) -> None:
    with server_that_answers(b"N") as (port, _):
        first, comma, rest = host.partition(",")
        assert start(DATABASE_URL=f"postgres://{first}:{port}{comma}{rest}/app").health()[1]["database"] == "reachable"


def test_something_else_on_the_port_is_no_database(start: Start) -> None:
    with server_that_answers(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (port, _):
        assert start(DATABASE_URL=f"postgresql://127.0.0.1:{port}/app").health()[1]["database"] == "unreachable"


def test_many_health_checks_are_one_question_to_the_database(start: Start) -> None:
    with server_that_answers(b"N") as (port, seen):
        probe = start(DATABASE_URL=f"postgresql://127.0.0.1:{port}/app")
        for _ in range(100):
            probe.health()
        assert len(seen) <= 3


@pytest.mark.parametrize(
    "url",
    ["postgresql://127.0.0.1:{port}/app", "postgresql://no.such.host.invalid/app", "mysql://x", "nonsense", "postgresql://[::1"],
)
def test_no_database_means_no_traffic_but_no_restart(start: Start, url: str) -> None:
    probe = start(DATABASE_URL=url.format(port=free_port()))
    status, health = probe.health()
    assert (status, health["status"], health["database"]) == (503, "unavailable", "unreachable")
    assert probe.get("/livez")[0] == 200
    assert probe.get("/")[0] == 200


def test_a_silent_database_delays_nobody(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        probe = start(DATABASE_URL=f"postgresql://127.0.0.1:{silent.getsockname()[1]}/app")
        silent.settimeout(10)
        for _ in range(10):  # each check lasts a second, which a busy machine may need for one answer
            peer, _ = silent.accept()
            with peer:
                assert probe.health()[0] == 503
                peer.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while peer.recv(64):
                        pass
                    continue  # the check was over before the answer came
                return
    pytest.fail("no answer came while a check waited for the database")


def test_a_database_that_comes_back_is_noticed(start: Start) -> None:
    port = free_port()
    probe = start(DATABASE_URL=f"postgresql://127.0.0.1:{port}/app")
    assert probe.health()[0] == 503
    with socket.create_server(("127.0.0.1", port)) as listener:
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"N")
            peer.recv(64)
            assert settled(lambda: probe.health()[0] == 200)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_drains_then_exits_with_0(start: Start, sent: signal.Signals) -> None:
    probe = start(DRAIN_SECONDS="2")
    began = time.monotonic()
    probe.process.send_signal(sent)
    assert settled(lambda: probe.health()[0] == 503)
    assert probe.health()[1]["status"] == "draining"
    assert probe.get("/")[0] == 200
    assert probe.get("/livez")[0] == 200
    assert probe.process.wait(30) == 0
    assert time.monotonic() - began >= 2


def test_serves_on_while_somebody_asks_for_more_than_its_health(start: Start) -> None:
    """A busy ingress notices late that a pod leaves: what it still sends is answered."""
    probe = start(DRAIN_SECONDS="3", DRAIN_LIMIT_SECONDS="3600")
    probe.process.send_signal(signal.SIGTERM)
    assert settled(lambda: probe.health()[0] == 503)
    for _ in range(30):
        assert probe.get("/")[0] == 200
        time.sleep(0.2)
    health = b"GET /healthz HTTP/1.1\r\nHost: x\r\nuser-agent: kube-probe/1.34\r\n\r\n"
    asked = 0
    while probe.process.poll() is None and asked < 300:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", probe.port)) as peer:
            peer.sendall(health)
            assert b" 503 " in peer.recv(64)
        asked += 1
        time.sleep(0.1)
    assert probe.process.poll() == 0


def test_does_not_serve_on_for_ever(start: Start) -> None:
    probe = start(DRAIN_SECONDS="2", DRAIN_LIMIT_SECONDS="4")
    probe.process.send_signal(signal.SIGTERM)
    with contextlib.suppress(OSError):
        for _ in range(300):
            probe.get("/")
            time.sleep(0.1)
    assert probe.process.wait(30) == 0


def test_drains_as_process_1(program: Path) -> None:
    """The kernel ignores signals for which process 1 has no handler."""
    if subprocess.run(["/usr/bin/unshare", "--pid", "--fork", "true"], check=False, capture_output=True).returncode:
        pytest.skip("may not make a PID namespace")
    env = os.environ | {"IHP_SESSION_SECRET": SECRET, "PORT": str(free_port()), "DRAIN_SECONDS": "0"}
    with subprocess.Popen(["/usr/bin/unshare", "--pid", "--fork", program], env=env, text=True, stdout=subprocess.PIPE) as outer:
        assert outer.stdout
        outer.stdout.readline()
        child = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()[0]
        os.kill(int(child), signal.SIGTERM)
        assert outer.wait(5) == 0


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "IHP_SESSION_SECRET is not set"),
        ({"IHP_SESSION_SECRET": base64.b64encode(b"x" * 30).decode()}, "base64 of 32 random bytes"),
        ({"IHP_SESSION_SECRET": "not base64! " * 10}, "base64 of 32 random bytes"),
        ({"IHP_SESSION_SECRET": SECRET, "PORT": "http"}, "PORT must be a number"),
        ({"IHP_SESSION_SECRET": SECRET, "DRAIN_SECONDS": "-1"}, "DRAIN_SECONDS must be a number"),
    ],
)
def test_wrong_settings_end_it_with_one_clear_line(program: Path, environment: dict[str, str], says: str) -> None:
    done = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=5, check=False)
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert SECRET not in done.stderr


def test_a_taken_port_is_named(start: Start, program: Path) -> None:
    taken = start().port
    env = {"IHP_SESSION_SECRET": SECRET, "PORT": str(taken)}
    done = subprocess.run([program], env=env, capture_output=True, text=True, timeout=5, check=False)
    assert done.returncode == 1
    assert f"cannot listen on port {taken}" in done.stderr


def test_methods_and_paths(start: Start) -> None:
    probe = start()
    assert probe.get("/nothing")[0] == 404
    assert probe.get("/healthz?verbose=1")[0] == 200
    assert probe.get("/", "POST")[0] == 405
    assert probe.get("/", "HEAD") == (200, "")


@pytest.mark.parametrize(
    ("garbage", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300), b"400"),
        (b"\r\n\r\n", b"400"),
        (b"GET\r\n\r\n", b"400"),
        (b"GET / SPDY/9\r\n\r\n", b"400"),
        (b"GET /\0x HTTP/1.1\r\n\r\n", b"400"),
        (b"GET http://x/ HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n", b"431"),
        (b"GET /" + bytes(range(128, 256)) + b"%s%n%n HTTP/1.1\r\n\r\n", b"404"),
        (b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"z" * 100000, b"405"),
    ],
)
def test_garbage_gets_an_answer_and_harms_nobody(start: Start, garbage: bytes, status: bytes) -> None:
    probe = start()
    assert probe.send(garbage).startswith(b"HTTP/1.1 " + status)
    assert probe.health()[0] == 200


def test_a_request_in_single_bytes_is_served(start: Start) -> None:
    with start().connect() as peer:
        for byte in b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n":
            peer.sendall(bytes([byte]))
        assert peer.recv(100).startswith(b"HTTP/1.1 200")


def test_slow_peers_do_not_lock_out_the_health_check(start: Start) -> None:
    probe = start()
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(probe.connect()) for _ in range(400)]
        for peer in slow:
            with contextlib.suppress(OSError):  # the first of them have been thrown out already
                peer.sendall(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(20):
            assert probe.health()[0] == 200
        assert slow[-1].recv(100).startswith(b"HTTP/1.1 408")


def test_a_peer_that_hangs_up_early_is_forgotten(start: Start) -> None:
    probe = start()
    for data in (b"", b"GET", b"GET / HTTP/1.1\r\n\r\n"):
        for _ in range(300):
            with probe.connect() as peer:
                peer.sendall(data)
    assert probe.health()[0] == 200
