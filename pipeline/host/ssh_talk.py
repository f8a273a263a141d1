"""One command on one channel: sent, fed, listened to, and ended when its time is up."""

from __future__ import annotations

import math
import select
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

import paramiko

from pipeline.clock import Clock
from pipeline.errors import Ambiguous, ConfigError, PipelineError
from pipeline.host import Cmd, OnLine, Output
from pipeline.host.framed import Framed
from pipeline.host.lines import Lines
from pipeline.host.ssh_link import LOST, Link, shut
from pipeline.host.ssh_order import speaking

READ = 1 << 18  # bytes taken from a channel at once
WRITE = 1 << 15  # bytes given to it: OpenSSH takes no larger packet
INLINE = 1 << 16  # bytes of stdin that fit the peer's window, so that no thread is needed to write them
GRACE = 20.0  # seconds for a command to end when told to: it gets five before it is killed, and more where the machine is busy
STRAGGLE = 5.0  # seconds that output may come after the wrapper's own exit status
STRANGE = 20.0  # seconds of silence after which somebody who said something, but not what we are to hear, is not our command
GLANCE = 1.0  # seconds; paramiko wakes the reader, but two of its locks can miss each other
Taken = TypeVar("Taken")


class Talk:
    """`begin`, then `listen`; the caller closes the channel."""

    def __init__(self, link: Link, channel: paramiko.Channel, cmd: Cmd, token: bytes, on_line: OnLine | None, clock: Clock) -> None:
        self._link = link
        self._channel = channel
        self._cmd = cmd
        self._token = token
        self._clock = clock
        self._lines = (Lines(on_line, cmd.keep), Lines(on_line, cmd.keep))
        self._out, self._err = (Framed(token, lines) for lines in self._lines)
        self._deadline = clock.monotonic() + cmd.timeout
        self._broken: BaseException | None = None

    def begin(self, line: bytes) -> None:
        """Have `line` run. Raises Ambiguous where there is no answer."""
        # exec_command waits without a limit for its answer; closing the channel ends that
        limit = threading.Timer(min(self._cmd.timeout, threading.TIMEOUT_MAX), shut, (self._channel,))
        limit.daemon = True
        limit.start()
        try:
            with speaking(self._channel):
                self._channel.exec_command(line)  # bytes, which keep what is not UTF-8
        except LOST as error:
            raise self._gone(error) from error
        finally:
            limit.cancel()

    def listen(self, stdin: Iterable[bytes], size: int) -> Output:
        """Feed and read until the last word. Raises Ambiguous where it does not come."""
        feeder = threading.Thread(target=self._feed, args=(stdin,), name="stdin", daemon=True)
        if size > INLINE:
            feeder.start()
        else:
            self._feed(stdin)
        self._read(self._deadline)
        if self._code is None:
            raise self._expired()
        if self._code < 0:
            raise self._gone()
        self._say_over()
        return Output(self._code, *(lines.close() for lines in self._lines))

    @property
    def _code(self) -> int | None:
        return self._err.code if self._out.code is not None else None

    def _feed(self, stdin: Iterable[bytes]) -> None:
        try:
            for piece in stdin:
                for start in range(0, len(piece), WRITE):
                    self._send(piece[start : start + WRITE])
            self._send(self._token + b"\n")
        except (PipelineError, *LOST) as error:
            self._broken = error
            shut(self._channel)

    def _read(self, deadline: float) -> None:
        """Read until both streams are complete or `deadline`. Raises what `_gone` makes if the channel ends before."""
        poll = select.poll()
        poll.register(self._taken(self._channel.fileno), select.POLLIN)
        last, exited = self._clock.monotonic(), math.inf
        while (left := deadline - self._clock.monotonic()) > 0:
            ended = self._channel.closed or self._channel.eof_received
            if self._channel.exit_status_ready():
                # sshd tells the exit before it has read the pipes: what a command says last, after a long silence, comes later
                exited = min(exited, self._clock.monotonic())
                ended = ended or self._clock.monotonic() - max(last, exited) > STRAGGLE
            while self._channel.recv_ready():
                self._out.feed(self._taken(self._channel.recv, READ))
                last = self._clock.monotonic()
            while self._channel.recv_stderr_ready():
                self._err.feed(self._taken(self._channel.recv_stderr, READ))
                last = self._clock.monotonic()
            if self._code is not None:
                return
            if self._clock.monotonic() - last > STRANGE and not self._err.begun and (self._out.begun or self._out.held or self._err.held):
                raise self._strange()
            if ended:
                raise self._gone(self._broken)
            poll.poll(1000 * min(left, GLANCE))

    def _taken(self, take: Callable[..., Taken], *size: int) -> Taken:
        """Return what `take` gives. Raise Ambiguous if the line is lost: taking tells the other side, and so writes to it.

        What the command's lines are given to is outside of this: its own faults are not those of the line.
        """
        try:
            return take(*size)
        except LOST as error:
            raise self._lost(error) from error

    def _lost(self, error: BaseException | None) -> Ambiguous:
        fault = self._link.fault(f"running {self._cmd.argv[0]}", error)
        return Ambiguous(fault.what, cause=fault.cause)

    def _say_over(self) -> None:
        """Tell the wrapper that its end is no accident."""
        if self._channel.send_ready():
            try:
                self._send(self._token + b"\n")
            except LOST:
                return

    def _send(self, data: bytes) -> None:
        with speaking(self._channel):
            self._channel.sendall(data)

    def _expired(self) -> PipelineError:
        """End the command on its host: the end of its stdin is what the wrapper waits for."""
        said = f"{self._name} did not end within {self._cmd.timeout:.0f} s"
        try:
            with speaking(self._channel):
                self._channel.shutdown_write()
            self._out.code = self._err.code = None
            self._read(self._clock.monotonic() + GRACE)
        except (Ambiguous, *LOST):
            return Ambiguous(f"{said}, and the connection was lost before it could be ended", cause=self._tail())
        if self._code is None:
            return Ambiguous(f"{said} and could not be ended", cause=self._tail())
        return Ambiguous(f"{said} and was ended there", cause=self._tail())

    def _gone(self, error: BaseException | None = None) -> PipelineError:
        link = self._link
        if isinstance(error, PipelineError):
            return error  # what was to be sent could not be had
        if not link.alive:
            return self._lost(error)
        answered = self._channel.status_event.wait(1.0) and self._channel.exit_status >= 0  # closing it here sets the event too
        if answered and not self._out.begun:
            return self._strange()
        if not self._out.begun and error is not None:
            said = f"{link.way.name} ({link.place}) gave no answer when asked to run {self._cmd.argv[0]}"
            return Ambiguous(said, cause=str(error))
        return Ambiguous(
            f"{self._name} ended without an exit code", cause=self._tail(), mend="see whether the machine ran out of memory: dmesg"
        )

    def _strange(self) -> ConfigError:
        """The error of a machine on which something else than our command answers."""
        link, user = self._link, self._link.user
        said = (self._out.banner + self._err.banner).replace(self._token, b"").decode(errors="replace").strip()
        return ConfigError(
            f"{user} on {link.way.name} ({link.place}) has a login shell that runs no commands",
            cause=said,
            mend=f"give {user} a POSIX shell there: usermod -s /bin/sh {user}\n"
            "if it has one: `ForceCommand` in sshd_config or `command=` in authorized_keys replaces what is asked for; "
            'let that end in: exec sh -c "$SSH_ORIGINAL_COMMAND"',
        )

    @property
    def _name(self) -> str:
        return f"{self._cmd.argv[0]} on {self._link.way.name}"

    def _tail(self) -> str:
        return "" if self._cmd.secret else Output(1, *(lines.close() for lines in self._lines)).tail()
