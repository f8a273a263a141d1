"""A command line that cannot be read: exit 2, what was meant, never a traceback. Through the program that people type."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm

ROOT = Path(__file__).parents[1]
BLUEPRINT = """app: web
stages:
  sync: {driver: git, host: builder}
"""

WAITS = """import time
from invoke import task
from pipeline import collection
from pipeline.ending import cli
from tests import warm
from tests import warm
ns = collection("config")
@task
@cli
def waits(c):
    try:
        print("waiting", flush=True)
        time.sleep(60)
    finally:
        print("tidied up", flush=True)
ns.add_task(waits)
"""


ASKS = """import subprocess, sys
from invoke import task
from pipeline import collection
from pipeline.ending import cli
from pipeline.host.child import Child
from pipeline.report import sink_for
ns = collection("config")
@task
@cli
def asks(c):
    sink_for("auto", sys.stderr).close()
    said, _ = Child(["echo", "yes"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True).communicate()
    print("it is asked")
    open("answer", "w").write(said.strip())
ns.add_task(asks)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text('from pipeline import collection\nns = collection("config")\n')
    (tmp_path / "config").mkdir()
    (tmp_path / "config/web.yml").write_text(BLUEPRINT)
    return tmp_path


LIMIT = 60.0  # seconds


def inv(copy: Path, *words: str, program: str = "inv", **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    if program == "inv":
        return warm.inv(words, copy, environment, LIMIT)
    return subprocess.run([sys.executable, "-m", program, *words], cwd=copy, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("relase",), "there is no task 'relase'; did you mean 'release'?"),
        (("lab.pu",), "there is no task 'lab.pu'; did you mean 'lab.up'?"),
        (("build", "pusch"), "there is no task 'pusch'; did you mean 'push'?"),
        (("plan", "--evn", "lab"), "inv plan has no option --evn; did you mean '--env'?"),
        (("plan", "--env"), "--env needs a value"),
        (("--echo", "plan"), "--echo is a flag of Invoke's"),
        (("-e", "release"), "inv release --env NAME"),
        (("release", "--pty"), "--pty is a flag of Invoke's"),
        (("--hide", "both", "release"), "inv release 2>/dev/null"),
        (("-w", "build", "push"), "--warn-only is a flag of Invoke's"),
        (("-T", "60", "release"), "timeout 600 inv release"),
        (("--prompt-for-sudo-password", "release"), "no task here uses sudo"),
        (("--debug", "plan"), "inv plan --json tells every event"),
        (("-f", "config/web.yml", "plan"), "inv plan --blueprint NAME --env NAME"),
        (("--no-dedupe", "status", "status"), "--no-dedupe is a flag of Invoke's"),
        (("--list-format", "jsno", "--list"), "--list-format 'jsno' is not known; did you mean 'json'?"),
        (("--list", "lba"), "there are no tasks lba.*; did you mean 'lab'?"),
        (("history", "--limit", "ten"), "'ten' is not a whole number"),
        (("history", "--limit", "0"), "--limit 0 leaves nothing to show"),
        (("freeze",), "required positional"),
        (("--help", "relase"), "there is no task 'relase'"),
        (("plan", "--blueprint", "wbe"), "there is no blueprint 'wbe'; did you mean 'web'?"),
        (("plan", "--env", "a;touch x"), "is not a plain name"),
        (("plan", "--env", "--x"), "is not a plain name"),
        (("plan", "--blueprint", "../web"), "is not a plain name"),
    ],
)
def test_i01_i02_what_cannot_be_read_says_what_was_meant(copy: Path, words: tuple[str, ...], said: str) -> None:
    done = inv(copy, *words)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "[CONFIG, exit 2]" in done.stderr
    assert "  mend   " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (copy / ".pipeline").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-T", "abc"), "'abc' is not a whole number"),
        (("-T", "abc", "plan"), "'abc' is not a whole number"),
        (("--list-depth", "x", "--list"), "'x' is not a whole number"),
        (("--command-timeout",), "--command-timeout needs a value"),
        (("--config",), "--config needs a value"),
        (("--print-completion-script", "abc"), 'Completion for shell "abc" not supported'),
        (("--search-root", "tasks.py", "--list"), "--search-root 'tasks.py' is no folder"),
        (("--search-root", "/", "plan"), "there is no tasks.py in / or above it"),
        (("-c", "nosuch", "plan"), "there is no nosuch.py in "),
        (("-c=", "plan"), "--collection needs a value"),
        (("relase",), "there is no task 'relase'; did you mean 'release'?"),
    ],
)
def test_what_is_wrong_before_a_tasks_file_is_read_is_told_by_our_own_program(copy: Path, words: tuple[str, ...], said: str) -> None:
    done = inv(copy, *words, program="pipeline")
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert said in done.stderr.splitlines()[0]
    assert "[CONFIG, exit 2]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", ["invoke", "pipeline"])
def test_a_line_that_is_completed_in_the_middle_of_a_quote_has_no_answer(copy: Path, program: str) -> None:
    done = inv(copy, "--complete", "--", "inv 'pla", program=program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_warning_of_python_becomes_a_traceback(copy: Path) -> None:
    done = inv(copy, "history", PYTHONWARNINGS="error")
    assert (done.returncode, done.stdout) == (0, "nothing yet\n"), done.stderr


def test_history_needs_no_site_and_no_lab(copy: Path) -> None:
    done = inv(copy, "history", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"schema_version": 1, "records": []}


def test_with_json_an_early_error_is_a_json_line_too(copy: Path) -> None:
    done = inv(copy, "plan", "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    told = json.loads(line)
    assert told["what"] == "failed"
    assert told["data"]["exit_code"] == 2
    assert told["data"]["mend"]


def test_inv_works_from_any_folder_below(copy: Path) -> None:
    (copy / "src/deep").mkdir(parents=True)
    done = inv(copy / "src/deep", "history")
    assert (done.returncode, done.stdout) == (0, "nothing yet\n"), done.stderr
    assert (copy / ".pipeline").is_dir()
    assert not (copy / "src/deep/.pipeline").exists()
    lab = inv(copy / "src/deep", "lab.logs")
    assert f"there is no lab for {copy}" in lab.stderr


def test_demo_reads_the_blueprint_before_it_installs_anything(copy: Path) -> None:
    (copy / "config/web.lab.yml").write_text("stages: {sync: {hots: builder}}\n")
    done = inv(copy, "demo")
    assert done.returncode == 2
    assert "stages.sync.hots is not known; did you mean 'host'?" in done.stderr
    assert not (copy / ".pipeline").exists()


def test_a_result_that_cannot_be_written_is_told(copy: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "invoke", "history"], cwd=copy, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 19, done.stderr
    assert done.stderr.splitlines()[0] == "the result could not be written  [RESOURCE, exit 19]"
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["invoke", "schema"], ["invoke", "--list"], ["invoke", "--help", "plan"], ["pipeline", "--list"], ["pipeline", "--help"],
        ["pipeline", "--version"], ["pipeline", "--print-completion-script", "bash"],
    ],
)  # fmt: skip
def test_a_reader_that_has_gone_is_no_error_to_talk_about(copy: Path, words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=copy, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=write, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("closed", ["1", "2", "0, 1, 2"])
def test_a_stream_that_the_caller_has_closed_changes_nothing_else(tmp_path: Path, closed: str) -> None:
    """The pipe to a tool got the number of stdout, and the tool waited for ever; a closed stderr ended all with exit 1."""
    (tmp_path / "tasks.py").write_text(ASKS)
    (tmp_path / "closes.py").write_text(
        f"import os, sys\nfor number in ({closed},): os.close(number)\nos.execv(sys.executable, [sys.executable, '-m', 'invoke', 'asks'])\n"
    )
    subprocess.run([sys.executable, "closes.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=LIMIT)
    assert (tmp_path / "answer").read_text() == "yes"


@pytest.mark.parametrize(("name", "code"), [("SIGHUP", 129), ("SIGTERM", 143), ("SIGINT", 130)])
def test_d19_a_signal_ends_it_in_order(tmp_path: Path, name: str, code: int) -> None:
    """A closed terminal killed it on the spot: helm went on alone, and the lock was held until it expired."""
    (tmp_path / "tasks.py").write_text(WAITS)
    process = subprocess.Popen(  # whoever starts the tests by nohup has SIGHUP ignored, here as well
        ["env", "--default-signal=HUP", sys.executable, "-m", "invoke", "waits"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(getattr(signal, name))
    out, told = process.communicate(timeout=30)
    assert process.returncode == code, told
    assert out == "tidied up\n"
    assert f"exit {code}]" in told
    assert "run it again" in told


def test_nohup_is_respected(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(WAITS)
    process = subprocess.Popen(
        ["nohup", sys.executable, "-m", "invoke", "waits"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
