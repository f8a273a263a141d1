from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from pipeline.errors import Transient
from pipeline.host import Address
from pipeline.verify.git import Git, question
from pipeline.verify.web import Unreachable
from tests.verify.worlds import Shop


@dataclass
class Daemon:
    port: int
    commit: str

    def url(self, name: str = "repo.git") -> str:
        return f"git://127.0.0.1:{self.port}/{name}"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A real git daemon with one repository."""
    base = tmp_path_factory.mktemp("git")
    repo = str(base / "repo.git")

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", repo, *words], check=True, capture_output=True, text=True).stdout.strip()

    subprocess.run(["git", "init", "--quiet", "--bare", repo], check=True)
    identity = ("-c", "user.name=anna", "-c", "user.email=anna@example.org")
    tree = git("hash-object", "-t", "tree", "-w", "/dev/null")
    commit = git(*identity, "commit-tree", "-m", "Start", tree)
    git("update-ref", "refs/heads/main", commit)
    git(*identity, "tag", "-a", "-m", "One", "v1", commit)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    argv = ["git", "daemon", "--listen=127.0.0.1", f"--port={port}", "--export-all", "--reuseaddr", f"--base-path={base}", str(base)]
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL, start_new_session=True)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.02)
    yield Daemon(port, commit)
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(5)


def asked(check: Git, at: Shop, seconds: float = 5) -> tuple[bool, str]:
    one = question(check, at.world)
    found = one.judge(one.ask(at.view, seconds))
    return found.passed, found.evidence


def test_a_ref_is_there_at_this_commit(daemon: Daemon, at: Shop) -> None:
    assert asked(Git(daemon.url(), ref="main", commit=daemon.commit[:12]), at) == (True, f"refs/heads/main = {daemon.commit}")
    assert asked(Git(daemon.url(), ref="v1", commit=daemon.commit), at) == (True, f"refs/tags/v1 = {daemon.commit}")
    assert asked(Git(daemon.url()), at)[0]


def test_the_releases_commit_is_a_word_of_the_check(daemon: Daemon, at: Shop) -> None:
    passed, evidence = asked(Git(daemon.url(), ref="main", commit="{commit}"), at)
    assert not passed
    assert evidence == f"refs/heads/main is {daemon.commit}, expected {at.world.release.source.commit}"


def test_a_ref_that_is_not_there_fails(daemon: Daemon, at: Shop) -> None:
    assert asked(Git(daemon.url(), ref="v2"), at) == (False, "it answers, and has no ref v2")


def test_a_repository_that_is_not_exported_fails(daemon: Daemon, at: Shop) -> None:
    with pytest.raises(Transient, match=r"has no repository /none\.git"):
        asked(Git(daemon.url("none.git")), at)


def test_through_a_port_forward(daemon: Daemon, at: Shop) -> None:
    at.pod()
    at.service()
    at.fake.ports["probe-1:9418"] = Address("127.0.0.1", daemon.port)
    check = Git("/repo.git", through="port-forward:service/probe:git", ref="main")
    assert asked(check, at) == (True, f"refs/heads/main = {daemon.commit}")


def test_nobody_listening_says_nothing_about_the_release(at: Shop) -> None:
    with pytest.raises(Unreachable, match="Connection refused"):
        asked(Git("git://127.0.0.1:1/repo.git"), at)


def test_v04_a_daemon_that_hangs_ends_at_the_timeout(at: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Transient, match=r"no complete answer within 0\.5 s"):
        asked(Git(f"git://127.0.0.1:{silent.getsockname()[1]}/repo.git"), at, 0.5)


def test_what_does_not_speak_git_is_named(at: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: _say(server), daemon=True)
        thread.start()
        with pytest.raises(Transient, match="does not speak git's protocol"):
            asked(Git(f"git://127.0.0.1:{server.getsockname()[1]}/repo.git"), at)
        thread.join(5)


def _say(server: socket.socket) -> None:
    peer, _ = server.accept()
    with peer:
        peer.recv(1000)
        peer.sendall(b"SSH-2.0-x\r\n")


@pytest.mark.parametrize(
    "wrong",
    [
        {"git": "/repo.git"},
        {"git": "git://h/repo.git", "through": "10.0.0.1:9418"},
        {"git": "/repo.git", "through": "ingress"},
        {"git": "ext::sh -c id"},
        {"git": "git://-x/repo.git"},
        {"git": "git://h/repo.git", "ref": "--upload-pack=x"},
        {"git": "git://h/repo.git", "commit": "abcdef1"},
        {"git": "git://h/repo.git", "ref": "main", "commit": "{nothing}"},
    ],
)
def test_i01_i02_what_no_check_can_mean_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        Git(**wrong)


def test_two_checks_of_one_ref_are_one_question(daemon: Daemon, at: Shop) -> None:
    check = Git(daemon.url(), ref="main")
    assert question(check, at.world).key == question(dataclasses.replace(check, commit="abcdef1"), at.world).key
