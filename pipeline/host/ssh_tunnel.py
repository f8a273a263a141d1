"""Port forwarding over one machine's connection, both ways, through reconnects."""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import paramiko

from pipeline.errors import ConfigError, PipelineError
from pipeline.host import Address
from pipeline.host.ssh_link import LOST, Link, shut
from pipeline.host.ssh_order import speaking

CHUNK = 1 << 18  # bytes at once; paramiko cuts them into packets as the other side takes them
LOOPBACK = "127.0.0.1"


class Tunnels:
    """The open tunnels of one machine; `open_link` gives its connection, made anew where it was lost."""

    def __init__(self, open_link: Callable[[], Link]) -> None:
        self._open_link = open_link
        self._exposed: dict[int, Address] = {}
        self._bound: dict[int, Link] = {}
        self._pumps: set[_Pump] = set()

    def attach(self, link: Link) -> None:
        """Ask `link` for the ports that are exposed, where a former connection had them.

        That one's end may still hold them there, unaware of its loss: so this is asked again with each use of the link.
        """
        for port in tuple(self._exposed):
            if self._bound.get(port) is not link:
                with contextlib.suppress(PipelineError):
                    self._request(link, port)

    @contextlib.contextmanager
    def forward(self, target: Address) -> Iterator[Address]:
        """A loopback address here that leads to `target` there."""
        self._open_link()
        with socket.create_server((LOOPBACK, 0), backlog=128) as listener:
            pumps: set[_Pump] = set()
            thread = threading.Thread(target=self._accept, args=(listener, target, pumps), name=f"forward-{target}", daemon=True)
            thread.start()
            try:
                yield Address(LOOPBACK, listener.getsockname()[1])
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()
                for pump in tuple(pumps):
                    pump.stop()

    @contextlib.contextmanager
    def expose(self, target: Address) -> Iterator[Address]:
        """A loopback address there that leads to `target` here. Raises ConfigError where sshd forbids it."""
        link = self._open_link()
        port = self._request(link, 0)
        self._exposed[port] = target
        try:
            yield Address(LOOPBACK, port)
        finally:
            del self._exposed[port]
            self._bound.pop(port, None)
            with contextlib.suppress(PipelineError):
                link = self._open_link()
                link.ask("cancel-tcpip-forward", LOOPBACK, port)
            for pump in tuple(self._pumps):
                if pump.port == port:
                    pump.stop()

    def _request(self, link: Link, port: int) -> int:
        transport = link.transport
        # paramiko has one handler for all ports, and forgets it with the first port that is given back: so it is set here
        transport._tcp_handler = self._arrived  # type: ignore[attr-defined]
        answer = link.ask("tcpip-forward", LOOPBACK, port)
        if answer is None:
            if not link.alive:
                raise link.fault("asking for a port")
            raise ConfigError(
                f"{link.way.name} ({link.place}) does not forward ports",
                cause="sshd refused tcpip-forward",
                mend="set AllowTcpForwarding yes in its sshd_config",
            )
        port = port or answer.get_int()
        self._bound[port] = link
        return port

    def _arrived(self, channel: paramiko.Channel, _origin: tuple[str, int], server: tuple[str, int]) -> None:
        """A connection to an exposed port. Called in paramiko's own thread, which must not wait."""
        target = self._exposed.get(server[1])
        if target is None:
            shut(channel)
            return

        def connect() -> None:
            try:
                end = socket.create_connection((target.host, target.port), timeout=10)
            except OSError:
                shut(channel)
                return
            end.settimeout(None)
            _Pump(end, channel, self._pumps, server[1])

        threading.Thread(target=connect, name=f"expose-{target}", daemon=True).start()

    def _accept(self, listener: socket.socket, target: Address, pumps: set[_Pump]) -> None:
        while True:
            try:
                end, origin = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._reach, args=(end, origin, target, pumps), name=f"reach-{target}", daemon=True).start()

    def _reach(self, end: socket.socket, origin: tuple[str, int], target: Address, pumps: set[_Pump]) -> None:
        try:
            channel = self._open_link().transport.open_channel("direct-tcpip", (target.host, target.port), origin, timeout=30.0)
        except (PipelineError, *LOST):
            _reset(end)
            return
        _Pump(end, channel, pumps)


class _Pump:
    """Carries bytes between a socket and a channel, one thread each way, until both ways have ended."""

    def __init__(self, end: socket.socket, channel: paramiko.Channel, all_pumps: set[_Pump], port: int = 0) -> None:
        self.port = port
        self._end = end
        self._channel = channel
        self._all = all_pumps
        self._left = 2
        self._lock = threading.Lock()
        with contextlib.suppress(OSError):  # its other side may be gone already, which the reading tells
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._threads = [
            threading.Thread(target=self._carry, args=way, name="pump", daemon=True)
            for way in (
                (end, functools.partial(self._say, channel.sendall), functools.partial(self._say, channel.shutdown_write)),
                (channel, end.sendall, functools.partial(end.shutdown, socket.SHUT_WR)),
            )
        ]
        for thread in self._threads:
            thread.start()
        all_pumps.add(self)  # only now can it be stopped: a tunnel may close while a connection is just arriving

    def stop(self) -> None:
        shut(self._channel)
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _say(self, send: Callable[..., object], *data: bytes) -> None:
        with speaking(self._channel):
            send(*data)

    def _carry(self, source: Any, send: Callable[[bytes], object], finish: Callable[[], object]) -> None:
        try:
            while chunk := source.recv(CHUNK):
                send(chunk)
            if source is self._channel and not self._channel.eof_received:
                raise ConnectionResetError  # the channel was cut, not ended
            finish()
        except LOST:
            _harden(self._end)
            shut(self._channel)
            with contextlib.suppress(OSError):
                self._end.shutdown(socket.SHUT_RD)  # wakes the other thread; the other way would send an orderly end
        finally:
            with self._lock:
                self._left -= 1
                last = self._left == 0
            if last:
                shut(self._channel)
                self._end.close()
                self._all.discard(self)


def _harden(end: socket.socket) -> None:
    """Let closing mean RST, so that a cut is not taken for an end."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _reset(end: socket.socket) -> None:
    _harden(end)
    end.close()
