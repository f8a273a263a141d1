"""What the environment tells the relay, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOST = re.compile(r"[0-9A-Za-z]([0-9A-Za-z.:-]{0,251}[0-9A-Za-z])?")
LONGEST_DRAIN = 300.0


class Wrong(Exception):
    """A setting, a port or git is not as it has to be; the text says what to do."""


@dataclass(frozen=True)
class Settings:
    """What the environment says."""

    host: str
    port: int
    git_port: int
    data: Path
    drain: float
    version: str
    commit: str


def settings(env: Mapping[str, str]) -> Settings:
    """The settings in `env`. Raises Wrong naming the variable."""
    host = env.get("RELAY_HOST") or "0.0.0.0"  # noqa: S104  # a container's own network
    if not HOST.fullmatch(host):
        raise Wrong(f"RELAY_HOST is {host!r}: an address to listen on is wanted, such as 0.0.0.0")
    port, git_port = _port(env, "RELAY_PORT", 8088), _port(env, "RELAY_GIT_PORT", 9418)
    if port == git_port:
        raise Wrong(f"RELAY_PORT and RELAY_GIT_PORT are both {port}: one port serves one protocol")
    data = Path(env.get("RELAY_DATA") or "/var/lib/relay")
    if not data.is_absolute():
        raise Wrong(f"RELAY_DATA is {str(data)!r}: a folder named from the root is wanted")
    text = env.get("RELAY_DRAIN_SECONDS") or "3"
    try:
        drain = float(text)
    except ValueError:
        drain = -1.0
    if not 0 <= drain <= LONGEST_DRAIN:
        raise Wrong(f"RELAY_DRAIN_SECONDS is {text!r}: a number of seconds from 0 to {LONGEST_DRAIN:.0f} is wanted")
    return Settings(host, port, git_port, data, drain, env.get("RELAY_VERSION") or "unknown", env.get("RELAY_COMMIT") or "unknown")


def _port(env: Mapping[str, str], name: str, usual: int) -> int:
    text = env.get(name) or str(usual)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise Wrong(f"{name} is {text!r}: a port from 1 to 65535 is wanted")
    return int(text)
