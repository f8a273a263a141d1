"""A tool on a leash: it dies with its parent, also with one that is killed, and so does what it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.host.child import Child

TOOL = """#!/bin/sh
sh -c 'echo $$ > "$0.grandchild"; exec sleep 600' "$1" &
while [ ! -s "$1.grandchild" ]; do sleep 0.01; done
echo $$ > "$1.tool"
wait
"""
PARENT = """
import sys, threading, time
from pipeline.host.child import Child
def start():
    global child
    child = Child(sys.argv[1:])
thread = threading.Thread(target=start)  # a tool may be started by a thread that ends before it
thread.start()
thread.join()
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def members(group: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(folder.name)) == group:
                found.append(int(folder.name))
    return found


def until_gone(*pids: int) -> None:
    while any(map(is_alive, pids)):
        time.sleep(0.02)


def until_written(path: Path) -> int:
    while not path.exists() or not path.read_text().strip():
        time.sleep(0.02)
    return int(path.read_text())


@pytest.fixture
def tool(tmp_path: Path) -> tuple[str, str]:
    file = tmp_path / "tool"
    file.write_text(TOOL)
    file.chmod(0o755)
    return str(file), str(tmp_path / "pid")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_d01_it_dies_with_a_parent_that_is_killed_and_so_does_what_it_started(tool: tuple[str, str], number: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *tool])
    pids = [until_written(Path(f"{tool[1]}.{name}")) for name in ("tool", "grandchild")]
    assert all(map(is_alive, pids))
    parent.send_signal(number)
    parent.wait()
    until_gone(*pids)


def test_d01_a_parent_that_dies_before_it_began_leaves_nothing(tool: tuple[str, str]) -> None:
    code = "import os, sys\nfrom pipeline.host.child import Child\ndef die(pid):\n    print(pid, flush=True)\n    os.kill(os.getpid(), 9)\n"
    done = subprocess.run([sys.executable, "-c", f"{code}Child(sys.argv[1:], before=die)", *tool], stdout=subprocess.PIPE, check=False)
    assert done.returncode == -signal.SIGKILL
    until_gone(int(done.stdout))
    assert not Path(f"{tool[1]}.tool").exists()


def test_its_number_is_known_before_it_runs_and_stays_the_same(tmp_path: Path) -> None:
    seen = []

    def before(pid: int) -> None:
        seen.append((pid, (tmp_path / "pid").exists()))

    child: Child[bytes] = Child(("sh", "-c", 'echo $$ > "$0"', str(tmp_path / "pid")), before=before)
    assert child.wait() == 0
    assert seen == [(int((tmp_path / "pid").read_text()), False)]


def test_who_refuses_before_it_runs_lets_nothing_run(tmp_path: Path) -> None:
    def before(_pid: int) -> None:
        raise ValueError("the lock is lost")

    with pytest.raises(ValueError, match="the lock is lost"):
        Child(("touch", str(tmp_path / "ran")), before=before)
    assert not (tmp_path / "ran").exists()


def test_what_it_leaves_behind_on_purpose_goes_on(tmp_path: Path) -> None:
    """An agent or a detached job is not the tool's: nothing but the end of this process ends it, or a call that is made to."""
    words = 'sleep 600 & echo $! > "$0"'
    child: Child[bytes] = Child(("sh", "-c", words, str(tmp_path / "left")), stdout=subprocess.PIPE)
    assert child.wait() == 0
    until_gone(*[pid for pid in members(child.pid) if pid != int((tmp_path / "left").read_text())])  # the watcher
    assert is_alive(int((tmp_path / "left").read_text()))
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()


def test_it_is_a_plain_child_otherwise(tmp_path: Path) -> None:
    """Exit codes, signals, bytes in and out, folder and environment are the tool's own."""
    child: Child[bytes] = Child(
        ("sh", "-c", "cat; pwd; echo $WORD >&2; exit 3"), cwd=tmp_path, env={"PATH": os.environ["PATH"], "WORD": "hello"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.communicate(b"in\n") == (f"in\n{tmp_path}\n".encode(), b"hello\n")
    assert child.returncode == 3
    slept: Child[bytes] = Child(("sleep", "600"))
    slept.send_signal(signal.SIGINT)
    assert slept.wait() == -signal.SIGINT


def test_a_program_that_cannot_be_run_is_told_as_ever(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with pytest.raises(FileNotFoundError):
        Child(("no-such-program",))
    with pytest.raises(FileNotFoundError):
        Child(("./no-such-program",), cwd=tmp_path)
    with pytest.raises(PermissionError):
        Child(("./plain",), cwd=tmp_path)
    with pytest.raises(PermissionError):
        Child((str(tmp_path),))
