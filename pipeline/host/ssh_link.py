"""One SSH connection, over as many machines as ssh would go over, each a connection of Fabric's; a pulse notices when the other side has
fallen silent."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import fabric
import paramiko

from pipeline.errors import ConfigError, HostKeyError, PipelineError, Transient
from pipeline.host.child import Child
from pipeline.host.ssh_config import Hop, Way
from pipeline.host.ssh_keys import Keys
from pipeline.host.ssh_login import Login
from pipeline.host.ssh_order import Ordered

CONNECT = 10.0  # seconds for a TCP connection
GREETING = 15.0  # seconds for the banner, the key exchange, the login: each
WINDOW = 16 << 20  # bytes that may be under way in a channel: the throughput at 100 ms is 160 MB/s at most
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
LOST = (paramiko.SSHException, OSError, EOFError)
PROHIBITED = 1  # the code of a channel that the machine's settings forbid

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what it has to say is in our errors, not in between


class Link:
    """An open connection over `hops`. `transport` carries the channels; after `lost` is set it is of no use any more."""

    def __init__(self, way: Way, hops: Sequence[Hop]) -> None:
        """Connect. Raises Transient, AuthError, HostKeyError or ConfigError."""
        self.way = way
        self.lost = ""
        self.place, self.user = hops[-1].place, hops[-1].user
        self._over: list[Hop] = []
        self._program: _Program | None = None
        self._heard: list[_Heard] = []
        self._opened = contextlib.ExitStack()
        try:
            for hop in hops:
                self._reach(hop)
        except BaseException:
            self._opened.close()
            raise
        self._asking = threading.Lock()
        self._done = threading.Event()
        self._pulse = threading.Thread(target=self._watch, name=f"pulse-{way.name}", daemon=True)
        self._pulse.start()

    @property
    def alive(self) -> bool:
        return not self.lost and self.transport.is_active()

    def ask(self, kind: str, *data: object) -> paramiko.Message | None:
        """Return the answer to a global request, None if it is refused. Raise Transient if the line is lost.

        One at a time, since answers carry no number.
        """
        try:
            with self._asking:
                return self.transport.global_request(kind, data or None, wait=True)
        except LOST as error:
            raise self.fault(f"asking for {kind}", error) from error

    def fault(self, doing: str, error: BaseException | None = None) -> Transient:
        """The Transient for a connection that failed while `doing` something."""
        cause = self.lost or (str(error) or type(error).__name__ if error else "the connection was closed")
        return Transient(f"{self.way.name} ({self.place}): the SSH connection was lost while {doing}", cause=cause)

    def close(self) -> None:
        self._done.set()
        self._opened.close()
        self.transport.join(2.0)
        self._pulse.join(2.0)

    def _reach(self, hop: Hop) -> None:
        """Make `hop` the machine that `transport` speaks to. Failures are told in this project's own terms."""
        name, place = self.way.name, hop.place
        keys = Keys(name, hop)
        try:
            connection = self._connection(hop, keys)
            self._opened.callback(connection.client.close)
            connection.open()
        except PipelineError:
            raise
        except paramiko.AuthenticationException as error:
            raise Transient(f"{name} ({place}): the SSH login got no answer", cause=str(error)) from error
        except LOST as error:
            raise self._unreached(hop, error) from error
        self.transport: paramiko.Transport = connection.transport
        self._over.append(hop)

    def _line(self, hop: Hop, keys: Keys) -> Any:
        """Return what carries the bytes to `hop`: a socket, a channel of the machine before it, or a program's ends."""
        if self._over:
            try:
                return self.transport.open_channel("direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=GREETING)
            except paramiko.ChannelException as error:
                what = f"{self.way.name}: no way to {hop.place} over {self._over[-1].place}"
                if error.code == PROHIBITED:
                    mend = "AllowTcpForwarding yes in its sshd_config (PermitOpen, if it stands there, has to name the machine behind)"
                    raise ConfigError(what, cause=str(error), mend=mend) from error
                raise Transient(what, cause=str(error)) from error
        if hop.command:
            self._program = _Program(hop.command)
            self._opened.callback(self._program.close)
            return self._program.line
        try:
            line = _dial(hop)
        except socket.gaierror as error:
            if error.errno == socket.EAI_NONAME and not keys.is_known:
                what = f"{self.way.name}: there is no host {hop.place}"
                raise ConfigError(what, cause=str(error), mend="mend the address in the site file") from error
            raise Transient(f"{self.way.name}: the name of {hop.place} does not resolve", cause=str(error)) from error
        self._opened.callback(line.close)
        # without it each small packet waits up to 40 ms for the acknowledgement of the one before
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return line

    def _connection(self, hop: Hop, keys: Keys) -> Any:
        """Return Fabric's connection to `hop`, not yet open: its line, its host keys and its login are ours, and it reads no file."""
        login = Login(hop, self.way.name)
        config = fabric.Config(lazy=True, overrides={"authentication": {"strategy_class": lambda **_known: login}})
        connection = fabric.Connection(
            hop.host, user=hop.user, port=hop.port, config=config, connect_timeout=int(CONNECT),
            connect_kwargs={
                "sock": self._line(hop, keys), "transport_factory": partial(self._made, keys),
                "banner_timeout": GREETING, "auth_timeout": GREETING, "channel_timeout": GREETING,
            },
        )  # fmt: skip
        connection.client.set_missing_host_key_policy(keys)
        return connection

    def _made(self, keys: Keys, line: Any, **_options: Any) -> paramiko.Transport:
        heard = _Heard(line)
        self._heard.append(heard)
        weak = {"pubkeys": ["ssh-rsa", "ssh-dss"]}
        transport = _Transport(cast(socket.socket, heard), default_window_size=WINDOW, disabled_algorithms=weak)
        transport.asked = keys.algorithms()
        security = transport.get_security_options()
        security.ciphers = tuple(cipher for cipher in CIPHERS if cipher in security.ciphers)
        return transport

    def _unreached(self, hop: Hop, error: BaseException) -> PipelineError:
        """The error of a connection that did not come about; the program in its place has the first word."""
        what = f"{self.way.name}: no SSH connection to {hop.place}"
        if not hop.command or self._program is None:
            return Transient(what, cause=str(error) or type(error).__name__)
        said = self._program.said()
        what += f" through ProxyCommand {hop.command}"
        if "Host key verification failed" in said:
            return HostKeyError(what, cause=said, mend="connect once by hand with ssh, and compare the fingerprint that it shows")
        if self._program.could_not_run:
            return ConfigError(what, cause=said, mend="run that program by hand: it has to end in SSH's greeting")
        return Transient(what, cause=said or str(error) or type(error).__name__)

    def _watch(self) -> None:
        """The pulse. paramiko's own keepalive asks for no answer, so that it never learns of a black hole."""
        interval = self.way.interval
        question: threading.Thread | None = None
        while not self._done.wait(interval / 6) and self.transport.is_active():
            quiet = time.monotonic() - self._heard[-1].at
            if quiet > interval * 8 / 3:
                self.lost = f"nothing was heard for {quiet:.0f} s"
                self.transport.close()
            elif quiet >= interval and (question is None or not question.is_alive()):
                question = threading.Thread(target=self._greet, name=f"question-{self.way.name}", daemon=True)
                question.start()
        if question is not None:
            question.join(2.0)

    def _greet(self) -> None:
        """Ask for a sign of life: what matters is that something is heard."""
        with contextlib.suppress(PipelineError):
            self.ask("keepalive@openssh.com")


def shut(channel: paramiko.Channel) -> None:
    """Close it, whether or not there is still a way to say so."""
    with contextlib.suppress(*LOST):
        channel.close()


def _dial(hop: Hop) -> socket.socket:
    source = (hop.bind, 0) if hop.bind else None
    if not hop.family:
        return socket.create_connection((hop.host, hop.port), timeout=CONNECT, source_address=source)
    addresses = [(str(info[4][0]), hop.port) for info in socket.getaddrinfo(hop.host, hop.port, hop.family, socket.SOCK_STREAM)]
    for address in addresses[:-1]:
        with contextlib.suppress(OSError):
            return socket.create_connection(address, timeout=CONNECT, source_address=source)
    return socket.create_connection(addresses[-1], timeout=CONNECT, source_address=source)


class _Transport(Ordered):
    """One that asks for the kinds of host keys in `asked`; paramiko's own order puts every certificate last."""

    asked: tuple[str, ...] = ()

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        return self.asked

    def start_client(self, event: threading.Event | None = None, timeout: float | None = None) -> None:
        super().start_client(event, timeout)
        if not self.initial_kex_done:
            raise paramiko.SSHException("the key exchange did not end in time")


class _Program:
    """A ProxyCommand, run by the user's shell as ssh does; `line` leads to its stdin and stdout. It has no terminal to ask anybody at."""

    def __init__(self, command: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # it is open for as long as the program runs
        self.line, theirs = socket.socketpair()
        with theirs:
            shell = os.environ.get("SHELL") or "/bin/sh"
            env = os.environ | {"SSH_ASKPASS_REQUIRE": "never"}
            argv = (shell, "-c", f"exec {command}")
            self._child: Child[bytes] = Child(argv, stdin=theirs, stdout=theirs, stderr=self._errors, env=env)

    def said(self) -> str:
        """Return the last lines of what it complained of."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(1.0)
        self._errors.seek(0)
        return "\n".join(self._errors.read().decode(errors="replace").strip().splitlines()[-5:])

    @property
    def could_not_run(self) -> bool:
        return self._child.returncode in (126, 127)  # a shell's own codes

    def close(self) -> None:
        """End it, and what it has started."""
        self.line.close()
        for word in (signal.SIGTERM, signal.SIGKILL):
            if self._child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._child.pid, word)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._child.wait(2.0)
        self._errors.close()


class _Heard:
    """A socket that notes when it last brought something."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.at = time.monotonic()

    def recv(self, count: int) -> bytes:
        data: bytes = self._sock.recv(count)
        self.at = time.monotonic()
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)
