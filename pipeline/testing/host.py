"""A host that answers from a script."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.host import Address, Cmd, OnLine, Output

Answer = Output | Exception | Callable[[Cmd], Output]


class FakeHost:
    """A Host without a machine.

    `on(match, *answers)` scripts it: `match` is a predicate over the Cmd, or the first words of its argv; the answers are given
    in turn and the last one for ever. An answer is an Output, an exception to raise, or a function of the Cmd. The script is
    searched from its newest entry. What nobody scripted goes to `otherwise`, or fails the test with AssertionError. `calls`,
    `puts`, `files`, `tunnels` and `closed` record what happened.
    """

    def __init__(self, name: str = "fake", state: str = "/var/lib/pipeline", otherwise: Callable[[Cmd], Output] | None = None) -> None:
        self.name = name
        self.state = state
        self.calls: list[Cmd] = []
        self.puts: list[tuple[Path, str]] = []
        self.files: dict[str, bytes] = {}
        self.tunnels: list[tuple[str, Address]] = []
        self.closed = 0
        self._script: list[tuple[Callable[[Cmd], bool], list[Answer]]] = []
        self._otherwise = otherwise

    def on(self, match: Callable[[Cmd], bool] | tuple[str, ...], *answers: Answer) -> FakeHost:
        if isinstance(match, tuple):
            words = match
            self._script.append((lambda cmd: cmd.argv[: len(words)] == words, list(answers)))
        else:
            self._script.append((match, list(answers)))
        return self

    @property
    def argvs(self) -> list[tuple[str, ...]]:
        return [cmd.argv for cmd in self.calls]

    def run(self, cmd: Cmd, on_line: OnLine | None = None) -> Output:
        self.calls.append(cmd)
        answer = self._answer(cmd)
        if isinstance(answer, Exception):
            raise answer
        output = answer if isinstance(answer, Output) else answer(cmd)
        if on_line is not None:
            for line in (output.stdout + output.stderr).decode(errors="replace").splitlines():
                on_line(line)
        return output

    def put(self, source: Path, target: str) -> None:
        self.puts.append((source, target))
        self.files[target] = source.read_bytes()

    @contextlib.contextmanager
    def forward(self, target: Address) -> Iterator[Address]:
        self.tunnels.append(("forward", target))
        yield target

    @contextlib.contextmanager
    def expose(self, target: Address) -> Iterator[Address]:
        self.tunnels.append(("expose", target))
        yield target

    def close(self) -> None:
        self.closed += 1

    def _answer(self, cmd: Cmd) -> Answer:
        for match, answers in reversed(self._script):
            if match(cmd):
                return answers.pop(0) if len(answers) > 1 else answers[0]
        if self._otherwise is None:
            raise AssertionError(f"{self.name} was asked to run {cmd.argv!r}, which the test did not script")
        return self._otherwise(cmd)
