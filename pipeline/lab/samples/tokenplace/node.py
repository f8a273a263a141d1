"""A compute node: it registers with the relay, sends its heartbeats and one first answer, until it is stopped."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .settings import KEY, TOKEN_HEADER, Wrong, environment_of, is_address, named, token_of

REQUEST = 5.0  # seconds for one request
FIRST_PAUSE, LAST_PAUSE = 0.5, 10.0  # seconds before the relay is asked again, while it does not answer


@dataclass(frozen=True)
class Settings:
    """Where the relay is, the public key that names this node, where it runs, and the token that it shows the relay."""

    relay: str
    key: str
    environment: str = "development"
    token: str = field(default="", repr=False)


def settings(env: Mapping[str, str], name: str) -> Settings:
    """The settings in `env`; without a key the machine's `name` gives one. Raises Wrong naming the variable."""
    relay = _relay(env)
    key = env.get("TOKENPLACE_NODE_KEY") or base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()
    if not KEY.fullmatch(key):
        raise Wrong("TOKENPLACE_NODE_KEY is not a public key: 8 to 1024 characters of base64 are wanted")
    return Settings(relay, key, environment_of(env), token_of(env))


def _relay(env: Mapping[str, str]) -> str:
    """The relay's address. A port of its own is asked for only if the address has none: beside a Service `tokenplace-relay` Kubernetes
    itself sets TOKENPLACE_RELAY_PORT, to an address."""
    name, relay = named(env, "TOKENPLACE_RELAY_URL", "RELAY_URL")
    relay = relay.rstrip("/")
    if not is_address(relay):
        raise Wrong(f"{name} is {relay!r}: the relay's address is wanted, such as http://relay:5010")
    name, port = named(env, "TOKENPLACE_RELAY_PORT", "RELAY_PORT")
    if not port or urllib.parse.urlsplit(relay).port:
        return relay
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise Wrong(f"{name} is {port!r}: a port from 1 to 65535 is wanted, or one in the relay's address")
    return f"{relay}:{port}"


def send(found: Settings, path: str, **given: str) -> dict[str, Any]:
    """What the relay answers to a POST. Raises OSError or ValueError where it gives no such answer."""
    body = json.dumps({"server_public_key": found.key, **given}).encode()
    headers = {"Content-Type": "application/json"} | ({TOKEN_HEADER: found.token} if found.token else {})
    request = urllib.request.Request(found.relay + path, body, headers)  # noqa: S310  # http(s), see above
    with urllib.request.urlopen(request, timeout=REQUEST) as answer:  # noqa: S310
        page = json.load(answer)
    if not isinstance(page, dict):
        raise ValueError("the relay's answer is no JSON object")  # noqa: TRY004  # a peer's answer, not our argument
    return page


def say(text: str) -> None:
    """One line of the log."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Send heartbeats until SIGTERM or SIGINT. 0 after that, 2 for a wrong setting."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: sys.exit(0))  # the relay forgets who is silent: there is nothing to say at the end
    try:
        found = settings(os.environ, socket.gethostname())
    except Wrong as error:
        say(f"node: {error}")
        return 2
    say(f"node {found.key[:8]} ({found.environment}): the relay is {found.relay}")
    wait, pause, known = 0.0, FIRST_PAUSE, False
    while True:
        time.sleep(wait)
        try:
            wait = float(send(found, "/sink")["next_ping_in_x_seconds"])
            if not known:
                say(f"node {found.key[:8]}: registered with {found.relay}, a heartbeat every {wait:g} s")
                send(found, "/source", response="ready")
            known, pause = True, FIRST_PAUSE
        except (OSError, ValueError, KeyError, TypeError) as error:
            say(f"node {found.key[:8]}: {found.relay} does not answer as a relay: {error}; again in {pause:g} s")
            known, wait, pause = False, pause, min(LAST_PAUSE, pause * 2)


if __name__ == "__main__":
    sys.exit(main())
