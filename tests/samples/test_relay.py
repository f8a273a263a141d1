"""The relay sample: its pages, its repository, its settings, and the order in which it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from pipeline.lab.samples.relay.repository import create
from pipeline.lab.samples.relay.settings import Wrong, settings
from tests.samples.conftest import Program, Start, ended, free_port


def git(*words: str) -> str:
    argv = ["git", "-c", "protocol.version=2", *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=20).stdout


@pytest.fixture
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture
def relay(start: Start, ports: tuple[int, int], tmp_path: Path) -> Program:
    program = start(
        "relay.relay", ports[0], RELAY_HOST="127.0.0.1", RELAY_PORT=str(ports[0]), RELAY_GIT_PORT=str(ports[1]),
        RELAY_DATA=str(tmp_path / "data"), RELAY_DRAIN_SECONDS="0.5", RELAY_VERSION="v1.2.3", RELAY_COMMIT="abc",
    )  # fmt: skip
    program.until(program.listens)
    return program


def test_health_says_what_runs(relay: Program) -> None:
    page = {"status": "ok", "version": "v1.2.3", "commit": "abc", "repository": "repo.git", "git": "ok"}
    assert relay.page("/health") == (200, page)
    code, headers, body = relay.ask("/health", "HEAD")
    assert (code, headers["Content-Type"], body) == (200, "application/json", b"")
    assert relay.page("/other")[0] == 404


def test_the_repository_can_be_listed_and_cloned(relay: Program, ports: tuple[int, int], tmp_path: Path) -> None:
    url = f"git://127.0.0.1:{ports[1]}/repo.git"
    assert [line.split("\t")[1] for line in git("ls-remote", url).splitlines()] == ["HEAD", "refs/heads/main"]
    git("clone", "--quiet", url, str(tmp_path / "clone"))
    assert (tmp_path / "clone/README").read_text() == "The relay's own repository.\n"


def test_nobody_writes_to_the_repository_and_no_other_is_served(relay: Program, ports: tuple[int, int], tmp_path: Path) -> None:
    git("init", "--quiet", "--bare", str(tmp_path / "data/other.git"))
    url = f"git://127.0.0.1:{ports[1]}"
    with pytest.raises(subprocess.CalledProcessError):
        git("ls-remote", f"{url}/other.git")
    git("clone", "--quiet", f"{url}/repo.git", str(tmp_path / "clone"))
    with pytest.raises(subprocess.CalledProcessError) as refused:
        git("-C", str(tmp_path / "clone"), "push", "--quiet", "origin", "main:other")
    assert "not enabled" in refused.value.stderr


def test_two_new_relays_have_the_same_first_commit(tmp_path: Path) -> None:
    heads = [(create(tmp_path / name) / "refs/heads/main").read_text() for name in ("one", "two")]
    assert heads[0] == heads[1]
    before = heads[0]
    assert (create(tmp_path / "one") / "refs/heads/main").read_text() == before, "what is there is left as it is"


def test_on_sigterm_it_drains_and_ends_with_0(relay: Program, ports: tuple[int, int]) -> None:
    begun = time.monotonic()
    relay.terminate()
    relay.until(lambda: relay.page("/health")[0] == 503)
    assert relay.page("/health")[1]["status"] == "draining"
    assert git("ls-remote", f"git://127.0.0.1:{ports[1]}/repo.git"), "git is served while it drains"
    code, log = ended(relay)
    assert code == 0
    assert time.monotonic() - begun >= 0.5
    assert "draining" in log
    assert not relay.listens()


def test_a_request_under_way_is_answered_before_the_end(relay: Program) -> None:
    with socket.create_connection(("127.0.0.1", relay.port), timeout=10) as peer:
        peer.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        relay.terminate()
        time.sleep(0.7)
        peer.sendall(b"\r\n")
        assert peer.recv(100).startswith(b"HTTP/1.1 503 ")
    assert ended(relay)[0] == 0


def test_without_git_daemon_it_ends_with_1(relay: Program) -> None:
    children = Path(f"/proc/{relay.process.pid}/task/{relay.process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    code, log = ended(relay)
    assert code == 1
    assert "git daemon ended with -9" in log


@pytest.mark.parametrize("protocol", ["http", "git"])
def test_a_port_that_is_taken_is_told(start: Start, tmp_path: Path, protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        name = "RELAY_PORT" if protocol == "http" else "RELAY_GIT_PORT"
        other = "RELAY_GIT_PORT" if protocol == "http" else "RELAY_PORT"
        environment = {name: port, other: str(free_port()), "RELAY_HOST": "127.0.0.1", "RELAY_DATA": str(tmp_path / "data")}
        code, log = ended(start("relay.relay", **environment))
    assert code == 2
    assert port in log
    assert "Traceback" not in log


def test_git_that_is_missing_is_told(start: Start, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, log = ended(start("relay.relay", PATH=str(tmp_path / "empty"), RELAY_DATA=str(tmp_path / "data")))
    assert (code, log) == (2, "relay: git is not installed: the relay serves its repository with `git daemon`\n")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("RELAY_PORT", "abc", "a port from 1 to 65535"),
        ("RELAY_PORT", "65536", "a port from 1 to 65535"),
        ("RELAY_GIT_PORT", "0", "a port from 1 to 65535"),
        ("RELAY_GIT_PORT", "8088", "both 8088"),
        ("RELAY_PORT", "\u0665", "a port from 1 to 65535"),
        ("RELAY_HOST", "--listen", "an address to listen on"),
        ("RELAY_DATA", "data", "a folder named from the root"),
        ("RELAY_DRAIN_SECONDS", "soon", "a number of seconds"),
        ("RELAY_DRAIN_SECONDS", "nan", "a number of seconds"),
        ("RELAY_DRAIN_SECONDS", "-1", "a number of seconds"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str, says: str) -> None:
    with pytest.raises(Wrong, match=says) as wrong:
        settings({name: value})
    assert name in str(wrong.value)


def test_settings_that_are_not_given_have_the_usual_values() -> None:
    found = settings({"RELAY_PORT": ""})
    assert (found.port, found.git_port, str(found.data), found.drain, found.version) == (8088, 9418, "/var/lib/relay", 3.0, "unknown")
