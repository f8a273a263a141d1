"""Runs helm: bounded, its lines shown as they come, ended gently, and never after the release's lock is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator

from pipeline.errors import Ambiguous, ConfigError, PipelineError
from pipeline.events import What
from pipeline.stage import Site
from pipeline.tools import helm

GRACE = 30.0  # seconds helm may take to write down that it was interrupted
TICK = 0.2  # seconds between two looks at the lock
STAGE = "deploy"


def call(
    site: Site,
    argv: helm.Argv,
    seconds: float,
    check: Callable[[], None] = lambda: None,
    *,
    meaning: Callable[[int, str], PipelineError] = helm.failure,
) -> str:
    """What helm printed. `check` is called while it runs and may raise, which ends helm first.

    Raises the error that helm's output has by `meaning`, Ambiguous where it outlived `seconds`, ConfigError where it is not installed. On
    the first Ctrl-C helm gets SIGINT and is waited for, on the second it is killed; KeyboardInterrupt goes on either way.
    """
    folder = site.root / ".pipeline" / "helm"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=site.root, text=True, errors="replace",
            env=helm.environment(os.environ, str(folder)), start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        mend = "install Helm 3.13 or later, or name it in the site's tools"
        raise ConfigError(f"{argv[0]} cannot be run", cause=str(error), mend=mend) from error
    lines: list[str] = []
    reader = threading.Thread(target=_read, args=(site, process, lines), daemon=True)
    reader.start()
    with _ended(site, process):
        _wait(site, process, seconds, check)
    reader.join(GRACE)
    text = "\n".join(lines)
    if process.returncode:
        raise meaning(process.returncode, text)
    return text


def _wait(site: Site, process: subprocess.Popen[str], seconds: float, check: Callable[[], None]) -> None:
    end = site.clock.monotonic() + seconds
    while True:
        try:
            process.wait(TICK)
        except subprocess.TimeoutExpired:
            check()
            if site.clock.monotonic() < end:
                continue
            raise Ambiguous(
                f"helm was not done after {seconds:.0f} s and was ended", mend="run again: what came of it is looked at first"
            ) from None
        return


@contextlib.contextmanager
def _ended(site: Site, process: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever happens inside, helm does not outlive it."""
    try:
        yield
    except KeyboardInterrupt:
        site.tell(What.WARN, STAGE, "stopping: helm is asked to end; press Ctrl-C again to kill it")
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
