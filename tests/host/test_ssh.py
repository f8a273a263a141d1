"""SshHost against a real sshd: keys, logins, faults on the way."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Ambiguous, AuthError, ConfigError, HostKeyError, Transient
from pipeline.host import Address, Cmd, OnLine, Output
from pipeline.host.ssh import SshHost
from pipeline.testing import FaultProxy
from tests.sshd import Sshd, at_once, fingerprint, only_busybox, processes, settled


@pytest.fixture
def sshd(tmp_path: Path) -> Sshd:
    return Sshd(tmp_path)


@pytest.fixture
def running(sshd: Sshd) -> Iterator[Sshd]:
    with sshd.running():
        yield sshd


def _word(sshd: Sshd, name: str) -> str:
    return (sshd.folder / f"{name}.pub").read_text().split()[1]


def test_s01_refused_is_transient_and_names_the_address(sshd: Sshd) -> None:
    host = sshd.host()
    with pytest.raises(Transient, match=f"builder.*{sshd.address}") as caught:
        host.run(Cmd(("true",)))
    assert "refused" in caught.value.cause


def test_s01_dropped_packets_are_transient(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.host.ssh_link.CONNECT", 0.2)
    with socket.socket() as full:  # a full backlog: the kernel drops what comes then
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = Address("127.0.0.1", full.getsockname()[1])
        with socket.create_connection((address.host, address.port)):
            with pytest.raises(Transient, match=str(address)) as caught:
                sshd.host(address).run(Cmd(("true",)))
            assert "timed out" in caught.value.cause


def test_s01_reset_and_silence_in_the_greeting_are_transient(running: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.host.ssh_link.GREETING", 0.5)
    with FaultProxy(running.address) as proxy:
        proxy.reset_after(10, "down")
        host = running.host(proxy.address)
        with pytest.raises(Transient, match=str(proxy.address)):
            host.run(Cmd(("true",)))
        proxy.freeze()
        with pytest.raises(Transient, match=str(proxy.address)):
            host.run(Cmd(("true",)))
        proxy.thaw()
        assert host.run(Cmd(("true",))).ok
        host.close()


def test_s01_a_name_that_does_not_exist_is_not_tried_again(sshd: Sshd) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.invalid"):
        sshd.host(address="nowhere.invalid").run(Cmd(("true",)))


def test_s01_a_name_that_was_known_once_comes_back(sshd: Sshd) -> None:
    sshd.trust(Address("nowhere.invalid", 2222))
    with pytest.raises(Transient, match=r"nowhere\.invalid"):
        sshd.host(address="nowhere.invalid", port=2222).run(Cmd(("true",)))


def test_s01_a_resolver_that_is_busy_passes(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_words: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "create_connection", ask)
    with pytest.raises(Transient, match=r"busy\.invalid"):
        sshd.host(address="busy.invalid").run(Cmd(("true",)))


@pytest.mark.parametrize("what", ["waiting", "writing"])
def test_s02_a_black_hole_after_login_is_noticed(running: Sshd, tmp_path: Path, what: str) -> None:
    """With the interval of 15 s this is 40 s at most; here everything is 30 times as fast."""
    with FaultProxy(running.address) as proxy:
        host = running.host(proxy.address, interval=0.5)
        host.run(Cmd(("true",)))
        proxy.freeze()
        cmd = Cmd(("sleep", "60")) if what == "waiting" else Cmd(("cat",), stdin=bytes(30_000_000))
        with pytest.raises(Transient) as caught:
            host.run(cmd)
        assert "nothing was heard" in caught.value.cause
        proxy.thaw()
        assert host.run(Cmd(("echo", "back"))).text == "back"
        host.close()


def test_s02_a_short_limit_holds_in_a_black_hole_too(running: Sshd) -> None:
    with FaultProxy(running.address) as proxy:
        host = running.host(proxy.address)
        host.run(Cmd(("true",)))
        proxy.freeze()
        with pytest.raises(Ambiguous, match="no answer"):
            host.run(Cmd(("true",), timeout=0.5))
        proxy.thaw()
        host.close()


def test_b11_silence_of_the_command_is_not_silence_of_the_machine(running: Sshd) -> None:
    host = running.host(interval=0.2)
    assert host.run(Cmd(("sh", "-c", "sleep 1.5; echo done"))).text == "done"
    host.close()


def test_a_slow_link_is_not_a_dead_one(running: Sshd) -> None:
    with FaultProxy(running.address, bandwidth=400_000) as proxy:
        host = running.host(proxy.address, interval=0.3)
        data = os.urandom(800_000)  # two seconds each way
        assert host.run(Cmd(("cat",), stdin=data)).stdout == data
        host.close()


def test_a_reset_while_running_is_ambiguous(running: Sshd) -> None:
    with FaultProxy(running.address) as proxy:
        host = running.host(proxy.address)
        host.run(Cmd(("true",)))
        threading.Timer(0.3, proxy.reset).start()
        with pytest.raises(Ambiguous, match="lost while running sleep"):
            host.run(Cmd(("sleep", "60")))
        assert host.run(Cmd(("echo", "back"))).text == "back"
        host.close()


def test_s03_a_file_goes_on_where_the_reset_stopped_it(running: Sshd, tmp_path: Path) -> None:
    source, target = tmp_path / "archive", tmp_path / "there" / "archive"
    source.write_bytes(os.urandom(20_000_000))
    with FaultProxy(running.address) as proxy:
        host = running.host(proxy.address)
        proxy.reset_after(10_000_000)
        with pytest.raises(Transient):
            host.put(source, str(target))
        assert not target.exists()
        host.put(source, str(target))
        host.close()
        assert target.read_bytes() == source.read_bytes()
        assert proxy.bytes_up <= 1.2 * 20_000_000
    assert [path.name for path in target.parent.iterdir()] == ["archive"]


def test_s03_a_part_of_other_content_is_not_built_upon(running: Sshd, tmp_path: Path) -> None:
    source, target = tmp_path / "archive", tmp_path / "there" / "archive"
    with FaultProxy(running.address) as proxy:
        host = running.host(proxy.address)
        for content in (os.urandom(10_000_000), os.urandom(10_000_000)):
            source.write_bytes(content)
            proxy.reset_after(6_000_000)
            with pytest.raises(Transient):
                host.put(source, str(target))
        host.put(source, str(target))
        host.close()
    assert target.read_bytes() == content


@pytest.mark.parametrize("where", ["sh", "busybox"])
def test_two_copies_of_one_file_at_once_give_one_file(tmp_path: Path, where: str) -> None:
    """Six times, since it is a race; here and on Alpine's shell."""
    options = [only_busybox(tmp_path)] if where == "busybox" else []
    source, target = tmp_path / "archive", tmp_path / "there" / "archive"
    with Sshd(tmp_path, *options).running() as sshd:
        hosts = [sshd.host() for _ in range(2)]
        for _ in range(6):
            source.write_bytes(os.urandom(4_000_000))
            assert at_once([functools.partial(host.put, source, str(target)) for host in hosts]) == [None, None]
            assert target.read_bytes() == source.read_bytes()
            assert [path.name for path in target.parent.iterdir()] == ["archive"]
        for host in hosts:
            host.close()


def test_a_copy_that_waits_goes_on_where_a_writer_without_a_line_stopped(running: Sshd, tmp_path: Path) -> None:
    source, target = tmp_path / "archive", tmp_path / "there" / "archive"
    source.write_bytes(os.urandom(12_000_000))
    with FaultProxy(running.address, bandwidth=2_000_000) as proxy:
        slow, quick = running.host(proxy.address), running.host()
        slow.run(Cmd(("true",)))
        results: list[BaseException | None] = []
        thread = threading.Thread(target=lambda: results.extend(at_once([lambda: slow.put(source, str(target))])))
        thread.start()
        assert settled(lambda: any(part.stat().st_size > 1_000_000 for part in target.parent.glob(".*.part")), 30)
        proxy.freeze()
        quick.put(source, str(target))
        assert target.read_bytes() == source.read_bytes()
        proxy.thaw()
        thread.join()
        (error,) = results
        assert isinstance(error, Transient), error
        slow.put(source, str(target))
        for host in (slow, quick):
            host.close()
    assert [path.name for path in target.parent.iterdir()] == ["archive"]


def test_what_a_killed_copy_left_is_removed_by_the_next_to_that_folder_a_day_later(running: Sshd, tmp_path: Path) -> None:
    source, folder = tmp_path / "archive", tmp_path / "there"
    source.write_bytes(b"x")
    folder.mkdir()
    old = time.time() - 2 * 86400
    for name in (".other.0123456789abcdef.part", ".other.0123456789abcdef.part.pid", ".young.0123456789abcdef.part", ".mine.part"):
        (folder / name).write_bytes(b"left")
        if "young" not in name:
            os.utime(folder / name, (old, old))
    host = running.host()
    host.put(source, str(folder / "archive"))
    host.close()
    assert sorted(path.name for path in folder.iterdir()) == [".mine.part", ".young.0123456789abcdef.part", "archive"]


def test_a_source_that_becomes_shorter_is_no_fault_of_the_line(running: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.host.ssh_put.CHUNK", 100_000)
    source, target = tmp_path / "archive", tmp_path / "archive.there"
    source.write_bytes(bytes(300_000))
    host = running.host()
    stream = host.stream

    def shortened(cmd: Cmd, stdin: Iterable[bytes], size: int, on_line: OnLine | None = None) -> Output:
        if size:
            os.truncate(source, 150_000)
        return stream(cmd, stdin, size, on_line)

    monkeypatch.setattr(host, "stream", shortened)
    with pytest.raises(ConfigError, match="became shorter"):
        host.put(source, str(target))
    host.close()
    assert not target.exists()


def test_put_notices_a_part_that_was_changed(running: Sshd, tmp_path: Path) -> None:
    from pipeline.errors import IntegrityError

    source, target = tmp_path / "archive", tmp_path / "there" / "archive"
    source.write_bytes(os.urandom(10_000_000))
    with FaultProxy(running.address) as proxy:
        host = running.host(proxy.address)
        proxy.reset_after(6_000_000)
        with pytest.raises(Transient):
            host.put(source, str(target))
        (part,) = target.parent.glob(".*.part")
        assert settled(lambda: not processes(str(target)))
        with part.open("r+b") as file:
            file.write(b"?")
        with pytest.raises(IntegrityError):
            host.put(source, str(target))
        assert not target.exists()
        host.put(source, str(target))
        host.close()
    assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("again", [False, True])
def test_s04_n04_trap4_a_changed_host_key_is_refused(sshd: Sshd, again: bool) -> None:
    with sshd.running("other"):
        host = sshd.host(accept_new=again)  # accepting new keys is not accepting changed ones
        with pytest.raises(HostKeyError) as caught:
            host.run(Cmd(("true",)))
    error = caught.value
    assert fingerprint(sshd.folder / "other.pub") in error.cause
    assert fingerprint(sshd.folder / "host.pub") in error.cause
    assert f"ssh-keygen -R '[127.0.0.1]:{sshd.address.port}' -f '{sshd.known}'" in error.mend
    assert f"[127.0.0.1]:{sshd.address.port} ssh-ed25519 {_word(sshd, 'other')}" in error.mend
    assert "Accepted" not in sshd.log.read_text()


def test_s05_an_unknown_host_key_is_refused_with_the_line_to_add(running: Sshd) -> None:
    running.known.write_text("")
    host = running.host()
    with pytest.raises(HostKeyError) as caught:
        host.run(Cmd(("true",)))
    assert fingerprint(running.folder / "host.pub") in caught.value.cause
    line = caught.value.mend.splitlines()[-1]
    assert line == f"[127.0.0.1]:{running.address.port} ssh-ed25519 {_word(running, 'host')}"
    assert "Accepted" not in running.log.read_text()
    running.known.write_text(line + "\n")
    assert host.run(Cmd(("true",))).ok
    host.close()


def test_s05_accepting_a_new_key_stores_it(running: Sshd) -> None:
    running.known.unlink()
    host = running.host(accept_new=True)
    assert host.run(Cmd(("true",))).ok
    host.close()
    assert _word(running, "host") in running.known.read_text()
    host = running.host()
    assert host.run(Cmd(("true",))).ok
    host.close()


def test_a_refused_key_is_named_and_not_tried_again(running: Sshd) -> None:
    with pytest.raises(AuthError) as caught:
        running.host(identity_file=str(running.folder / "stranger")).run(Cmd(("true",)))
    assert str(running.folder / "stranger") in str(caught.value)
    assert "authorized_keys" in caught.value.mend


@pytest.mark.parametrize(
    "options",
    [
        {"address": "-oProxyCommand=touch /tmp/p"},
        {"address": "a b"},
        {"address": "a;b"},
        {"address": ""},
        {"user": "-l"},
        {"user": "a b"},
        {"port": 0},
        {"identity_file": "/nonexistent/key"},
    ],
    ids=repr,
)
def test_i02_names_that_could_be_options_are_refused(sshd: Sshd, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        sshd.host(**options)


def test_s14_no_further_session_is_transient(tmp_path: Path) -> None:
    with Sshd(tmp_path, "MaxSessions 1").running() as sshd:
        host = sshd.host()
        begun = threading.Event()
        held = threading.Thread(target=lambda: host.run(Cmd(("sh", "-c", "echo; sleep 1")), lambda _line: begun.set()))
        held.start()
        assert begun.wait(10)
        with pytest.raises(Transient, match="no further session"):
            host.run(Cmd(("true",)))
        held.join()
        assert host.run(Cmd(("echo", "free"))).text == "free"
        host.close()


def test_s14_sessions_refused_at_one_moment_are_each_told_as_that(tmp_path: Path) -> None:
    """paramiko gives the answer to one of those that wait for it, and to the others none."""
    with Sshd(tmp_path, "MaxSessions 1").running() as sshd:
        host = sshd.host()
        begun, busy = threading.Event(), tmp_path / "busy"
        busy.touch()
        held = Cmd(("sh", "-c", f"echo; while [ -e {busy} ]; do sleep 0.1; done"))
        holder = threading.Thread(target=host.run, args=(held, lambda _line: begun.set()))
        holder.start()
        assert begun.wait(10)
        told = [str(error) for _ in range(8) for error in at_once([functools.partial(host.run, Cmd(("true",)))] * 8)]
        busy.unlink()
        holder.join()
        host.close()
    assert len(told) == 64
    assert [each for each in told if "no further session" not in each] == []


def _run_until(host: SshHost, together: threading.Barrier) -> None:
    """Run a command that ends when as many as `together` counts are under way."""

    def wait(_line: str) -> None:
        together.wait()

    host.run(Cmd(("echo", "here")), wait)


def test_as_many_commands_at_once_as_there_are_sessions(tmp_path: Path) -> None:
    """Of those that are opened ahead there is one, however many commands begin, and who needs it has it."""
    with Sshd(tmp_path, "MaxSessions 4").running() as sshd:
        host = sshd.host()
        for _ in range(4):
            together = threading.Barrier(4, timeout=60)
            work = functools.partial(_run_until, host, together)
            assert at_once([work] * 4) == [None] * 4
        host.close()


def test_s14_too_many_logins_at_once_is_transient(tmp_path: Path) -> None:
    with Sshd(tmp_path, "MaxStartups 1").running() as sshd, contextlib.ExitStack() as held:

        def is_waiting() -> bool:
            """Whether a login of ours is the one that sshd has room for: the look whether it listens may still be counted as one."""
            end = held.enter_context(socket.create_connection((sshd.address.host, sshd.address.port), timeout=10))
            with contextlib.suppress(ConnectionError):
                return end.recv(100).startswith(b"SSH-")
            return False

        assert settled(is_waiting)
        with pytest.raises(Transient, match=str(sshd.address)):
            sshd.host().run(Cmd(("true",)))


def test_s15_a_login_shell_that_prints_a_banner(tmp_path: Path) -> None:
    shell = tmp_path / "shell"
    shell.write_text('#!/bin/sh\necho "Hello, I am a broken shell"; echo "so am I" >&2; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n')
    shell.chmod(0o755)
    with Sshd(tmp_path, f"ForceCommand {shell}").running() as sshd:
        host = sshd.host()
        lines: list[str] = []
        output = host.run(Cmd(("sh", "-c", "echo out; echo err >&2; exit 3")), lines.append)
        assert (output.code, output.stdout, output.stderr) == (3, b"out\n", b"err\n")
        assert sorted(lines) == ["err", "out"]
        host.close()


def test_s15_a_login_shell_that_runs_nothing_is_named(tmp_path: Path) -> None:
    with Sshd(tmp_path, "ForceCommand echo This account is not available; exit 1").running() as sshd:
        host = sshd.host()
        with pytest.raises(ConfigError, match="runs no commands") as caught:
            host.run(Cmd(("true",)))
        assert "This account is not available" in caught.value.cause
        host.close()


def test_a_killed_wrapper_is_no_exit_code(running: Sshd) -> None:
    host = running.host()
    with pytest.raises(Ambiguous, match="without an exit code"):
        host.run(Cmd(("sh", "-c", "kill -s KILL $PPID")))
    host.close()


def test_s17_the_users_ssh_config_counts_where_the_site_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HostName, port, key, and a ProxyJump whose host keys are checked like any other."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    folders = [tmp_path / "jump", tmp_path / "inner"]
    for folder in folders:
        folder.mkdir()
    with Sshd(folders[0]).running() as jump, Sshd(folders[1]).running() as inner:
        (inner.folder / "authorized_keys").write_text((jump.folder / "client.pub").read_text())
        (tmp_path / ".ssh" / "config").write_text(
            f"Host builder.lan\n HostName 127.0.0.1\n Port {inner.address.port}\n ProxyJump jumphost\n"
            f"Host jumphost\n HostName 127.0.0.1\n Port {jump.address.port}\n User {jump.user}\n"
            f"Host *\n IdentityFile {jump.key}\n"
        )
        known = tmp_path / ".ssh" / "known_hosts"
        known.write_text(jump.known.read_text() + inner.known.read_text())
        host = SshHost("builder", "builder.lan", user=inner.user)
        port = host.run(Cmd(("sh", "-c", "echo ${SSH_CONNECTION##* }"))).text
        assert port == str(inner.address.port)
        assert "Accepted" in jump.log.read_text()
        host.close()

        known.write_text(inner.known.read_text())
        with pytest.raises(HostKeyError, match=f"{jump.address.port} is not known"):
            host.run(Cmd(("true",)))


def test_s17_what_the_site_says_replaces_the_users_ssh_config(running: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host *\n ProxyCommand false\n Port 1\n")
    host = running.host()
    assert host.run(Cmd(("true",))).ok
    host.close()


def test_s16_no_control_socket_is_used(running: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is the process's own, so that a stale ControlMaster socket cannot be in its way."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    stale = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    (tmp_path / ".ssh" / "known_hosts").write_text(running.known.read_text())
    (tmp_path / ".ssh" / "config").write_text(f"Host *\n ControlMaster auto\n ControlPath {stale}\n IdentityFile {running.key}\n")
    host = SshHost("builder", "127.0.0.1", running.address.port, running.user)
    assert host.run(Cmd(("true",))).ok
    host.close()


CLIENT = """
import sys
from pipeline.host import Cmd
from pipeline.host.ssh import SshHost
host = SshHost("b", "127.0.0.1", int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4])
host.run(Cmd(("sh", "-c", "echo begun; sleep %s & sleep %s" % (sys.argv[5], sys.argv[5]))), lambda line: print(line, flush=True))
"""


def test_trap6_the_remote_command_ends_with_its_client(running: Sshd) -> None:
    mark = f"9{secrets.randbelow(10**8):08}"
    argv = (sys.executable, "-c", CLIENT, str(running.address.port), running.user, str(running.key), str(running.known), mark)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"begun\n"
        assert settled(lambda: len(processes(mark)) == 3)  # both, and the client
        client.send_signal(signal.SIGKILL)
    assert settled(lambda: not processes(mark))


def test_half_of_the_input_is_not_taken_for_all_of_it(running: Sshd, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    with FaultProxy(running.address) as proxy:
        host = running.host(proxy.address)
        host.run(Cmd(("true",)))
        proxy.reset_after(2_000_000)
        with pytest.raises(Ambiguous):
            host.run(Cmd(("sh", "-c", f"cat >/dev/null; touch {seen}"), stdin=bytes(4_000_000)))
        host.close()
    assert settled(lambda: not processes(str(seen)))
    time.sleep(0.2)
    assert not seen.exists()


def test_a_tunnel_survives_its_connection(running: Sshd) -> None:
    with FaultProxy(running.address) as proxy, socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        target = Address("127.0.0.1", server.getsockname()[1])
        host = running.host(proxy.address)
        for way in (host.forward, host.expose):
            with way(target) as address:
                with socket.create_connection((address.host, address.port)) as client:
                    end, _ = server.accept()
                    client.sendall(b"x")
                    assert end.recv(1) == b"x"
                    proxy.reset()
                    client.settimeout(10)
                    if way == host.forward:  # a cut is not an end; what sshd does on its side is its own affair
                        with pytest.raises(ConnectionError):
                            client.recv(1)
                    end.close()
                time.sleep(0.2)  # the reset has been seen
                assert host.run(Cmd(("true",))).ok
                with socket.create_connection((address.host, address.port)) as client:
                    end, _ = server.accept()
                    with end:
                        end.sendall(b"y")
                        assert client.recv(1) == b"y"
        host.close()


def test_exposing_where_sshd_forbids_it_says_so(tmp_path: Path) -> None:
    with Sshd(tmp_path, "AllowTcpForwarding no").running() as sshd:
        host = sshd.host()
        with pytest.raises(ConfigError, match="does not forward"), host.expose(Address("127.0.0.1", 1)):
            raise AssertionError("exposed")
        host.close()


def test_a_further_command_costs_one_round_trip(running: Sshd) -> None:
    with FaultProxy(running.address) as proxy:
        host = running.host(proxy.address)
        host.run(Cmd(("true",)))
        proxy.latency = 0.15
        times = []
        for _ in range(4):
            time.sleep(0.5)  # the session for the next is opened meanwhile
            begin = time.monotonic()
            host.run(Cmd(("true",)))
            times.append(time.monotonic() - begin)
        host.close()
    assert 0.3 <= min(times) < 0.6, "two round trips take 0.6 s at least"


def test_lines_of_known_hosts_that_paramiko_does_not_know_are_passed_over(running: Sshd) -> None:
    authority = f"@cert-authority *.example.org ssh-ed25519 {_word(running, 'other')}"
    text = f"{authority}\nbroken line here\nx ssh-ed25519 AAAA!\n[h]:1 ssh-nothing AAAA\n\n# {chr(233)}\n"
    running.known.write_bytes(text.encode("latin-1") + running.known.read_bytes())
    host = running.host()
    assert host.run(Cmd(("true",))).ok
    host.close()


@pytest.mark.parametrize("accept_new", [False, True])
def test_a_revoked_host_key_is_refused(running: Sshd, accept_new: bool) -> None:
    with running.known.open("a") as file:
        file.write(f"@revoked * ssh-ed25519 {_word(running, 'host')}\n")
    with pytest.raises(HostKeyError, match="revoked"):
        running.host(accept_new=accept_new).run(Cmd(("true",)))


def test_a_private_key_that_others_can_read_is_refused_with_the_command(running: Sshd) -> None:
    running.key.chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others") as caught:
        running.host()
    assert caught.value.mend == f"chmod 600 {running.key}"
