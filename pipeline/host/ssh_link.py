"""One SSH connection: Fabric sets it up, its holes closed; a pulse notices when the other side has fallen silent."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import fabric
import paramiko

from pipeline.errors import AuthError, ConfigError, PipelineError, Transient
from pipeline.host.ssh_keys import SYSTEM_FILE, USER_FILE, KnownHosts
from pipeline.host.ssh_order import Ordered

ADDRESS = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|[0-9A-Fa-f:]+(?:%[A-Za-z0-9]+)?)\Z")
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\Z")
CONNECT = 10.0  # seconds for a TCP connection
GREETING = 15.0  # seconds for the banner, the key exchange, the login: each
WINDOW = 16 << 20  # bytes that may be under way in a channel: the throughput at 100 ms is 160 MB/s at most
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
LOST = (paramiko.SSHException, OSError, EOFError)

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what it has to say is in our errors, not in between


@dataclass(frozen=True)
class Way:
    """How to reach one machine; `interval` is how long (seconds) it may be silent before it is asked for a sign of life."""

    name: str
    address: str
    port: int = 22
    user: str = "root"
    identity_file: str = ""
    known_hosts: str = ""
    accept_new: bool = False
    interval: float = 15.0

    def __post_init__(self) -> None:
        if not ADDRESS.match(self.address):
            raise ConfigError(f"host {self.name}: {self.address!r} is not a host name or address")
        if not USER.match(self.user):
            raise ConfigError(f"host {self.name}: {self.user!r} is not a user name")
        if not 0 < self.port < 65536:
            raise ConfigError(f"host {self.name}: {self.port} is not a port")
        if self.identity_file:
            _check_private(self.name, Path(os.path.expanduser(self.identity_file)))  # noqa: PTH111  # pathlib raises if there is no home


def _check_private(name: str, key: Path) -> None:
    """Raise ConfigError if the private key is none, or others may read it: OpenSSH does not take such a key either."""
    if not key.is_file():
        raise ConfigError(f"host {name}: identity file {key} does not exist")
    state = key.stat()
    if state.st_uid == os.geteuid() and state.st_mode & 0o077:
        raise ConfigError(f"host {name}: identity file {key} can be read by others", mend=f"chmod 600 {key}")


class Link:
    """An open connection. `transport` carries the channels; after `lost` is set it is of no use any more."""

    def __init__(self, way: Way) -> None:
        """Connect. Raises Transient, AuthError, HostKeyError or ConfigError."""
        self.way = way
        self.lost = ""
        self._heard: list[_Heard] = []
        try:
            self._connection: Any = self._prepare()
            for hop in self._hops():
                self._secure(hop)
        except (ValueError, *LOST) as error:
            mend = "mend ~/.ssh/config; ssh -G shows what it says of this host"
            raise ConfigError(f"{way.name}: the SSH settings for {way.address} cannot be used", cause=str(error), mend=mend) from error
        self.place = f"{self._connection.host}:{self._connection.port}"
        with self._told():
            self._connection.open()
        self.transport: paramiko.Transport = self._connection.transport
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
        self._connection.close()
        self.transport.join(2.0)
        self._pulse.join(2.0)

    def _prepare(self) -> Any:
        way = self.way
        config = fabric.Config(lazy=True)  # no fabric.yml from wherever this runs: it could hold a password or another gateway
        if not (way.identity_file or way.known_hosts):
            config.load_ssh_config()
        # 22 is what nobody said, so that a port in the user's ssh_config counts
        connection = fabric.Connection(way.address, user=way.user, port=None if way.port == 22 else way.port, config=config)
        files = [way.known_hosts or connection.ssh_config.get("userknownhostsfile", USER_FILE).split()[0]]
        if not way.known_hosts:
            files.append(SYSTEM_FILE)
        self._keys = KnownHosts(way.name, [Path(file).expanduser() for file in files], way.accept_new)
        if way.identity_file:
            key = str(Path(way.identity_file).expanduser())
            connection.connect_kwargs.update(key_filename=[key], look_for_keys=False, allow_agent=False)
        return connection

    def _hops(self) -> Iterator[Any]:
        """The connection, and those it goes through."""
        hop = self._connection
        while isinstance(hop, fabric.Connection):
            yield hop
            hop = hop.gateway

    def _secure(self, connection: Any) -> None:
        self._keys.load(connection.client)
        connection.connect_timeout = int(CONNECT)
        connection.connect_kwargs.update(
            banner_timeout=GREETING, auth_timeout=GREETING, channel_timeout=GREETING, transport_factory=self._transport
        )

    def _transport(self, sock: Any, **options: Any) -> paramiko.Transport:
        if isinstance(sock, socket.socket):
            # without it each small packet waits up to 40 ms for the acknowledgement of the one before
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        heard = _Heard(sock)
        self._heard.append(heard)
        options["disabled_algorithms"] = {"keys": ["ssh-rsa", "ssh-dss"], "pubkeys": ["ssh-rsa", "ssh-dss"]}
        transport = Ordered(cast(socket.socket, heard), default_window_size=WINDOW, **options)
        security = transport.get_security_options()
        security.ciphers = tuple(cipher for cipher in CIPHERS if cipher in security.ciphers)
        return transport

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Failures of connecting, in this project's own terms."""
        way, place = self.way, self.place
        try:
            try:
                if self._connection.gateway is None:
                    address = (self._connection.host, self._connection.port)
                    self._connection.connect_kwargs["sock"] = socket.create_connection(address, timeout=CONNECT)
                yield
            except BaseException:
                self._connection.client.close()
                for heard in self._heard:
                    heard.close()
                if sock := self._connection.connect_kwargs.get("sock"):
                    sock.close()
                raise
        except PipelineError:
            raise
        except paramiko.BadHostKeyException as error:
            hops = [hop for hop in self._hops() if hop.host == error.hostname]
            raise self._keys.changed(_entry(hops[0]), error) from error
        except socket.gaierror as error:
            if error.errno == socket.EAI_NONAME and not self._keys.knows(self._connection.client, _entry(self._connection)):
                mend = "mend the address in the site file"
                raise ConfigError(f"{way.name}: there is no host {place}", cause=str(error), mend=mend) from error
            raise Transient(f"{way.name}: the name of {place} does not resolve", cause=str(error)) from error
        except paramiko.PasswordRequiredException as error:
            raise AuthError(
                f"{way.name}: the key for {place} is locked by a passphrase", cause=str(error), mend="unlock it first: ssh-add KEY"
            ) from error
        except paramiko.AuthenticationException as error:
            if "imeout" in str(error) or "shut down" in str(error):
                raise Transient(f"{way.name} ({place}): the SSH login got no answer", cause=str(error)) from error
            raise self._refused(error) from error
        except LOST as error:
            if "No authentication methods" in str(error):
                raise self._refused(error) from error
            raise Transient(f"{way.name}: no SSH connection to {place}", cause=str(error) or type(error).__name__) from error

    def _refused(self, error: Exception) -> AuthError:
        tried = self._connection.connect_kwargs.get("key_filename") or ()
        key = self.way.identity_file or ", ".join(tried) or "of the agent or in ~/.ssh"
        user, host = self._connection.user, self._connection.host
        return AuthError(
            f"{self.way.name}: {user}@{self.place} refused the login with key {key}",
            cause=str(error),
            mend=f"add the key's .pub line to ~{user}/.ssh/authorized_keys on {host}, or name another key",
        )

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


def _entry(connection: Any) -> str:
    """The machine as known_hosts names it."""
    return connection.host if connection.port == 22 else f"[{connection.host}]:{connection.port}"


def shut(channel: paramiko.Channel) -> None:
    """Close it, whether or not there is still a way to say so."""
    with contextlib.suppress(*LOST):
        channel.close()


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
