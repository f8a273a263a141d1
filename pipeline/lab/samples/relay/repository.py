"""The bare repository, and `git daemon` that serves it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from .settings import Settings, Wrong

REPOSITORY = "repo.git"
README = b"The relay's own repository.\n"


def git_environment(data: Path) -> dict[str, str]:
    """The environment of every git: no configuration of the machine's, and one author and date, so that the first commit is always the
    same one."""
    name = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in
            (("NAME", "relay"), ("EMAIL", "relay@localhost"), ("DATE", "1700000000 +0000"))}  # fmt: skip
    return {
        **{key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ},
        **name, "HOME": str(data), "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
    }  # fmt: skip


def create(data: Path) -> Path:
    """The bare repository in `data`, with one commit on `main` where it had none. Raises Wrong where it cannot be."""
    repository = data / REPOSITORY

    def git(*words: str, stdin: bytes = b"") -> str:
        argv = ["git", "--git-dir", str(repository), *words]
        return subprocess.run(argv, input=stdin, capture_output=True, check=True, env=git_environment(data)).stdout.decode().strip()

    try:
        data.mkdir(parents=True, exist_ok=True)
        git("init", "--quiet", "--bare", "--initial-branch=main")
        if not git("for-each-ref", "--count=1", "refs/heads/main"):
            blob = git("hash-object", "-w", "--stdin", stdin=README)
            tree = git("mktree", stdin=f"100644 blob {blob}\tREADME\n".encode())
            git("update-ref", "refs/heads/main", git("commit-tree", "-m", "Start", tree))
    except FileNotFoundError as error:
        raise Wrong("git is not installed: the relay serves its repository with `git daemon`") from error
    except OSError as error:
        raise Wrong(f"{repository} cannot be made: {error.strerror}; RELAY_DATA has to be a folder that can be written") from error
    except subprocess.CalledProcessError as error:
        raise Wrong(f"{repository} cannot be made: {error.stderr.decode(errors='replace').strip()}") from error
    return repository


class Daemon:
    """`git daemon` over the folder, read-only; with the children that serve its peers it is one process group.

    Raises Wrong where its port is taken: a peer that connects could not tell who answers there.
    """

    def __init__(self, found: Settings) -> None:
        family = socket.AF_INET6 if ":" in found.host else socket.AF_INET
        try:
            socket.create_server((found.host, found.git_port), family=family).close()
        except OSError as error:
            raise Wrong(f"git cannot listen on {found.host} port {found.git_port}: {error.strerror}") from error
        self.found = found
        argv = [
            "git", "daemon", "--export-all", f"--base-path={found.data}", "--reuseaddr", "--informative-errors", "--timeout=30",
            "--max-connections=32", f"--listen={found.host}", f"--port={found.git_port}", "--log-destination=stderr",
            str(found.data / REPOSITORY),
        ]  # fmt: skip
        self.process = subprocess.Popen(argv, env=git_environment(found.data), stdin=subprocess.DEVNULL, start_new_session=True)

    def alive(self) -> bool:
        return self.process.poll() is None

    def answers(self, seconds: float) -> bool:
        """Whether it takes connections within `seconds`."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.found.host, self.found.host)  # noqa: S104
        until = time.monotonic() + seconds
        while self.alive() and time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection((host, self.found.git_port), timeout=1):
                return True
            time.sleep(0.02)
        return False

    def stop(self, patience: float) -> None:
        """Take no more; end when the last peer is served, or after `patience` seconds."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        until = time.monotonic() + patience
        while _group(self.process.pid, 0) and time.monotonic() < until:
            _reap()
            time.sleep(0.02)
        _group(self.process.pid, signal.SIGKILL)


def _group(number: int, what: int) -> bool:
    """Whether there was a process of this group to send the signal to."""
    try:
        os.killpg(number, what)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _reap() -> None:
    """As the first process of a container, bury the children that git daemon left."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
