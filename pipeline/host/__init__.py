"""A machine that runs commands: the same four verbs here and behind SSH."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

OnLine = Callable[[str], None]


@dataclass(frozen=True)
class Cmd:
    """A command as a value: `argv` is never shell text.

    `env` is added to the host's own environment, `stdin` is sent whole and then closed, `timeout` is in seconds and ends the
    command on the host, not only here. `secret` keeps stdin and output out of every log. `keep` is how many bytes of stdout and of
    stderr stay in the Output, the last ones; None is all. The values of `env` can be seen in the host's process list: a secret goes
    by stdin.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    stdin: bytes = b""
    timeout: float = 60.0
    secret: bool = False
    keep: int | None = None


@dataclass(frozen=True)
class Output:
    """What a command left: its own exit code (never the transport's) and its bytes.

    127 is a program that is not there, 126 one that cannot be run, 125 a `cwd` that cannot be entered.
    """

    code: int
    stdout: bytes = b""
    stderr: bytes = b""

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace").strip()

    @property
    def errors(self) -> str:
        return self.stderr.decode(errors="replace").strip()

    def tail(self, count: int = 10) -> str:
        """The last `count` lines of stderr, or of stdout where stderr is empty."""
        return "\n".join((self.errors or self.text).splitlines()[-count:])


@dataclass(frozen=True)
class Address:
    """A TCP endpoint."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@runtime_checkable
class Host(Protocol):
    """A machine. `state` is the folder on it that is the pipeline's own.

    Every method raises Transient when the machine or the way to it fails, HostKeyError and AuthError when SSH says so, and never
    because a command ended with a code other than 0: that is the caller's to read.
    """

    name: str
    state: str

    def run(self, cmd: Cmd, on_line: OnLine | None = None) -> Output:
        """Run to the end. `on_line` gets each line of stdout and stderr as it comes. A command that outlives its timeout is ended
        on the host and Transient is raised."""

    def put(self, source: Path, target: str) -> None:
        """Copy a local file to `target`: resumed where a former try stopped, compared by sha256, in place whole or not at all."""

    def forward(self, target: Address) -> AbstractContextManager[Address]:
        """A loopback address here that leads to `target` as that machine sees it."""

    def expose(self, target: Address) -> AbstractContextManager[Address]:
        """A loopback address there that leads to `target` as this machine sees it."""

    def close(self) -> None:
        """Let go of the connection. The next call opens it again."""
