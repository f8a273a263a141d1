"""A forked `inv` is what a started one is: words, folder, environment, output, exit code, signals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm
from tests.sshd import settled

ROOT = Path(__file__).parents[1]
TASKS = """import os, signal, sys, time
from invoke import task
from pipeline.ending import cli
@task
@cli
def says(c, word=""):
    print(os.getcwd(), os.environ.get("SAID"), word, os.environ.get("NOWHERE"), sys.argv[1:])
    print("aside", file=sys.stderr)
@task
@cli
def ends(c):
    raise SystemExit(7)
@task
@cli
def fails(c):
    raise ValueError("broken")
@task
@cli
def gets(c, number):
    print(signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL, signal.getsignal(signal.SIGINT) is signal.default_int_handler, flush=True)
    os.kill(os.getpid(), int(number))
    time.sleep(60)
@task
@cli
def waits(c):
    with open("pid", "w") as file:
        file.write(str(os.getpid()))
    time.sleep(60)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text(TASKS)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [("says", "--word", "a b"), ("ends",), ("fails",), ("gets", "9"), ("gets", "15"), ("gets", "2"), ("--list",), ("absent",)],
    ids=" ".join,
)
def test_it_is_what_a_started_one_is(copy: Path, words: tuple[str, ...]) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "SAID": "so"}
    argv = [str(Path(sys.executable).with_name("inv")), *words]
    started = subprocess.run(argv, cwd=copy, env=env, capture_output=True, text=True, timeout=60, check=False)
    forked = warm.inv(words, copy, env, 60)
    assert (forked.args, forked.returncode, forked.stdout) == (started.args, started.returncode, started.stdout)
    assert forked.stderr.splitlines()[-1:] == started.stderr.splitlines()[-1:]


def test_one_that_takes_too_long_is_ended(copy: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        warm.inv(("waits",), copy, {**os.environ, "PYTHONPATH": str(ROOT)}, 3)
    state = Path(f"/proc/{(copy / 'pid').read_text()}/stat")
    assert settled(lambda: not state.exists())
