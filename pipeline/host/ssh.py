"""A machine behind SSH: one connection, opened on first use and again after it was lost."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import paramiko

from pipeline.clock import Clock, SystemClock
from pipeline.errors import Transient
from pipeline.host import Address, Cmd, OnLine, Output
from pipeline.host.scripts import login_line, script, words
from pipeline.host.ssh_config import Hop, Way, route
from pipeline.host.ssh_link import LOST, Link, shut
from pipeline.host.ssh_put import copy
from pipeline.host.ssh_talk import Talk
from pipeline.host.ssh_tunnel import Tunnels

SETTLE = 1.0  # seconds that sshd may take to count a session as closed that was closed here


class SshHost:
    """The Host behind `address`.

    `known_hosts` and `identity_file` given here replace the user's ~/.ssh and its config; without them ProxyJump, HostName, keys, for port
    22 the port, and without `user` the user come from there, as `ssh` itself reads them, once. `accept_new` stores an unknown host key on
    first sight. `interval` is how long (seconds) the machine may be silent before it is asked for a sign of life: it is given up after
    2.7 times that.
    """

    def __init__(
        self,
        name: str,
        address: str,
        port: int = 22,
        user: str = "",
        identity_file: str = "",
        known_hosts: str = "",
        state: str = "/var/lib/pipeline",
        clock: Clock | None = None,
        accept_new: bool = False,
        interval: float = 15.0,
    ) -> None:
        """Raises ConfigError for an address, user or key file that cannot be; connects to nothing yet."""
        self.name = name
        self.state = state
        self._way = Way(name, address, port, user, identity_file, known_hosts, accept_new, interval)
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._hops: tuple[Hop, ...] = ()
        self._link: Link | None = None
        self._spare: paramiko.Channel | None = None
        self._preparing = False
        self._shut_at = -SETTLE
        self._tunnels = Tunnels(self._open)

    def run(self, cmd: Cmd, on_line: OnLine | None = None) -> Output:
        """See Host. Raises Ambiguous where the connection was lost or the time was up after the command had been sent."""
        return self.stream(cmd, [cmd.stdin] if cmd.stdin else [], len(cmd.stdin), on_line)

    def stream(self, cmd: Cmd, stdin: Iterable[bytes], size: int, on_line: OnLine | None = None) -> Output:
        """`run`, with the `size` bytes of stdin taken from an iterable as they can be sent."""
        token = secrets.token_hex(16)
        line = login_line(("sh", "-c", script("ssh_wrap"), "wrap", token, str(size), cmd.cwd or "", *words(cmd)))
        link = self._open()
        channel = self._channel(link)
        try:
            talk = Talk(link, channel, cmd, token.encode(), on_line, self._clock)
            talk.begin(line)
            self._prepare(link)
            return talk.listen(stdin, size)
        finally:
            shut(channel)
            self._shut_at = time.monotonic()

    def put(self, source: Path, target: str) -> None:
        """See Host. Raises ResourceError where the disk is too small, IntegrityError where the copy is not what was sent."""
        copy(self.name, self.stream, source, target)

    def forward(self, target: Address) -> contextlib.AbstractContextManager[Address]:
        """See Host. Connections made while the machine is away are reset; later ones pass again."""
        return self._tunnels.forward(target)

    def expose(self, target: Address) -> contextlib.AbstractContextManager[Address]:
        """See Host. The port is asked for again when the connection had to be made anew."""
        return self._tunnels.expose(target)

    def close(self) -> None:
        with self._lock:
            link, self._link, self._spare = self._link, None, None
            if link is not None:
                link.close()

    def _open(self) -> Link:
        with self._lock:
            if self._link is None or not self._link.alive:
                if self._link is not None:
                    self._link.close()
                self._link = self._spare = None
                self._hops = self._hops or route(self._way)
                self._link = Link(self._way, self._hops)
            self._tunnels.attach(self._link)
            return self._link

    def _channel(self, link: Link) -> paramiko.Channel:
        """Return a session to run one command in: the one opened ahead, or a new one."""
        while True:
            with self._lock:
                spare, self._spare = self._spare, None
            if spare is not None and spare.get_transport() is link.transport and not spare.closed:
                return spare
            try:
                return link.transport.open_session(timeout=30.0)
            except LOST as error:
                # of two that are refused at one moment, paramiko gives only one the answer
                refused = isinstance(error, paramiko.ChannelException) or (link.alive and "Unable to open" in str(error))
                if not refused:
                    raise link.fault("opening a session", error) from error
                if not self._preparing and self._spare is None and time.monotonic() - self._shut_at > SETTLE:
                    raise Transient(
                        f"{self.name} ({link.place}) gives no further session",
                        cause=str(error),
                        mend="let the other commands end, or raise MaxSessions in its sshd_config",
                    ) from error
                time.sleep(0.05)

    def _prepare(self, link: Link) -> None:
        """Open a session ahead, aside: it saves the next command a round trip. One, however many commands begin: sshd gives ten in all."""
        with self._lock:
            if self._preparing or self._spare is not None:
                return
            self._preparing = True

        def work() -> None:
            channel = None
            with contextlib.suppress(*LOST):
                channel = link.transport.open_session(timeout=30.0)
            with self._lock:
                self._preparing = False
                if self._link is link:
                    self._spare = channel
                    return
            if channel is not None:
                shut(channel)

        threading.Thread(target=work, name=f"session-{self.name}", daemon=True).start()
