"""What OpenSSH would do with a machine: its own reading of its files (`ssh -G`), for each machine on the way to it.

Without an `ssh` on this machine, or if it does not run for this user, paramiko reads ~/.ssh/config, which passes over Include and refuses
Match final; `inv doctor` says so.
Sources: ssh_config(5), ssh(1)
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko

from pipeline import environment
from pipeline.closed import is_mounted
from pipeline.errors import ConfigError

ADDRESS = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|[0-9A-Fa-f:]+(?:%[A-Za-z0-9]+)?)\Z")
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\Z")
JUMP = re.compile(r"(?:ssh://)?(?:(?P<user>[^/]+)@)?(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:/@]+))(?::(?P<port>\d+))?/?\Z")
MACHINES = 8  # on one way: more is a loop
SLOW = 30.0  # seconds: `Match exec` runs programs, CanonicalizeHostname asks the resolver
MEND = "mend ~/.ssh/config: ssh -G {} shows what it says of this host"
SYSTEM = Path("/etc/ssh/ssh_config")
KEYS = tuple(f"~/.ssh/id_{kind}" for kind in ("rsa", "ecdsa", "ecdsa_sk", "ed25519", "ed25519_sk"))
KNOWN = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
KNOWN_TO_ALL = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
APART = {
    "pkcs11provider": "PKCS11Provider {0}: a key on a card is used through an agent: ssh-add -s {0}",
    "knownhostscommand": "KnownHostsCommand {0} is not asked: what it prints belongs into a known_hosts file",
}
FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
Settings = Mapping[str, list[str]]


@dataclass(frozen=True)
class Way:
    """How to reach one machine: as `user`, if one is said, else as ~/.ssh/config has it, else as root. `interval` is how long (seconds) it
    may be silent before it is asked for a sign of life."""

    name: str
    address: str
    port: int = 22
    user: str = ""
    identity_file: str = ""
    known_hosts: str = ""
    accept_new: bool = False
    interval: float = 15.0

    def __post_init__(self) -> None:
        if not ADDRESS.match(self.address):
            raise ConfigError(f"host {self.name}: {self.address!r} is not a host name or address")
        if self.user and not USER.match(self.user):
            raise ConfigError(f"host {self.name}: {self.user!r} is not a user name")
        if not 0 < self.port < 65536:
            raise ConfigError(f"host {self.name}: {self.port} is not a port")
        if self.identity_file:
            _check_private(self.name, Path(os.path.expanduser(self.identity_file)))  # noqa: PTH111  # pathlib raises if there is no home

    @property
    def alone(self) -> bool:
        """Whether the site says enough for the user's ~/.ssh/config to be left out."""
        return bool(self.identity_file or self.known_hosts)


@dataclass(frozen=True)
class Hop:
    """One machine on the way, and what OpenSSH would do with it.

    `names` are those that known_hosts may have for it, the first is the one that counts; `known` the files, the first is where a new key
    belongs. `keys` are identity files (private or public), `only` says that the agent's other keys are not offered, `agent` is its socket.
    `command` is a program that stands in the place of the connection. `lax` says that the user's configuration would take any key;
    `apart` are the settings that only ssh itself follows, with what to do.
    """

    host: str
    port: int
    user: str
    names: tuple[str, ...]
    known: tuple[Path, ...]
    keys: tuple[Path, ...] = ()
    certificates: tuple[Path, ...] = ()
    only: bool = False
    agent: str = ""
    command: str = ""
    family: int = 0
    bind: str = ""
    accept_new: bool = False
    lax: bool = False
    apart: tuple[str, ...] = ()
    revoked: Path | None = None

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class _Asked:
    """A machine as it is named: by the site, or by the ProxyJump of another. `jump` are the machines before it, if that is said, and
    `usual` the user if nobody says one: this machine's own, unless it is said."""

    address: str
    port: int = 0
    user: str = ""
    jump: str = ""
    usual: str = ""


def route(way: Way) -> tuple[Hop, ...]:
    """Return the machines on the way, the last is the one meant. Raise ConfigError if OpenSSH refuses its files, or they go in a circle."""
    me = environment.user()
    asked: _Asked | None = _Asked(way.address, 0 if way.port == 22 else way.port, way.user, usual="root")  # 22 is what nobody said
    found: list[Hop] = []
    while asked is not None:
        if len(found) == MACHINES:
            raise ConfigError(
                f"{way.name}: the way to {way.address} goes over {found[0].host}, and in a circle",
                cause=" <- ".join(hop.place for hop in found),
                mend=MEND.format(way.address) + " (ProxyJump none, for the machine in the middle)",
            )
        settings = {} if way.alone else _read(way, asked)
        found.insert(0, _hop(way, asked, settings, me))
        asked = _before(way, asked, _one(settings, "proxyjump"))
    return tuple(found)


def _before(way: Way, asked: _Asked, jump: str) -> _Asked | None:
    """Return the machine that `asked` is reached over, None if it is reached straight."""
    if jump.lower() in ("", "none"):
        return None
    first, _, last = jump.rpartition(",")
    parts = JUMP.match(last.strip())
    host = (parts["six"] or parts["host"]) if parts else ""
    if parts is None or not ADDRESS.match(host) or not (parts["user"] is None or USER.match(parts["user"])):
        raise ConfigError(f"{way.name}: ProxyJump {jump!r} names no machine", mend=MEND.format(asked.address))
    return _Asked(host, int(parts["port"] or 0), parts["user"] or "", first)


def _read(way: Way, asked: _Asked) -> Settings:
    """Return what OpenSSH's files say of a machine: each setting, in small letters, with its values in their order."""
    program = shutil.which("ssh")
    if program is None or not environment.home():  # ssh runs for nobody who is not in the password file
        return _read_without_ssh(way, asked)
    words = [program, "-G"]
    for option, value in (("-l", asked.user), ("-p", str(asked.port or "")), ("-J", asked.jump)):
        words += [option, value] if value else []
    try:
        with _moved_home() as file:
            words += ["-F", file] if file else []
            done = subprocess.run([*words, "--", asked.address], stdin=subprocess.DEVNULL, capture_output=True, timeout=SLOW, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{way.name}: ssh does not read its configuration", cause=str(error), mend=MEND.format(asked.address)) from error
    if done.returncode:
        cause = done.stderr.decode(errors="replace").strip()
        what = f"{way.name}: the SSH settings for {asked.address} cannot be used"
        raise ConfigError(what, cause=cause, mend=MEND.format(asked.address))
    found: dict[str, list[str]] = {}
    for line in os.fsdecode(done.stdout).splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name.lower(), []).append(value)
    return found


@contextlib.contextmanager
def _moved_home() -> Iterator[str]:
    """Give a configuration for OpenSSH to read if $HOME is not the home that it looks in, "" if it is.

    OpenSSH takes the home from the password file; where HOME names another (containers, CI), that one is what the user sees.
    """
    home = Path.home()
    if home == Path(environment.home()):
        yield ""
        return
    try:
        text = (home / ".ssh" / "config").read_text(errors="surrogateescape")
    except OSError:
        text = ""
    lines = []
    for line in text.splitlines():
        moved = re.sub(r"(?<![^\s\"=,])~/", f"{home}/", line)
        if re.match(r"\s*include\b", line, re.IGNORECASE):
            head, *files = re.split(r"(?:\s*=\s*|\s+)", moved.strip())
            moved = " ".join([head, *(name if name.strip('"')[:1] in ("/", "") else f"{home}/.ssh/{name}" for name in files)])
        lines.append(moved)
    more = ["Match all", f"Include {SYSTEM}"] if SYSTEM.exists() else []
    with tempfile.NamedTemporaryFile("w", errors="surrogateescape") as file:  # more than once read, so no pipe
        file.write("\n".join([*lines, *more, ""]))
        file.flush()
        yield file.name


def _read_without_ssh(way: Way, asked: _Asked) -> Settings:
    found: dict[str, list[str]] = {"proxyjump": [asked.jump]} if asked.jump else {}
    file = Path("~/.ssh/config").expanduser()
    try:
        read = paramiko.SSHConfig.from_path(str(file)).lookup(asked.address) if file.exists() else {}
    except (OSError, ValueError, KeyError, paramiko.SSHException) as error:
        what = f"{way.name}: {file} cannot be read without OpenSSH"
        mend = "apt-get install openssh-client: its own ssh then reads the file"
        raise ConfigError(what, cause=str(error), mend=mend) from error
    for name, value in read.items():
        found.setdefault(name, list(value) if name in ("identityfile", "certificatefile") else [str(value)])
    return found


def _hop(way: Way, asked: _Asked, settings: Settings, me: str) -> Hop:
    host = _one(settings, "hostname") or asked.address
    port = asked.port or int(_one(settings, "port") or 22)
    user = asked.user or _one(settings, "user")
    if not user or (asked.usual and user == me):  # ssh -G gives this machine's user if nobody says one
        user = asked.user or asked.usual or me
    alias = _one(settings, "hostkeyalias")
    tokens = {
        "%": "%", "h": host, "n": asked.address, "p": str(port), "r": user, "u": me, "d": str(Path.home()),
        "i": str(os.geteuid()), "k": alias or host, "l": socket.gethostname(), "L": socket.gethostname().partition(".")[0],
    }  # fmt: skip

    def paths(name: str, usual: Sequence[str] = ()) -> tuple[Path, ...]:
        values = [part for value in settings.get(name) or usual for part in re.split(r" (?=[/~])", value)]
        return tuple(_path(value, tokens) for value in values if value.lower() != "none")

    known = paths("userknownhostsfile", KNOWN) + paths("globalknownhostsfile", KNOWN_TO_ALL)
    revoked = paths("revokedhostkeys")
    strict = _one(settings, "stricthostkeychecking").lower()
    return Hop(
        host=host,
        port=port,
        user=user,
        names=(alias,) if alias else (host.lower(),) if port == 22 else (f"[{host.lower()}]:{port}", host.lower()),
        known=(_path(way.known_hosts, {}),) if way.known_hosts else known or (_path(KNOWN[0], {}),),
        keys=(_path(way.identity_file, {}),) if way.identity_file else paths("identityfile", KEYS),
        certificates=paths("certificatefile"),
        only=bool(way.identity_file) or _one(settings, "identitiesonly").lower() == "yes",
        agent=_agent(_one(settings, "identityagent"), tokens),
        command=re.sub(r"%(.)", lambda found: tokens.get(found[1], found[0]), _one(settings, "proxycommand")),
        family=FAMILIES.get(_one(settings, "addressfamily").lower(), 0),
        bind=_one(settings, "bindaddress"),
        accept_new=way.accept_new or strict == "accept-new",
        lax=strict in ("no", "off", "false"),
        apart=tuple(told.format(value) for name, told in APART.items() if (value := _one(settings, name)).lower() not in ("", "none")),
        revoked=revoked[0] if revoked else None,
    )


def _agent(named: str, tokens: Mapping[str, str]) -> str:
    """Return the socket of the agent, "" if there is to be none."""
    if named.lower() == "none":
        return ""
    if named in ("", "SSH_AUTH_SOCK") or (named.startswith("$") and not named.startswith("${")):
        return os.environ.get(named.lstrip("$") or "SSH_AUTH_SOCK", "")
    return str(_path(named, tokens))


def _path(text: str, tokens: Mapping[str, str]) -> Path:
    """Return the path that `text` stands for, with its tokens and variables; a default of the home that ssh looks in is one of $HOME."""
    text = re.sub(r"\$\{(\w+)\}", lambda found: os.environ.get(found[1], found[0]), text.strip('"'))
    text = re.sub(r"%(.)", lambda found: tokens.get(found[1], found[0]), text)
    own = f"{environment.home()}/.ssh/"
    if text.startswith(own):
        text = f"~/.ssh/{text.removeprefix(own)}"
    return Path(os.path.expanduser(text))  # noqa: PTH111  # pathlib raises if there is no home


def _one(settings: Settings, name: str) -> str:
    return (settings.get(name) or [""])[0]


def _check_private(name: str, key: Path) -> None:
    """Raise ConfigError if the private key is none, or others may read it: OpenSSH does not take such a key either."""
    if not key.is_file():
        raise ConfigError(f"host {name}: identity file {key} does not exist")
    state = key.stat()
    if state.st_uid == os.geteuid() and state.st_mode & 0o077:
        mounted = "mount it with defaultMode: 0400 (Kubernetes) or mode: 0400 (Compose): ssh and git take no other"
        mend = mounted if is_mounted(key) else f"chmod 600 {key}"
        raise ConfigError(f"host {name}: identity file {key} can be read by others", mend=mend)
