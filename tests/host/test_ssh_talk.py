"""What a command says last comes after its exit, and after any silence."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock, patch

import pytest
from paramiko import SSHException

from pipeline.errors import Ambiguous, ConfigError
from pipeline.host import Cmd
from pipeline.host.ssh_talk import STRAGGLE, Talk
from pipeline.testing import FakeClock

TOKEN = b"token"
WHOLE = TOKEN + b"\nsaid\n" + TOKEN + b" 0\n"


class Link:
    """A connection that stands."""

    alive = True
    way = SimpleNamespace(name="builder")

    def fault(self, doing: str, _error: BaseException | None) -> Ambiguous:
        return Ambiguous(doing)


class Channel:
    """One whose exit is known at once; its streams come `turns` looks later, each of which takes a second."""

    closed = eof_received = False
    exit_status = 255

    def __init__(self, clock: FakeClock, turns: int) -> None:
        self.clock, self.left = clock, turns
        self.streams = [WHOLE, TOKEN + b"\n" + TOKEN + b" 0\n"]
        self.status_event = threading.Event()
        self.status_event.set()
        self.pipe, self.writer = os.pipe()
        os.close(self.writer)  # always ready: the clock is the test's

    def fileno(self) -> int:
        return self.pipe

    def exit_status_ready(self) -> bool:
        self.clock.sleep(1)
        return self.left <= 1

    def recv_ready(self) -> bool:
        self.left -= 1
        return self.left < 0 and bool(self.streams[0])

    def recv_stderr_ready(self) -> bool:
        return self.left < 0 and bool(self.streams[1])

    def recv(self, _size: int) -> bytes:
        said, self.streams[0] = self.streams[0], b""
        return said

    def recv_stderr(self, _size: int) -> bytes:
        said, self.streams[1] = self.streams[1], b""
        return said

    def get_transport(self) -> Any:
        return SimpleNamespace(speaking=lambda _channel: contextlib.nullcontext())

    def sendall(self, _data: bytes) -> None:
        """Taken."""

    def send_ready(self) -> bool:
        return True


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def channels(clock: FakeClock) -> Iterator[list[Channel]]:
    made: list[Channel] = []
    yield made
    for channel in made:
        os.close(channel.pipe)


def talk(channel: Channel, clock: FakeClock) -> Talk:
    return Talk(cast("Any", Link()), cast("Any", channel), Cmd(("sh",), timeout=60), TOKEN, None, clock)


def test_the_last_words_after_a_long_silence_may_come_behind_the_exit(channels: list[Channel], clock: FakeClock) -> None:
    channels.append(Channel(clock, turns=8))
    assert STRAGGLE < 8, "the command was silent for longer than what may lag"
    output = talk(channels[0], clock).listen([], 0)
    assert (output.code, output.text) == (0, "said")


def test_an_exit_without_last_words_is_no_success(channels: list[Channel], clock: FakeClock) -> None:
    channels.append(Channel(clock, turns=1))
    channels[0].streams = [TOKEN + b"\n", b""]
    with pytest.raises(Ambiguous, match="ended without an exit code"):
        talk(channels[0], clock).listen([], 0)
    assert clock.monotonic() < 10, "long before its time is up"


@pytest.mark.parametrize("fault", [ConnectionResetError("reset"), EOFError(), SSHException("key exchange"), TimeoutError()])
@pytest.mark.parametrize("at", ["fileno", "recv", "recv_stderr"])
def test_a_line_lost_while_reading_is_told_as_one(channels: list[Channel], clock: FakeClock, at: str, fault: Exception) -> None:
    """paramiko tells the other side how much was taken, and so writes to a line that may be gone."""
    channels.append(Channel(clock, turns=3))
    lost = Mock(side_effect=fault)
    with patch.object(channels[0], at, lost), pytest.raises(Ambiguous, match="running sh"):
        talk(channels[0], clock).listen([], 0)
    lost.assert_called_once()


def test_a_fault_of_whom_the_lines_are_given_to_is_not_the_lines(channels: list[Channel], clock: FakeClock) -> None:
    channels.append(Channel(clock, turns=1))
    full = Mock(side_effect=OSError(28, "No space left on device"))
    talking = Talk(cast("Any", Link()), cast("Any", channels[0]), Cmd(("sh",), timeout=60), TOKEN, full, clock)
    with pytest.raises(OSError, match="No space left"):
        talking.listen([], 0)


def test_what_was_to_be_sent_and_cannot_be_read_is_told(channels: list[Channel], clock: FakeClock) -> None:
    channels.append(Channel(clock, turns=99))

    def pieces() -> Iterator[bytes]:
        yield b"x"
        raise ConfigError("the file became shorter")

    closing = patch.object(channels[0], "close", lambda: setattr(channels[0], "closed", True), create=True)
    with closing, pytest.raises(ConfigError, match="became shorter"):
        talk(channels[0], clock).listen(pieces(), 2)
