"""Detached work: one process whoever asks, followed through losses, ended for good."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, Locked, Transient
from pipeline.host import Host, Output
from pipeline.host.job import Job, cancel, follow, forget, log_path, retire, run_detached, start, state
from pipeline.host.local import LocalHost
from pipeline.testing import FakeClock, FakeHost, FaultProxy
from tests.sshd import Sshd, only_busybox, processes, settled


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")).running() as sshd:
        yield sshd


@pytest.fixture(scope="module", params=["local", "ssh", "busybox"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The third has nothing but busybox, as the build host of the main system."""
    folder = tmp_path_factory.mktemp("machine")
    with contextlib.ExitStack() as stack:
        host: Host
        if request.param == "local":
            host = LocalHost(state=str(folder / "state"))
        elif request.param == "ssh":
            host = request.getfixturevalue("sshd").host()
        else:
            host = stack.enter_context(Sshd(folder, only_busybox(folder)).running()).host()
        yield host
        host.close()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"job.{time.monotonic_ns()}"


def shell(name: str, script: str, *words: str) -> Job:
    return Job(name, ("sh", "-c", script, name, *words))


def mark() -> str:
    return f"7{secrets.randbelow(10**8):08}"


def test_lines_and_code_come_and_the_log_stays(host: Host, name: str) -> None:
    lines: list[str] = []
    code = run_detached(host, shell(name, 'echo "one $A"; echo two >&2; echo; pwd; printf " three\tof  it"; exit 3'), lines.append)
    assert code == 3
    assert lines == ["one ", "two", "", lines[3], " three\tof  it"]
    assert state(host, name).phase == "absent"
    log = Path(log_path(host, name, ended=True))
    assert log.read_text().splitlines() == lines
    forget(host, name)


def test_environment_folder_and_hostile_words_i01(host: Host, name: str, tmp_path: Path) -> None:
    lines: list[str] = []
    words = ("$(touch canary)", "a;touch canary", "`touch canary`", "' touch canary '", "*", "")
    job = Job(name, ("sh", "-c", 'echo "$A"; pwd; printf "<%s>\n" "$@"', "x", *words), {"A": "a 'b' $(id)"}, str(tmp_path))
    assert run_detached(host, job, lines.append) == 0
    assert lines == ["a 'b' $(id)", str(tmp_path), *(f"<{word}>" for word in words)]
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_run_has_a_code_and_a_line(host: Host, name: str) -> None:
    lines: list[str] = []
    assert run_detached(host, Job(name, ("/nonexistent/program",)), lines.append) == 127
    assert any("/nonexistent/program" in line for line in lines)
    assert run_detached(host, Job(name, ("true",), cwd="/nonexistent"), lines.append) == 125


@pytest.mark.parametrize("bad", ["", "-x", ".hidden", "a/b", "a b", "a\nb", "x" * 300])
def test_i02_names_that_are_no_names_are_refused(bad: str) -> None:
    with pytest.raises(ConfigError):
        state(FakeHost(), bad)


def test_states(host: Host, name: str) -> None:
    assert state(host, name).phase == "absent"
    before = time.time()
    start(host, shell(name, "sleep 0.4; exit 9"))
    running = state(host, name)
    assert (running.phase, running.code) == ("running", None)
    assert int(before) <= running.started <= time.time()
    assert Path(f"/proc/{running.pid}").exists()
    with pytest.raises(Locked):
        forget(host, name)
    assert follow(host, name, lambda _line: None) == 9
    finished = state(host, name)
    assert (finished.phase, finished.code, finished.pid, finished.log) == ("finished", 9, running.pid, log_path(host, name))
    retire(host, name)
    assert state(host, name).phase == "absent"
    with pytest.raises(ConfigError, match="no job"):
        follow(host, name, lambda _line: None)


def test_b06_one_process_whoever_starts_it(host: Host, name: str, tmp_path: Path) -> None:
    job = shell(name, 'echo begun >>"$1"; sleep 0.7', str(tmp_path / "begun"))

    def work() -> int:
        start(host, job)
        return follow(host, name, lambda _line: None)

    with ThreadPoolExecutor(6) as pool:
        assert [each.result() for each in [pool.submit(work) for _ in range(6)]] == [0] * 6
    assert (tmp_path / "begun").read_text() == "begun\n"


def test_b06_who_comes_late_reads_the_end(host: Host, name: str, tmp_path: Path) -> None:
    job = shell(name, 'echo x >>"$1"; echo result; exit 4', str(tmp_path / "runs"))
    start(host, job)
    assert settled(lambda: state(host, name).phase == "finished")
    lines: list[str] = []
    assert run_detached(host, job, lines.append) == 4  # nobody had heard it
    assert run_detached(host, job, lines.append) == 4  # this time it is done again
    assert lines == ["result", "result"]
    assert (tmp_path / "runs").read_text() == "x\nx\n"


def test_the_end_of_a_short_job_is_noticed_at_once(host: Host, name: str) -> None:
    clock = FakeClock()
    lines: list[str] = []
    assert run_detached(host, shell(name, "sleep 0.3; echo end"), lines.append, clock=clock) == 0
    assert lines == ["end"]
    assert clock.slept == [], "whoever follows is told, and does not come back to look"


def test_lines_cut_by_pauses_are_whole(host: Host, name: str) -> None:
    lines: list[str] = []
    script = "printf 'one '; sleep 0.2; printf 'line\n\nanother'; sleep 0.2; printf '\n'; sleep 0.2; printf 'last'"
    assert run_detached(host, shell(name, script), lines.append) == 0
    assert lines == ["one line", "", "another", "last"]


def test_follow_starts_at_an_offset(host: Host, name: str) -> None:
    start(host, shell(name, "echo first; echo second"))
    lines: list[str] = []
    follow(host, name, lines.append, offset=6)
    assert lines == ["second"]
    forget(host, name)


def test_cancel_ends_all_of_it(host: Host, name: str) -> None:
    number = mark()
    script = f"trap '' TERM; sleep {number} & setsid sleep {number} & (sleep {number}; sleep {number}) & sleep {number}"
    start(host, shell(name, script))
    assert settled(lambda: len(processes(number)) >= 4)
    cancel(host, name)
    assert not processes(number)
    assert (state(host, name).phase, state(host, name).code) == ("finished", 143)
    cancel(host, name)
    cancel(host, "never-seen")


def test_who_follows_hears_of_a_cancel(host: Host, name: str) -> None:
    start(host, shell(name, "sleep 60"))
    codes: list[int] = []
    follower = threading.Thread(target=lambda: codes.append(follow(host, name, lambda _line: None)))
    follower.start()
    assert settled(lambda: processes(str(Path(log_path(host, name)).parent)))
    cancel(host, name)
    follower.join(30)
    assert codes == [143]


def test_a_job_that_vanished_has_died_and_starts_anew(host: Host, name: str, tmp_path: Path) -> None:
    number = mark()
    job = shell(name, f'echo x >>"$1"; [ -e "$1.again" ] || sleep {number}', str(tmp_path / "runs"))
    start(host, job)
    assert settled(lambda: processes(number))
    pid = state(host, name).pid
    for victim in (pid, *processes(number)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    assert settled(lambda: state(host, name).phase == "died")
    with pytest.raises(Transient, match="was killed"):
        follow(host, name, lambda _line: None)
    (tmp_path / "runs.again").touch()
    assert run_detached(host, job, lambda _line: None) == 0
    assert (tmp_path / "runs").read_text() == "x\nx\n"


def test_work_that_outlives_its_shell_still_counts_as_running(host: Host, name: str) -> None:
    number = mark()
    start(host, shell(name, f"sleep {number}; true"))
    assert settled(lambda: processes(number))
    os.kill(state(host, name).pid, signal.SIGKILL)
    assert state(host, name).phase == "running"
    start(host, shell(name, f"sleep {number}; true"))
    assert len([pid for pid in processes(number) if Path(f"/proc/{pid}/comm").read_text().strip() in {"sleep", "busybox"}]) == 1
    cancel(host, name)
    assert not processes(number)


def test_a_rebooted_machine_is_named(host: Host, name: str) -> None:
    start(host, shell(name, "sleep 60"))
    cancel(host, name)
    folder = Path(log_path(host, name)).parent
    (folder / "code").unlink()
    (folder / "cancelled").unlink()
    pid, began, _boot, at = (folder / "begun").read_text().split()
    (folder / "begun").write_text(f"{pid} {began} another-boot {at}\n")
    with pytest.raises(Transient, match="was restarted"):
        follow(host, name, lambda _line: None)


def test_b05_a_lost_connection_is_taken_up_where_it_was(sshd: Sshd, name: str) -> None:
    with FaultProxy(sshd.address) as proxy:
        host = sshd.host(proxy.address)
        script = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo line $i; printf 'half '; sleep 0.05; echo $i; done"
        lines: list[str] = []
        notices: list[str] = []

        def on_line(line: str) -> None:
            lines.append(line)
            if len(lines) in {20, 70}:
                proxy.refuse()
                proxy.reset()
                threading.Timer(0.8, proxy.accept).start()

        assert run_detached(host, shell(name, script), on_line, notice=notices.append) == 0
        host.close()
    assert lines == [text for number in range(1, 61) for text in (f"line {number}", f"half {number}")]
    assert len(notices) >= 2
    assert "goes on there" in notices[0]


def test_b05_s02_a_black_hole_is_waited_out(sshd: Sshd, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.host.ssh_link.GREETING", 0.5)
    with FaultProxy(sshd.address) as proxy:
        host = sshd.host(proxy.address, interval=0.3)
        lines: list[str] = []
        notices: list[str] = []

        def on_line(line: str) -> None:
            lines.append(line)
            if line == "20":
                proxy.freeze()
                threading.Timer(2.5, proxy.thaw).start()

        assert run_detached(host, shell(name, "for i in $(seq 80); do echo $i; sleep 0.05; done"), on_line, notice=notices.append) == 0
        host.close()
    assert lines == [str(number) for number in range(1, 81)]
    assert "the SSH connection was lost" in notices[0]


def test_b05_patience_has_an_end(name: str) -> None:
    clock = FakeClock()
    host = FakeHost().on(("sh",), Transient("no way"))
    with pytest.raises(Transient, match="no way"):
        follow(host, name, lambda _line: None, clock=clock, patience=900)
    assert 900 <= clock.monotonic() < 915
    assert max(clock.slept) <= 10


def test_a_follower_that_is_ended_comes_back(name: str) -> None:
    def answer(cmd: object) -> Output:
        argv = cmd.argv  # type: ignore[attr-defined]
        token = argv[argv.index("follow") + 2]
        return Output(0, f"only\n\n{token} 5\n\n{token} end finished 6\n".encode())

    host = FakeHost().on(("sh",), Output(137), answer)
    lines: list[str] = []
    assert follow(host, name, lines.append, clock=FakeClock()) == 6
    assert lines == ["only"]
    assert len(host.calls) == 2


CLIENT = """
import sys
from pipeline.host.job import Job, run_detached
from pipeline.host.ssh import SshHost
port, user, key, known, state, name, script = sys.argv[1:]
host = SshHost("b", "127.0.0.1", int(port), user, key, known, state)
run_detached(host, Job(name, ("sh", "-c", script)), lambda line: print(line, flush=True))
"""


def test_b06_the_job_outlives_its_client(sshd: Sshd, name: str, tmp_path: Path) -> None:
    script = f"echo begun; echo x >>{tmp_path / 'runs'}; until [ -e {tmp_path / 'go'} ]; do sleep 0.05; done; echo over"
    argv = (str(sshd.address.port), sshd.user, str(sshd.key), str(sshd.known), str(sshd.folder / "state"), name, script)
    with subprocess.Popen((sys.executable, "-c", CLIENT, *argv), stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"begun\n"
        client.send_signal(signal.SIGKILL)
    host = sshd.host()
    folder = str(Path(log_path(host, name)).parent)
    assert settled(lambda: not processes(folder))  # no follower is left behind
    assert state(host, name).phase == "running"
    lines: list[str] = []
    threading.Timer(0.3, (tmp_path / "go").touch).start()
    assert run_detached(host, Job(name, ("sh", "-c", script)), lines.append) == 0
    assert lines == ["begun", "over"]
    assert (tmp_path / "runs").read_text() == "x\n"
    host.close()


def test_b17_a_large_log_is_complete_and_stays_out_of_memory(sshd: Sshd, name: str) -> None:
    host = sshd.host()
    count = total = 0

    def on_line(line: str) -> None:
        nonlocal count, total
        count += 1
        total += len(line) + 1

    script = "yes 'a line as a compiler might write it, more or less so, and then some' | head -c 20000000"
    start(host, shell(name, script))
    tracemalloc.start()
    assert run_detached(host, shell(name, script), on_line) == 0
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total in {20_000_000, 20_000_001}
    assert Path(log_path(host, name, ended=True)).stat().st_size == 20_000_000
    assert peak < 24 << 20  # the window is 16 MB
    forget(host, name)
    host.close()
