"""Runs helm, or another tool that deploys: bounded, its lines shown as they come, ended gently, and never after the lock is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pipeline.errors import Ambiguous, ConfigError, PipelineError
from pipeline.events import What
from pipeline.stage import Site
from pipeline.tools import helm

GRACE = 30.0  # seconds helm may take to write down that it was interrupted
TICK = 0.2  # seconds between two looks at the lock
STAGE = "deploy"


@dataclass(frozen=True)
class Program:
    """A tool that deploys: how people call it, what to do where it is not there, and the environment it runs in."""

    name: str
    install: str
    environment: Callable[[Mapping[str, str], str], dict[str, str]]


HELM = Program("helm", "install Helm 3.13 or later, or name it in the site's tools", helm.environment)


def call(
    site: Site,
    argv: helm.Argv,
    seconds: float,
    check: Callable[[], None] = lambda: None,
    *,
    meaning: Callable[[int, str], PipelineError] = helm.failure,
    program: Program = HELM,
) -> str:
    """What helm printed. `check` is called while it runs and may raise, which ends helm first.

    Raises the error that helm's output has by `meaning`, Ambiguous where it outlived `seconds`, ConfigError where it is not installed. On
    the first Ctrl-C helm gets SIGINT and is waited for, on the second it is killed; KeyboardInterrupt goes on either way.
    """
    folder = site.root / ".pipeline" / program.name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=site.root, text=True, errors="replace",
            env=program.environment(os.environ, str(folder)), start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ConfigError(f"{argv[0]} cannot be run", cause=str(error), mend=program.install) from error
    lines: list[str] = []
    reader = threading.Thread(target=_read, args=(site, process, lines), daemon=True)
    reader.start()
    with _ended(site, process, program.name):
        _wait(site, process, seconds, check, program.name)
    reader.join(GRACE)
    text = "\n".join(lines)
    if process.returncode:
        raise meaning(process.returncode, text)
    return text


def _wait(site: Site, process: subprocess.Popen[str], seconds: float, check: Callable[[], None], name: str) -> None:
    end = site.clock.monotonic() + seconds
    while True:
        try:
            process.wait(TICK)
        except subprocess.TimeoutExpired:
            check()
            if site.clock.monotonic() < end:
                continue
            raise Ambiguous(
                f"{name} was not done after {seconds:.0f} s and was ended", mend="run again: what came of it is looked at first"
            ) from None
        return


@contextlib.contextmanager
def _ended(site: Site, process: subprocess.Popen[str], name: str) -> Iterator[None]:
    """Whatever happens inside, the tool does not outlive it."""
    try:
        yield
    except KeyboardInterrupt:
        site.tell(What.WARN, STAGE, f"stopping: {name} is asked to end; press Ctrl-C again to kill it")
        process.send_signal(signal.SIGINT)
        try:
            process.wait(GRACE)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
        raise
    except BaseException:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


def _read(site: Site, process: subprocess.Popen[str], lines: list[str]) -> None:
    assert process.stdout is not None  # noqa: S101  # it is a pipe
    with process.stdout:
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if line.strip():
                site.tell(What.LOG, STAGE, line.rstrip("\n"))
