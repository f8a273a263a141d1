"""A TCP proxy on loopback that misbehaves on order: every network fault that a test needs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

from pipeline.host import Address

Direction = Literal["up", "down"]  # up: from the client to the target
Queue = asyncio.Queue[tuple[float, bytes]]
CHUNK = 1 << 16


class FaultProxy:
    """Stands in front of `target` as a context manager; `address` is where to connect, a free port of `listen`.

    `latency` (seconds each way), `bandwidth` (bytes per second each way and connection, 0 for no limit) and `swallow` (bytes are
    read and thrown away) may be changed at any time. `connections`, `bytes_up` and `bytes_down` count what passed.
    """

    def __init__(self, target: Address, *, latency: float = 0.0, bandwidth: float = 0.0, listen: str = "127.0.0.1") -> None:
        self.target = target
        self.latency = latency
        self.bandwidth = bandwidth
        self.swallow = False
        self.connections = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self._resets: dict[Direction, list[int]] = {"up": [], "down": []}
        self._open: dict[asyncio.Task[None], _Pair] = {}
        self._accepting = False
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._listener: socket.socket | None = _listen(listen, 0)
        self.address = Address(listen, self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def freeze(self) -> None:
        """Pass nothing on, keep connections open and accept new ones: a network that drops packets, or a stopped peer."""
        self._do(self._flowing.clear)

    def thaw(self) -> None:
        """Pass everything on, what was held back included."""
        self._do(self._flowing.set)

    def reset(self) -> None:
        """Break every open connection with RST, both ways."""

        def act() -> None:
            for task in tuple(self._open):
                self._break(task)

        self._do(act)

    def reset_after(self, count: int, direction: Direction = "up") -> None:
        """The next connection to have carried `count` bytes in `direction` is reset there; said twice, two are."""
        self._resets[direction].append(count)

    def half_close(self, direction: Direction = "down") -> None:
        """End one direction of every open connection with FIN and leave the other open."""

        def act() -> None:
            for pair in self._open.values():
                _shut(pair.server if direction == "up" else pair.client)

        self._do(act)

    def refuse(self) -> None:
        """Take no new connections (ECONNREFUSED) until `accept`."""
        self._do(self._refuse)

    def accept(self) -> None:
        """Take connections again, on the same port."""
        self._do(self._accept_again)

    def _do(self, action: Callable[[], object]) -> None:
        async def call() -> None:
            action()

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    def _refuse(self) -> None:
        if self._accepting and self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._accepting, self._listener = False, None

    def _accept_again(self) -> None:
        if not self._accepting:
            self._listener = self._listener or _listen(self.address.host, self.address.port)
            self._loop.add_reader(self._listener, self._accept, self._listener)
            self._accepting = True

    def _accept(self, listener: socket.socket) -> None:
        """Take one connection. No task waits for it: one that was cancelled at that moment would lose what it had just taken."""
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            client, _ = listener.accept()
            self.connections += 1
            pair = _Pair(client)
            task = self._loop.create_task(self._serve(pair))
            self._open[task] = pair
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        if pair := self._open.pop(task, None):
            pair.close()

    async def _serve(self, pair: _Pair) -> None:
        try:
            await self._flowing.wait()
            await self._loop.sock_connect(pair.server, (self.target.host, self.target.port))
            async with asyncio.TaskGroup() as group:
                up, down = Queue(256), Queue(256)
                group.create_task(self._read(pair.client, up))
                group.create_task(self._write("up", up, pair.server))
                group.create_task(self._read(pair.server, down))
                group.create_task(self._write("down", down, pair.client))
        except* OSError:
            pair.harden()  # a failure on one side reaches the other as a reset

    async def _read(self, source: socket.socket, queue: Queue) -> None:
        chunk = b"-"
        while chunk:
            chunk = await self._loop.sock_recv(source, CHUNK)
            await queue.put((self._loop.time() + self.latency, chunk))

    async def _write(self, direction: Direction, queue: Queue, sink: socket.socket) -> None:
        passed = 0
        while True:
            due, chunk = await queue.get()
            if (wait := due - self._loop.time()) > 0:
                await asyncio.sleep(wait)
            await self._flowing.wait()
            limit = next((count for count in self._resets[direction] if passed + len(chunk) >= count), None)
            if limit is not None:
                self._resets[direction].remove(limit)
                chunk = chunk[: max(0, limit - passed)]
            if self.bandwidth:
                await asyncio.sleep(len(chunk) / self.bandwidth)
            passed += len(chunk)
            self._count(direction, len(chunk))
            if chunk and not self.swallow:
                await self._loop.sock_sendall(sink, chunk)
            if limit is not None:
                raise ConnectionResetError
            if not chunk:
                _shut(sink)
                return

    def _count(self, direction: Direction, count: int) -> None:
        if direction == "up":
            self.bytes_up += count
        else:
            self.bytes_down += count

    def _break(self, task: asyncio.Task[None]) -> None:
        self._open[task].harden()
        task.cancel()

    async def _stop(self) -> None:
        self._refuse()
        tasks = tuple(self._open)
        for task in tasks:
            self._break(task)
        await asyncio.gather(*tasks, return_exceptions=True)


class _Pair:
    """The two ends of one connection through the proxy."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.server = socket.socket()
        for end in (self.client, self.server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def harden(self) -> None:
        """Let closing mean RST."""
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        self.client.close()
        self.server.close()


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(128)
    listener.setblocking(False)
    return listener


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_WR)
