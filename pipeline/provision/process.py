"""Runs the tool: what it writes is ours alone, its story goes to a file that outlives us, and it is never torn out of an apply."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pipeline import jsontext
from pipeline.errors import Cancelled, ConfigError, Expired, PipelineError
from pipeline.events import What
from pipeline.host.lines import Lines
from pipeline.provision.root import MARK, STAGE, Root
from pipeline.tools import terraform

GRACE = 120.0  # seconds for the tool to finish what it has begun and to write its state
TICK = 0.05
QUIET = ("version", "planned_change", "change_summary", "outputs", "resource_drift", "log")
WAITS = ("apply_progress", "refresh_start", "refresh_complete", "provision_progress")


@dataclass(frozen=True)
class Said:
    """How a call ended: its code (negative for a signal), its output, and why we stopped it, if we did."""

    code: int
    text: str
    errors: str = ""
    stopped: PipelineError | None = None


def ask(root: Root, argv: terraform.Argv, env: Mapping[str, str], seconds: float = 120.0) -> Said:
    """A short call; what it prints is kept in memory only.

    Raises ConfigError where it cannot be run, Expired where it is not done in time.
    """
    process = _start(root, argv, env, subprocess.PIPE, subprocess.PIPE)
    try:
        out, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Expired(f"{argv[1]} was not done after {seconds:.0f} s and was ended", mend="see whether the backend answers") from None
    finally:
        _end(process)
    return Said(process.returncode, out.decode(errors="replace"), errors.decode(errors="replace"))


def follow(root: Root, argv: terraform.Argv, env: Mapping[str, str], log: Path, seconds: float) -> Said:
    """A long call, told as it goes. Its output goes to `log` (mode 600): it goes on writing there whatever becomes of us.

    On Ctrl-C, SIGTERM or after `seconds` it is asked to stop, finishes what it has begun and writes its state; a second Ctrl-C ends it.
    """
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        process = _start(root, argv, env, out.fileno(), subprocess.STDOUT)
    stopped: PipelineError | None = None
    with log.open("rb") as file:
        story = _Story(root, file)
        try:
            _listen(process, story, time.monotonic() + seconds)
            if process.poll() is None:
                stopped = Expired(f"{argv[1]} was not done after {seconds:.0f} s", mend="see `deadline` of `infra` in the blueprint")
        except KeyboardInterrupt:
            stopped = Cancelled("stopped")
        except Cancelled as error:
            stopped = error
        finally:
            _wind_down(process, story, stopped)
    return Said(process.returncode, log.read_text(errors="replace"), stopped=stopped)


def marked(run: str) -> list[int]:
    """The processes of a run, ours and those that they started, the tool itself first; none where there is no /proc."""
    wanted = f"{MARK}={run}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return sorted(found, key=lambda pid: not leads(pid))


def others(run: str, root: Root) -> list[int]:
    """Processes on this machine that may be somebody's Terraform or OpenTofu at work on the same state, those of that run left out."""
    names = {"terraform", "tofu", Path(root.program).name[:15]}  # the kernel keeps 15 letters
    ours = set(marked(run))
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            (folder / "exe").readlink()  # one that is dead, and only not yet buried, has none
            if (folder / "comm").read_text().strip() in names and int(folder.name) not in ours and _shares(folder, root):
                found.append(int(folder.name))
    return found


def _shares(process: Path, root: Root) -> bool:
    """Whether a process works in this folder or on this state; one that cannot be asked may."""
    try:
        where = (process / "cwd").resolve()
        settings = (process / "environ").read_bytes().split(b"\0")
        named = next((each.partition(b"=")[2].decode() for each in settings if each.startswith(b"TF_DATA_DIR=")), ".terraform")
        return where == root.folder.resolve() or _backend(where / named) == _backend(root.data)
    except (PermissionError, UnicodeDecodeError):
        return True


def _backend(data: Path) -> Any:
    """What the tool's working data say of where the state lies; None if they say nothing."""
    try:
        kept = jsontext.loads((data / "terraform.tfstate").read_text())["backend"]
        return kept["type"], kept["config"]
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError):
        return None


def leads(pid: int) -> bool:
    """Whether it is the tool itself, and not a provider that it started."""
    with contextlib.suppress(OSError):
        return os.getsid(pid) == pid
    return False


def _start(root: Root, argv: terraform.Argv, env: Mapping[str, str], out: int, errors: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, cwd=root.folder, env=env, start_new_session=True, umask=0o077
        )  # fmt: skip
    except OSError as error:
        raise ConfigError(
            f"{argv[0]} cannot be run", cause=str(error), mend="name another in the site file: tools: {terraform: …}"
        ) from error


class _Story:
    """Tells what a file has more of, line by line."""

    def __init__(self, root: Root, file: BinaryIO) -> None:
        self.site = root.site
        self.file = file
        self.lines = Lines(self.tell, 0)

    def go_on(self) -> None:
        self.lines.feed(self.file.read())

    def tell(self, line: str) -> None:
        heard = terraform.hear(line)
        if heard.kind in WAITS:
            self.site.tell(What.WAIT, STAGE, heard.text)
        elif heard.kind and heard.kind not in QUIET:  # what is not JSON is a provider's last words: they stay in the log
            self.site.tell(What.LOG, STAGE, " ".join(heard.text.split()))


def _listen(process: subprocess.Popen[bytes], story: _Story, end: float) -> None:
    """Tell what comes until the tool has ended, or the time is up."""
    while time.monotonic() < end:
        ended = process.poll() is not None
        story.go_on()
        if ended:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TICK)


def _wind_down(process: subprocess.Popen[bytes], story: _Story, stopped: PipelineError | None) -> None:
    if process.poll() is None and stopped:
        text = "stopping: what it has begun is finished and its state written; Ctrl-C again to end it now"
        story.site.tell(What.WARN, STAGE, text)
        with contextlib.suppress(KeyboardInterrupt, Cancelled):
            process.send_signal(signal.SIGINT)
            _listen(process, story, time.monotonic() + GRACE)
    _end(process)
    story.go_on()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Whatever is still there, providers included, goes now."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
