"""What every Host does, whichever it is."""

from __future__ import annotations

import functools
import os
import secrets
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError, Transient
from pipeline.host import Address, Cmd, Host
from pipeline.host.local import LocalHost
from pipeline.host.scripts import command_line
from pipeline.testing import FakeHost
from tests.sshd import Sshd, at_once, only_busybox, processes, settled


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")).running() as sshd:
        yield sshd


@pytest.fixture(scope="module")
def alpine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    folder = tmp_path_factory.mktemp("alpine")
    with Sshd(folder, only_busybox(folder)).running() as sshd:
        yield sshd


def _open(kind: str, request: pytest.FixtureRequest) -> Host:
    makers: dict[str, Callable[[], Host]] = {
        "local": LocalHost,
        "ssh": lambda: request.getfixturevalue("sshd").host(),
        "busybox": lambda: request.getfixturevalue("alpine").host(),
        "fake": lambda: FakeHost(otherwise=LocalHost().run),
    }
    return makers[kind]()


@pytest.fixture(scope="module", params=["local", "ssh", "busybox", "fake"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    host = _open(request.param, request)
    yield host
    host.close()


@pytest.fixture(scope="module", params=["local", "ssh", "busybox"])
def machine(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host with something behind it: what a scripted one cannot do."""
    host = _open(request.param, request)
    yield host
    host.close()


def test_is_a_host(host: Host) -> None:
    assert isinstance(host, Host)
    assert host.name
    assert host.state.startswith("/")


@pytest.mark.parametrize("code", [0, 1, 7, 126, 127, 129, 143, 255])
def test_trap7_exit_codes_are_the_commands_own(host: Host, code: int) -> None:
    output = host.run(Cmd(("sh", "-c", f"echo out; echo err >&2; exit {code}")))
    assert (output.code, output.stdout, output.stderr) == (code, b"out\n", b"err\n")


def test_output_is_bytes_as_they_are(host: Host) -> None:
    data = bytes(range(256)) * 40
    assert host.run(Cmd(("cat",), stdin=data)).stdout == data
    assert host.run(Cmd(("printf", "no end of line"))).stdout == b"no end of line"
    assert host.run(Cmd(("sh", "-c", "printf 'no end' >&2"))).stderr == b"no end"


def test_large_input_and_output_do_not_block_each_other(host: Host) -> None:
    data = os.urandom(3_000_000)
    assert host.run(Cmd(("cat",), stdin=data)).stdout == data
    assert host.run(Cmd(("true",), stdin=data)).ok


def test_programs_and_folders_that_are_not_there(host: Host, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    assert host.run(Cmd(("/nonexistent/program",))).code == 127
    assert host.run(Cmd((str(tmp_path / "plain"),))).code == 126
    assert host.run(Cmd(("pwd",), cwd="/nonexistent")).code == 125
    assert host.run(Cmd(("pwd",), cwd=str(tmp_path))).text == str(tmp_path)


def test_environment_is_added(host: Host) -> None:
    output = host.run(Cmd(("sh", "-c", 'printf "%s|%s" "$ODD" "${HOME:+home}"'), env={"ODD": "a b\n$(id) 'x' \"y\""}))
    assert output.stdout.decode() == "a b\n$(id) 'x' \"y\"|home"


def test_lines_come_as_they_are_written(machine: Host) -> None:
    seen: list[tuple[str, float]] = []
    machine.run(Cmd(("sh", "-c", "echo one; sleep 0.4; echo two >&2; printf three")), lambda line: seen.append((line, time.monotonic())))
    assert seen[0][0] == "one"
    assert sorted(line for line, _ in seen) == ["one", "three", "two"]
    assert seen[1][1] - seen[0][1] > 0.2


@pytest.mark.parametrize("stubborn", [False, True], ids=["ends", "ignores-term"])
def test_trap5_a_command_past_its_time_is_ended_on_the_host(host: Host, stubborn: bool) -> None:
    mark = f"8{secrets.randbelow(10**8):08}"
    script = f"{'trap : TERM; ' if stubborn else ''}sleep {mark} & sleep {mark}; sleep {mark}"
    with pytest.raises(Transient, match=r"within 1 s and was ended"):
        host.run(Cmd(("sh", "-c", script), timeout=1))
    assert settled(lambda: not processes(mark))


def test_only_the_last_bytes_are_kept_where_that_is_enough(machine: Host) -> None:
    count = 0

    def on_line(_line: str) -> None:
        nonlocal count
        count += 1

    output = machine.run(Cmd(("sh", "-c", "seq 1 100000"), keep=100), on_line)
    assert (count, output.stdout[-7:], len(output.stdout)) == (100_000, b"100000\n", 100)


@pytest.mark.parametrize(
    "cmd",
    [
        Cmd(()),
        Cmd(("",)),
        Cmd(("-c", "id")),
        Cmd(("echo", "a\0b")),
        Cmd(("true",), env={"A B": "x"}),
        Cmd(("true",), env={"-i": "x"}),
        Cmd(("A=b",), env={"C": "d"}),
    ],
    ids=repr,
)
def test_i02_what_cannot_be_a_command_is_refused(machine: Host, cmd: Cmd) -> None:
    with pytest.raises(ConfigError):
        machine.run(cmd)


HOSTILE = [
    "a;touch {0}",
    "$(touch {0})",
    "`touch {0}`",
    "a\ntouch {0}",
    "' ; touch {0} ; '",
    "&& touch {0}",
    "| touch {0}",
    "\\",
    "",
    "*",
    "~",
    "!!",
    "-oProxyCommand=touch {0}",
]


def test_i01_every_word_stays_one_word(host: Host, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    sent = [word.format(canary) for word in HOSTILE]
    output = host.run(Cmd(("printf", "%s\\0", *sent), cwd=str(tmp_path)))
    assert output.stdout.decode().split("\0")[:-1] == sent
    assert not canary.exists()


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_words_pass_a_shell_unchanged(words: list[str]) -> None:
    line = command_line(("printf", "%s\\0", *words))
    done = subprocess.run(("/bin/sh", "-c", line), capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == words


def test_words_that_are_not_utf8_pass_unchanged(host: Host) -> None:
    word = os.fsdecode(b"caf\xe9 \xff")
    assert host.run(Cmd(("printf", "%s", word))).stdout == b"caf\xe9 \xff"
    assert shlex.join(["a b"]) == command_line(("a b",)).decode()


def test_put_replaces_whole_files_and_keeps_modes(host: Host, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(300_000))
    source.chmod(0o750)
    target = tmp_path / "new folder" / "it's $HOME"
    host.put(source, str(target))
    if isinstance(host, FakeHost):
        assert host.files[str(target)] == source.read_bytes()
        return
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mode & 0o777 == 0o750
    source.write_bytes(b"")
    host.put(source, str(target))
    host.put(source, str(target))
    assert target.read_bytes() == b""
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_copies_to_one_name_at_once_leave_one_whole_file(machine: Host, tmp_path: Path) -> None:
    sources = [tmp_path / "one", tmp_path / "other"]
    for source in sources:
        source.write_bytes(os.urandom(1_000_000))
    target = tmp_path / "there" / "target"
    assert at_once([functools.partial(machine.put, source, str(target)) for source in sources * 3]) == [None] * 6
    assert target.read_bytes() in [source.read_bytes() for source in sources]
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_what_a_killed_copy_left_here_is_removed_a_day_later(tmp_path: Path) -> None:
    host, folder = LocalHost(), tmp_path / "there"
    (tmp_path / "source").write_text("x")
    folder.mkdir()
    for name, age in ((".pipeline-put.a.x.part", 2 * 86400), (".pipeline-put.b.x.part", 0), (".a.part", 2 * 86400)):
        (folder / name).write_text("left")
        os.utime(folder / name, (time.time() - age, time.time() - age))
    host.put(tmp_path / "source", str(folder / "a"))
    assert sorted(path.name for path in folder.iterdir()) == [".a.part", ".pipeline-put.b.x.part", "a"]


@pytest.mark.parametrize("target", ["relative", "-leading", "/ends/", "/proc/nothing/here"])
def test_put_refuses_what_is_no_file_of_ours(machine: Host, tmp_path: Path, target: str) -> None:
    (tmp_path / "source").write_text("x")
    with pytest.raises(ConfigError):
        machine.put(tmp_path / "source", target)


def test_forward_and_expose_reach_the_target_and_leave_nothing(host: Host) -> None:
    threads = threading.active_count()
    with _greeter() as target:
        for way in (host.forward, host.expose):
            with way(target) as address:
                for number in range(5):
                    assert _greet(address, f"{number}") == f"hello {number}"
            if address != target:
                with pytest.raises(OSError):
                    _greet(address, "late")
    assert settled(lambda: threading.active_count() <= threads, 5)


def test_many_at_once(host: Host) -> None:
    results: list[str] = []
    threads = [threading.Thread(target=lambda n=n: results.append(host.run(Cmd(("echo", str(n)))).text)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(results) == [str(number) for number in range(8)]


def test_a_closed_host_opens_again(host: Host) -> None:
    host.close()
    host.close()
    assert host.run(Cmd(("echo", "again"))).text == "again"


class _greeter:  # noqa: N801  # used as a function
    """A TCP server that says hello to what it is told."""

    def __enter__(self) -> Address:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        return Address("127.0.0.1", self.listener.getsockname()[1])

    def _serve(self) -> None:
        while True:
            try:
                end, _ = self.listener.accept()
            except OSError:
                return
            with end:
                text = b""
                while chunk := end.recv(1000):
                    text += chunk
                end.sendall(b"hello " + text)

    def __exit__(self, *_error: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)


def _greet(address: Address, text: str) -> str:
    with socket.create_connection((address.host, address.port), timeout=5) as end:
        end.sendall(text.encode())
        end.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := end.recv(1000):
            answer += chunk
        return answer.decode()
