"""The sample applications as processes: started as their images start them, talked to over their sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SAMPLES = Path(__file__).parents[2] / "pipeline/lab/samples"


@dataclass
class Program:
    """A started program; what it logs goes to `log`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection):
            connection.request(method, path, body if isinstance(body, bytes | None) else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def page(self, path: str, method: str = "GET", body: Any = None) -> tuple[int, dict[str, Any]]:
        code, _, text = self.ask(path, method, body)
        return code, json.loads(text)

    def until(self, holds: Callable[[], bool], seconds: float = 10) -> None:
        """Wait for what has to become true."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, self.log.read_text()
            assert self.process.poll() is None or holds(), self.log.read_text()
            time.sleep(0.02)

    def listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


Start = Callable[..., Program]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def start(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts `python -m MODULE` with exactly the given environment; what still runs at the end is ended in order, so that it leaves no
    child of its own behind."""
    started: list[subprocess.Popen[bytes]] = []

    def run(module: str, port: int = 0, **environment: str) -> Program:
        log = tmp_path / f"{module}.{len(started)}.log"
        compiled = tmp_path_factory.getbasetemp() / "compiled"  # once, and not beside the sources, which images are made of
        env = {"PATH": "/usr/bin:/bin", "PYTHONPYCACHEPREFIX": str(compiled)} | environment
        with log.open("wb") as stderr:
            process = subprocess.Popen([sys.executable, "-m", module], cwd=SAMPLES, env=env, stderr=stderr, stdout=stderr)
        started.append(process)
        return Program(process, port, log)

    yield run
    for process in started:
        process.terminate()
    for process in started:
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def ended(program: Program, seconds: float = 10) -> tuple[int, str]:
    """The exit code of a program that is to end by itself, and what it said."""
    return program.process.wait(seconds), program.log.read_text()
