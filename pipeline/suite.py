"""The tests of a repository like this one: what tells something soonest runs first, and the lab is started beside it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import changed
from pipeline.errors import ConfigError, PipelineError

REAL = ("tests/real", "tests/probe/test_image.py", "tests/chart/test_chart.py", "tests/test_wheel.py")  # no test elsewhere is marked `real`
CORE = ("tests/test_layers.py", "tests/test_chain.py", "tests/test_plan.py", "tests/test_runner.py")
FEW = 3  # files of tests that are run sooner one after the other
NOTHING_RAN, MISUSED, INTERRUPTED = 5, 4, 2  # exit codes of pytest
CORES = os.cpu_count() or 2
SIDE_BY_SIDE = ("-n", str(CORES + 1))
WAITING = ("-n", str(2 * CORES + 1))  # a test on the lab waits for a cluster most of its time
AGAIN = ("-n", "0", "--last-failed", "--last-failed-no-failures=none", "--maxfail=5")  # the later of two options counts
UNIT = ("-m", "not real", "--ignore=tests/real", *SIDE_BY_SIDE, "--dist=worksteal")
PROGRAMS = (*REAL, "-m", "programs", *SIDE_BY_SIDE, "--dist=worksteal")
ON_THE_LAB = (*REAL, "-m", "real and not programs and not alone", *WAITING, "--dist=loadfile", "--no-loadscope-reorder")
ALONE = (*REAL, "-m", "alone")


class Failed(PipelineError):
    """A check or a test found something. The exit code is 1, as that of every test runner."""

    exit_code = 1


def environment() -> dict[str, str]:
    """Return that of every process of the tests. What Python compiles is kept: else each `inv` that a test starts would compile all of it
    again. And what is written in Go, most of the lab and of the tools, collects its garbage half as often."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {"GOGC": "200", **kept}


@dataclass
class Beside:
    """A program that runs while the tests do, as a process of its own. Its lines go to the file `log`."""

    name: str
    argv: tuple[str, ...]
    home: Path
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as lines:
            self.process = subprocess.Popen(
                self.argv, cwd=self.home, env=environment(), stdin=subprocess.DEVNULL, stdout=lines, stderr=subprocess.STDOUT
            )

    def wait(self, say: Callable[[str], None]) -> None:
        """Wait until it has ended, and tell its lines meanwhile. Raises Failed with the last of them."""
        with self.log.open(errors="replace") as lines:
            ended, begun = False, ""  # a line that is being written is not told yet
            while not ended:
                ended = self.process.poll() is not None
                for line in lines:
                    begun += line
                    if line.endswith("\n") or ended:
                        say(f"{self.name}: {begun.rstrip()}")
                        begun = ""
                if not ended:
                    time.sleep(0.2)
        if self.process.returncode:
            last = self.log.read_text(errors="replace").strip().splitlines()[-12:]
            raise Failed(f"{self.name} failed (exit {self.process.returncode})", cause="\n".join(last), log=str(self.log))

    def stop(self) -> None:
        """End it where it has not ended."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
            self.process.kill()
            self.process.wait()


def run_command(argv: Sequence[str], home: Path) -> int:
    """Run it to its exit code."""
    return subprocess.run(argv, cwd=home, env=environment(), check=False).returncode


@dataclass(frozen=True)
class Suite:
    """The tests of the working copy `home`; `run` runs a command line to its exit code, `start` starts one beside."""

    home: Path
    say: Callable[[str], None]
    run: Callable[[Sequence[str], Path], int] = run_command
    start: Callable[..., Beside] = Beside

    def everything(self, *, real: bool) -> None:
        """Style, types and unit tests; then, with `real`, those on real parts, for which the lab is started meanwhile. Raises Failed."""
        beside = self._beside() if real else ()
        try:
            self.checks()
            self.side_by_side("the unit tests", UNIT)
            if not beside:
                return
            programs, lab = beside
            found = []
            for run, name, words, needed in (
                (self.side_by_side, "the tests of programs that need no lab", PROGRAMS, programs),
                (self.side_by_side, "the tests on the lab", ON_THE_LAB, lab),
                (self.tests, "the tests that have the lab to themselves", ALONE, lab),
            ):
                needed.wait(self.say)
                try:
                    run(name, words)
                except Failed as error:
                    found.append(error.what)  # the others run all the same: a machine's hour is worth a whole answer
            if found:
                raise Failed("; ".join(found))
        finally:
            for each in beside:
                each.stop()

    def quick(self) -> None:
        """Style, types and the unit tests of what changed: an answer in a minute. Raises Failed."""
        self.checks()
        files = changed.changed(self.home)
        choice = changed.choose(self.home, files, REAL)
        if not files:
            self.say("nothing has changed since main: a few tests of the core instead")
        elif not choice.files:
            self.say(f"no unit test knows {', '.join(files[:5])}: a few tests of the core instead")
        elif choice.left_out:
            self.say(f"{choice.left_out} more files of tests have to do with it: inv test --no-real runs them all")
        words = choice.files or CORE
        self.tests("the unit tests of what changed", (*words, "-m", "not real", *(SIDE_BY_SIDE if len(words) > FEW else ())))

    def some(self, words: Sequence[str], *, real: bool) -> None:
        """The tests that `words` mean: paths, parts of names, and from the first option on what pytest is to be told. Raises Failed."""
        options = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
        paths = [word for word in words[:options] if (self.home / word.partition("::")[0]).exists()]
        names = [word for word in words[:options] if word not in paths]
        if absent := [name for name in names if "/" in name or ".py" in name]:
            raise ConfigError(f"there is no {absent[0]} to be tested", mend="inv test tests/deploy lease: paths, and parts of names")
        named = ["-k", " or ".join(names)] if names else []
        self.tests("these tests", (*paths, *named, *([] if real else ["-m", "not real"]), *words[options:]))

    def _beside(self) -> tuple[Beside, Beside]:
        from pipeline import lab

        logs = self.home / ".pipeline" / "logs"
        return (
            self.start("programs", (sys.executable, "-m", "tests.programs"), self.home, logs / "tests.programs.log"),
            self.start(
                "lab", (sys.executable, "-m", "invoke", "lab.up", "--with", ",".join(sorted(lab.ON_REQUEST))), self.home,
                logs / "tests.lab.log",
            ),
        )  # fmt: skip

    def checks(self) -> None:
        """Style and types. Raises Failed."""
        for name, words in (("ruff", ("check", ".")), ("mypy", ())):
            begun = time.monotonic()
            if self.run((sys.executable, "-m", name, *words), self.home):
                raise Failed(f"{name} found something, see above")
            self.say(f"{name}: all is well ({time.monotonic() - begun:.0f} s)")

    def side_by_side(self, name: str, words: Sequence[str]) -> None:
        """Run tests beside one another. What fails there runs once more by itself, and is told either way: a machine that is too busy for
        one test is no defect of the code, two tests that disturb each other are one of theirs. Raises Failed if it fails again."""
        try:
            self.tests(name, words)
        except Failed:
            self.say(f"{name}: what failed beside others, see above, runs once more by itself")
            self.tests(name, (*words, *AGAIN))
            self.say(f"{name}: what failed beside others holds by itself; find out why it does not there")

    def tests(self, name: str, words: Sequence[str]) -> None:
        """Run pytest with `words`. Raises Failed, and ConfigError if they name no test or pytest cannot read them."""
        begun = time.monotonic()
        self.say(f"{name}: pytest {' '.join(words)}")
        code = self.run((sys.executable, "-m", "pytest", *words), self.home)
        if code == NOTHING_RAN:
            raise ConfigError(f"{name}: no test is meant by {' '.join(words)}", mend="pytest --collect-only -q tests shows all there are")
        if code == MISUSED:
            raise ConfigError(f"{name}: pytest cannot read {' '.join(words)}, see above", mend="inv --help test")
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            raise Failed(f"{name} found something, see above")
        self.say(f"{name}: all is well ({time.monotonic() - begun:.0f} s)")
