"""The test command: in which order it runs what, what it starts beside, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline import changed
from pipeline.errors import ConfigError
from pipeline.line import behind
from pipeline.suite import CORE, Beside, Failed, Suite
from tests import warm
from tests.real.conftest import APART, share

ROOT = Path(__file__).parents[1]
NOWHERE = "ECNECIL"[::-1]  # not even here


class Machine:
    """Runs nothing: it writes down what it was asked for, and answers with `codes` by a word of the command line."""

    def __init__(self, **codes: int) -> None:
        self.codes = codes
        self.did: list[str] = []

    def run(self, argv: Sequence[str], _home: Path) -> int:
        self.did.append(" ".join(argv[2:]))
        return next((code for word, code in self.codes.items() if word in argv), 0)

    def start(self, name: str, argv: Sequence[str], _home: Path, _log: Path) -> Beside:
        did, code = self.did, self.codes.get(name, 0)
        did.append(f"start {name}")

        class Started:
            def wait(self, _say: object) -> None:
                did.append(f"wait for {name}")
                if code:
                    raise Failed(f"{name} failed")

            def stop(self) -> None:
                did.append(f"stop {name}")

        return Started()  # type: ignore[return-value]


def suite(machine: Machine) -> Suite:
    return Suite(ROOT, lambda _text: None, machine.run, machine.start)


def steps(machine: Machine) -> list[str]:
    """What was done, in a word or two each."""
    names = {"-m not real": "unit", "-m programs": "programs", "-m real and": "on the lab", "-m alone": "alone"}
    return [next((name for words, name in names.items() if words in each), each) for each in machine.did]


def test_what_needs_no_lab_comes_first_and_the_lab_is_started_beside_it() -> None:
    machine = Machine()
    suite(machine).everything(real=True)
    assert steps(machine) == [
        "start programs", "start lab", "ruff check .", "mypy", "unit", "wait for programs", "programs",
        "wait for lab", "on the lab", "wait for lab", "alone", "stop programs", "stop lab",
    ]  # fmt: skip


def test_without_the_real_tests_nothing_is_started() -> None:
    machine = Machine()
    suite(machine).everything(real=False)
    assert steps(machine) == ["ruff check .", "mypy", "unit"]


@pytest.mark.parametrize(("word", "last"), [("ruff", "ruff check ."), ("mypy", "mypy"), ("not real", "unit")])
def test_what_fails_early_is_told_at_once_and_what_was_started_is_stopped(word: str, last: str) -> None:
    machine = Machine(**{word: 1})
    with pytest.raises(Failed, match="found something, see above") as caught:
        suite(machine).everything(real=True)
    assert caught.value.exit_code == 1
    assert steps(machine)[-3:] == [last, "stop programs", "stop lab"]
    assert sum("--last-failed" in each for each in machine.did) == (word == "not real")


def test_what_failed_beside_others_counts_if_it_fails_by_itself() -> None:
    machine, said = Machine(**{"not real": 1, "--last-failed": 0}), list[str]()
    machine.codes = {"--last-failed": 0, **machine.codes}
    Suite(ROOT, said.append, machine.run, machine.start).everything(real=False)
    first, again = machine.did[-2:]
    assert again.startswith(first)
    assert "-n 0" in again.removeprefix(first)
    assert any("holds by itself" in each for each in said)


def test_a_real_test_that_fails_does_not_keep_the_others_from_running() -> None:
    machine = Machine(**{"real and not programs and not alone": 1})
    with pytest.raises(Failed, match=r"^the tests on the lab found something, see above$"):
        suite(machine).everything(real=True)
    assert steps(machine)[-3:] == ["alone", "stop programs", "stop lab"]


def test_files_whose_tests_are_shared_out_have_nothing_in_common() -> None:
    """What a module makes once would be made by every worker."""
    for name in APART:
        text = (ROOT / f"tests/real/{name}.py").read_text()
        assert 'scope="module"' not in text, name
        assert "tests.real.killed" not in text, name
    assert len({share(f"tests/real/{APART[0]}.py::test_{number}") for number in range(3)}) == 3
    assert len({share(f"tests/real/test_kill.py::test_{number}") for number in range(3)}) == 1


def test_a_lab_that_does_not_start_is_an_error_with_its_last_lines(tmp_path: Path) -> None:
    said: list[str] = []
    beside = Beside("lab", (sys.executable, "-c", "print('one'); print('two'); raise SystemExit(10)"), tmp_path, tmp_path / "logs/lab.log")
    with pytest.raises(Failed, match=r"lab failed \(exit 10\)") as caught:
        beside.wait(said.append)
    assert said == ["lab: one", "lab: two"]
    assert caught.value.cause == "one\ntwo"
    assert caught.value.log == str(tmp_path / "logs/lab.log")


def test_what_runs_beside_is_stopped(tmp_path: Path) -> None:
    beside = Beside("lab", (sys.executable, "-c", "import time; time.sleep(600)"), tmp_path, tmp_path / "log")
    beside.stop()
    assert beside.process.returncode != 0
    beside.stop()


def test_what_python_compiles_is_kept_for_the_next_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (tmp_path / "module.py").write_text("")
    assert Suite(tmp_path, print).run((sys.executable, "-c", "import module"), tmp_path) == 0
    assert list(tmp_path.glob("__pycache__/module.*.pyc"))


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        (5, ConfigError, "no test is meant by -k lesae"),
        (4, ConfigError, "pytest cannot read -k lesae"),
        (1, Failed, "found something"),
        (3, Failed, "found something"),
        (-9, Failed, "found something"),
        (2, KeyboardInterrupt, "^$"),
    ],
)
def test_every_end_of_pytest_is_told_for_what_it_is(code: int, error: type[BaseException], said: str) -> None:
    with pytest.raises(error, match=said):
        suite(Machine(lesae=code)).tests("these", ("-k", "lesae"))


@pytest.mark.parametrize(
    ("words", "real", "asked"),
    [
        (["tests/deploy", "lease"], True, "pytest tests/deploy -k lease"),
        (["lease", "lock"], False, "pytest -k lease or lock -m not real"),
        (["tests/test_suite.py::test_x"], True, "pytest tests/test_suite.py::test_x"),
        (["lease", "-x", "-k", "held"], True, "pytest -k lease -x -k held"),
        (["--lf"], True, "pytest --lf"),
    ],
)
def test_words_are_paths_and_names_and_the_rest_is_pytests(words: list[str], real: bool, asked: str) -> None:
    machine = Machine()
    suite(machine).some(words, real=real)
    assert machine.did == [asked]


def test_a_path_that_is_not_there_is_told_before_anything_runs() -> None:
    machine = Machine()
    with pytest.raises(ConfigError, match=r"there is no tests/deploi to be tested"):
        suite(machine).some(["tests/deploi"], real=True)
    assert machine.did == []


@pytest.mark.parametrize(
    ("files", "tests", "said"),
    [
        ([], " ".join(CORE), "nothing has changed since main"),
        ([NOWHERE], " ".join(CORE), f"no unit test knows {NOWHERE}"),
        (["pipeline/changed.py"], "tests/test_changed.py", ""),
    ],
)
def test_quick_runs_what_the_change_concerns(files: list[str], tests: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed, "changed", lambda _home: files)
    machine, lines = Machine(), list[str]()
    Suite(ROOT, lines.append, machine.run, machine.start).quick()
    assert machine.did[:2] == ["ruff check .", "mypy"]
    assert machine.did[2].startswith(f"pytest {tests}")
    assert said in "\n".join(lines)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["tests/deploy", "lease"], ["--words=tests/deploy", "--words=lease"]),
        (["--no-real", "deploy", "--quick"], ["--no-real", "--words=deploy", "--quick"]),
        (["-x", "--quick", "-k", "a b"], ["--words=-x", "--words=--quick", "--words=-k", "--words=a b"]),
        (["--help"], ["--help"]),
        ([], []),
    ],
)
def test_words_behind_the_task_are_its_own(given: list[str], read: list[str]) -> None:
    assert behind(given, "words", {"words", "real", "quick"}) == read


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["tests/test_x.py", "one", "three", "-q"], 0, "2 passed, 1 deselected"),
        (["one", "-q"], 0, "1 passed, 2 deselected"),
        (["-k", "one or two", "-q"], 0, "2 passed, 1 deselected"),
        (["--", "-k", "one", "-q"], 0, "1 passed, 2 deselected"),
        (["deploy"], 2, "no test is meant by -k deploy"),
        (["tests/test_y.py"], 2, "there is no tests/test_y.py to be tested"),
        (["--quick", "one"], 2, "--quick chooses the tests by what changed"),
        (["--strict-x"], 2, "pytest cannot read --strict-x"),
    ],
)
def test_words_through_the_program_that_people_type(tmp_path: Path, words: list[str], code: int, said: str) -> None:
    (tmp_path / "tasks.py").write_text('from pipeline import collection\nns = collection("config")\n')
    (tmp_path / "config").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    (tmp_path / "tests/test_x.py").write_text("".join(f"def test_{name}():\n    pass\n" for name in ("one", "two", "three")))
    done = warm.inv(("test", *words), tmp_path, {**os.environ, "PYTHONPATH": str(ROOT)}, 60)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout + done.stderr


def test_a_real_test_that_no_tier_would_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  real: x\n")
    (tmp_path / "test_x.py").write_text("import pytest\n\n\n@pytest.mark.real\ndef test_x():\n    pass\n")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(argv, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "no tier runs it" in done.stderr
