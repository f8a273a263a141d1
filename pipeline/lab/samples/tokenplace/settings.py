"""What the environment tells the relay, and what is wrong with it."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field

ENVIRONMENTS = ("development", "testing", "staging", "production")
PUBLIC = ("staging", "production")  # others may be asked under any name
HOST = re.compile(r"[0-9A-Za-z]([0-9A-Za-z.:-]{0,251}[0-9A-Za-z])?")
KEY = re.compile(r"[0-9A-Za-z+/=_-]{8,1024}")  # a node's public key in base64
TOKEN = re.compile(r"[!-~]{8,1024}")
TOKEN_HEADER = "X-Relay-Server-Token"  # noqa: S105  # where a node shows the token
LONGEST = 300.0


class Wrong(Exception):
    """A setting or a port is not as it has to be; the text says what to do."""


@dataclass(frozen=True)
class Settings:
    """What the environment says. `ping` is how often a node is to send a heartbeat, `forget` when one is no longer known, in seconds;
    `token` is what nodes have to show, "" for nothing; `upstream` the address of a server that is no node, "" for none."""

    host: str
    port: int
    environment: str
    public_url: str
    drain: float
    ping: float
    forget: float
    version: str
    commit: str
    upstream: str = ""
    token: str = field(default="", repr=False)


def settings(env: Mapping[str, str]) -> Settings:
    """The settings in `env`. Raises Wrong naming the variable."""
    host = env.get("RELAY_HOST") or "0.0.0.0"  # noqa: S104  # a container's own network
    if not HOST.fullmatch(host):
        raise Wrong(f"RELAY_HOST is {host!r}: an address to listen on is wanted, such as 0.0.0.0")
    port = env.get("RELAY_PORT") or "5010"
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise Wrong(f"RELAY_PORT is {port!r}: a port from 1 to 65535 is wanted")
    environment = environment_of(env)
    ping, forget = _seconds(env, "TOKENPLACE_RELAY_PING_SECONDS", 10), _seconds(env, "TOKENPLACE_RELAY_FORGET_SECONDS", 60)
    if not 0 < ping < forget:
        raise Wrong(
            f"TOKENPLACE_RELAY_PING_SECONDS is {ping:g}: more than 0 is wanted, and less than TOKENPLACE_RELAY_FORGET_SECONDS ({forget:g})"
        )
    return Settings(
        host, int(port), environment, _public_url(env, environment),
        _seconds(env, "RELAY_DRAIN_SECONDS", 3), ping, forget, env.get("RELAY_VERSION") or "unknown", env.get("RELAY_COMMIT") or "unknown",
        _address(env, "TOKENPLACE_RELAY_UPSTREAM_URL", such_as="http://gpu-server:3000"), token_of(env),
    )  # fmt: skip


def named(env: Mapping[str, str], *names: str) -> tuple[str, str]:
    """The first of these variables that is set, and what it is; the first name and "" if none is."""
    return next(((name, env[name]) for name in names if env.get(name)), (names[0], ""))


def environment_of(env: Mapping[str, str]) -> str:
    """Where this runs. Raises Wrong."""
    environment = env.get("TOKEN_PLACE_ENV") or "development"
    if environment not in ENVIRONMENTS:
        raise Wrong(f"TOKEN_PLACE_ENV is {environment!r}: one of {', '.join(ENVIRONMENTS)} is wanted")
    return environment


def token_of(env: Mapping[str, str]) -> str:
    """The token that nodes show, "" for none. Raises Wrong, which does not show it."""
    token = env.get("TOKENPLACE_RELAY_SERVER_TOKEN", "").strip()
    if token and not TOKEN.fullmatch(token):
        raise Wrong("TOKENPLACE_RELAY_SERVER_TOKEN is not one word of 8 to 1024 characters")
    return token


def _public_url(env: Mapping[str, str], environment: str) -> str:
    found = _address(env, "TOKENPLACE_RELAY_PUBLIC_URL", "RELAY_PUBLIC_URL", such_as="https://staging.token.place")
    if not found and environment in PUBLIC:
        raise Wrong(f"TOKENPLACE_RELAY_PUBLIC_URL is not set: {environment} has to say under which address it is reached")
    return found


def _address(env: Mapping[str, str], *names: str, such_as: str) -> str:
    name, text = named(env, *names)
    if text and not is_address(text):
        raise Wrong(f"{name} is {text!r}: an address such as {such_as} is wanted, with no path")
    return text.rstrip("/")


def is_address(text: str) -> bool:
    """Whether `text` is scheme, host and perhaps port, and nothing more."""
    try:
        parts = urllib.parse.urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and parts.username is None
    except ValueError:
        return False
    return bool(usable) and text.rstrip("/") == f"{parts.scheme}://{parts.netloc}"


def _seconds(env: Mapping[str, str], name: str, usual: float) -> float:
    text = env.get(name) or str(usual)
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= LONGEST:
        raise Wrong(f"{name} is {text!r}: a number of seconds from 0 to {LONGEST:.0f} is wanted")
    return found
