"""`inv ci.watch` with a gh on PATH, or none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ci.program import Program, recorded

ROOT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text('from pipeline import collection\nns = collection("config")\n')
    (tmp_path / "config").mkdir()
    ci = "{workflow: publish.yml, repository: owner/relay, images: {relay: {repository: owner/relay}}}"
    (tmp_path / "config/relay.yml").write_text(f"app: relay\nstages: {{}}\nci: {ci}\n")
    (tmp_path / "config/site.yml").write_text("registries: {}\n")
    return tmp_path


def start(root: Path, path: str, *words: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "invoke", "ci.watch", *words]
    env = {"PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(argv, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_whoever_watches_may_go_while_the_run_goes_on(root: Path, number: signal.Signals, code: int) -> None:
    program = Program(root / "bin").answers(recorded("view-running"))
    with start(root, program.path, "--run", "41") as process:
        until = time.monotonic() + 30
        while not (program.folder / "asked").exists() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.3)
        os.killpg(process.pid, number)
        out, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert out == ""
    assert "Traceback" not in errors
    assert "CANCELLED" in errors


def test_without_gh_it_says_where_to_get_it(root: Path) -> None:
    (root / "bin").mkdir()
    for name in ("git", "sh"):
        (root / "bin" / name).symlink_to(f"/usr/bin/{name}")
    with start(root, str(root / "bin"), "--run", "41") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "gh is not installed" in errors
    assert "apt-get install gh" in errors


@pytest.mark.parametrize("words", [("--run", "x"), ("--run=-1",), ("--commit=--all",), ("--commit", "nobody")])
def test_i02_what_is_no_run_and_no_commit_is_refused_before_gh_is_asked(root: Path, words: tuple[str, ...]) -> None:
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    program = Program(root / "bin").answers(recorded("list"))
    with start(root, program.path, *words) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2, errors
    assert not (program.folder / "asked").exists()
