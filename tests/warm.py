"""`inv` as a process of its own that need not read Python's modules first: forked from a server that has read them all.

What a run does takes less of a processor than to read what it is made of, and the tests on the lab run it some three hundred times. That
the program starts by itself is proven where it is started (tests/test_line.py, tests/test_layers.py).
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pkgutil
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
LENGTH = 8  # bytes that say how long a request is


def inv(words: tuple[str, ...], cwd: Path, env: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run `inv` as subprocess.run would, with its output captured."""
    argv = [str(Path(sys.executable).with_name("inv")), *words]
    request = json.dumps({"argv": argv, "cwd": str(cwd), "env": dict(env)}).encode()
    end = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(timeout)
        line.connect(_server())
        pipes = [os.pipe() for _ in range(2)]
        given = [os.open(os.devnull, os.O_RDONLY), *(writer for _, writer in pipes)]
        socket.send_fds(line, [len(request).to_bytes(LENGTH, "big")], given)
        for number in given:
            os.close(number)
        line.sendall(request)
        said = [b"", b""]
        readers = [threading.Thread(target=_read, args=(reader, said, at), daemon=True) for at, (reader, _) in enumerate(pipes)]
        for reader in readers:
            reader.start()
        try:
            code = int(line.makefile().readline())
        except TimeoutError:
            raise subprocess.TimeoutExpired(argv, timeout) from None  # the server ends the process when the line is closed
        for reader in readers:
            reader.join(max(end - time.monotonic(), 0))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(argv, timeout)
    return subprocess.CompletedProcess(argv, code, *(text.decode() for text in said))


def _read(number: int, said: list[bytes], at: int) -> None:
    with open(number, "rb") as stream:
        said[at] = stream.read()


@functools.cache
def _server() -> str:
    """Return the path of the server's socket. It ends with this process, which holds its stdin."""
    folder = tempfile.mkdtemp(prefix="warm")
    path = f"{folder}/socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.warm", path], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,  # pipes, as the forked ones get: Python's streams keep what they are at the start
    )  # fmt: skip
    _server.process = process  # type: ignore[attr-defined]  # its stdin stays open for as long as this process lives
    for _ in range(6000):
        if Path(path).exists():
            return path
        assert process.poll() is None, "the server has ended"
        time.sleep(0.01)
    raise AssertionError("the server does not begin")


def serve(path: str) -> None:
    """Fork a process for each request, until stdin ends. Returns in the forked ones: they run what was asked for."""
    import_module("invoke.main")
    for module in pkgutil.walk_packages([str(ROOT / "pipeline")], "pipeline."):
        if not module.name.startswith(("pipeline.__main__", "pipeline.lab.")):
            import_module(module.name)
    assert threading.active_count() == 1, "a thread is not forked"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, and they this
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{path}.new")
        listener.listen(64)
        Path(f"{path}.new").rename(path)
        wanted: list[Any] = [listener, 0]
        while listener in select.select(wanted, [], [])[0]:
            line, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _handle(line)
                return
            line.close()
    shutil.rmtree(Path(path).parent)


def _handle(line: socket.socket) -> None:
    """Fork once more, and tell how that process ended. Returns in it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, given, _, _ = socket.recv_fds(line, LENGTH, 3)
    request = json.loads(line.makefile("rb").read(int.from_bytes(size, "big")))
    child = os.fork()
    if child == 0:
        line.close()
        _become(request, given)
        return
    for number in given:
        os.close(number)
    ended = os.pidfd_open(child)
    either: list[Any] = [line, ended]
    if ended not in select.select(either, [], [])[0]:
        os.kill(child, signal.SIGKILL)  # whoever asked has gone
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(request: dict[str, object], given: list[int]) -> None:
    """Make of this process what a new one would be."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[call-overload]
    sys.argv = request["argv"]  # type: ignore[assignment]
    for number, stream in enumerate(given):
        os.dup2(stream, number)
        os.close(stream)


def main() -> NoReturn:
    """Serve, and in each forked process run `inv`."""
    before = os.getpid()
    serve(sys.argv[1])
    if os.getpid() != before:
        import_module("invoke.main").program.run()
    sys.exit()


if __name__ == "__main__":
    main()
