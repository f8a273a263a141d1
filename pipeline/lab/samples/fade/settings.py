"""What the environment tells a node and the server, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

HOST = re.compile(r"[0-9A-Za-z]([0-9A-Za-z.:-]{0,251}[0-9A-Za-z])?")
NAME = re.compile(r"[0-9a-z]([0-9a-z-]{0,61}[0-9a-z])?")
PEER = re.compile(r"(?:http://)?(\[[0-9a-f:]+\]|[0-9A-Za-z][0-9A-Za-z.-]{0,252}):([0-9]{1,5})/?")
MOST_PEERS = 15
DAY = 86_400


class Wrong(Exception):
    """A setting or a port is not as it has to be; the text says what to do."""


@dataclass(frozen=True)
class Common:
    """What both programs are told: where they listen, how long they still answer when they are ended (seconds), and what they are."""

    host: str
    port: int
    drain: float
    version: str
    commit: str


@dataclass(frozen=True)
class Node:
    """One node of the cluster. Times are in seconds: `sync` between two comparisons with a peer, `write` for the copies of one write,
    `join` until a node goes on without the peers that it cannot reach. `entries` and `space` (bytes) bound what is kept."""

    common: Common
    name: str
    gossip_port: int
    peers: tuple[tuple[str, int], ...]
    usual_ttl: int
    longest_ttl: int
    sync: float
    write: float
    join: float
    entries: int
    space: int


@dataclass(frozen=True)
class Server:
    """The web server: the nodes it asks in turn, how often it looks how they are, and how long a message lives (seconds)."""

    common: Common
    nodes: tuple[tuple[str, int], ...]
    probe: float
    usual_ttl: int
    longest_ttl: int


def node(env: Mapping[str, str], machine: str) -> Node:
    """A node's settings in `env`; without a name it has the machine's. Raises Wrong naming the variable."""
    common = _common(env, "REPRAM", 8080)
    name = env.get("REPRAM_NAME") or machine.lower()
    if not NAME.fullmatch(name):
        raise Wrong(f"REPRAM_NAME is {name!r}: lower-case letters, digits and '-' are wanted, as the name of a pod")
    gossip = _whole(env, "REPRAM_GOSSIP_PORT", 9090, 1, 65535)
    if gossip == common.port:
        raise Wrong(f"REPRAM_PORT and REPRAM_GOSSIP_PORT are both {gossip}: one is for clients, the other for nodes alone")
    longest = _whole(env, "REPRAM_LONGEST_TTL", DAY, 1, 30 * DAY)
    return Node(
        common, name, gossip, _peers(env, "REPRAM_PEERS"),
        _whole(env, "REPRAM_USUAL_TTL", min(3600, longest), 1, longest), longest,
        _seconds(env, "REPRAM_SYNC_SECONDS", 1, 0.02), _seconds(env, "REPRAM_WRITE_SECONDS", 2, 0.1),
        _seconds(env, "REPRAM_JOIN_SECONDS", 30),
        _whole(env, "REPRAM_ENTRIES", 10_000, 1, 200_000), _whole(env, "REPRAM_SPACE", 32 << 20, 1 << 16, 1 << 34),
    )  # fmt: skip


def server(env: Mapping[str, str]) -> Server:
    """The web server's settings in `env`. Raises Wrong naming the variable."""
    nodes = _peers(env, "REPRAM_NODES")
    if not nodes:
        raise Wrong(
            "REPRAM_NODES is not set: the nodes' addresses are wanted, as http://repram-node-0.repram-nodes:8080, with commas between"
        )
    longest = _whole(env, "FADE_LONGEST_TTL", DAY, 1, 30 * DAY)
    return Server(
        _common(env, "FADE", 3000), nodes, _seconds(env, "FADE_PROBE_SECONDS", 1, 0.02),
        _whole(env, "FADE_USUAL_TTL", min(600, longest), 1, longest), longest,
    )  # fmt: skip


def _common(env: Mapping[str, str], prefix: str, port: int) -> Common:
    host = env.get(f"{prefix}_HOST") or "0.0.0.0"  # noqa: S104  # a container's own network
    if not HOST.fullmatch(host):
        raise Wrong(f"{prefix}_HOST is {host!r}: an address to listen on is wanted, such as 0.0.0.0")
    drain = _seconds(env, f"{prefix}_DRAIN_SECONDS", 3)
    return Common(
        host,
        _whole(env, f"{prefix}_PORT", port, 1, 65535),
        drain,
        env.get("FADE_VERSION") or "unknown",
        env.get("FADE_COMMIT") or "unknown",
    )


def _peers(env: Mapping[str, str], name: str) -> tuple[tuple[str, int], ...]:
    found = []
    for text in filter(None, (each.strip() for each in env.get(name, "").split(","))):
        parts = PEER.fullmatch(text)
        if not parts or not 0 < int(parts[2]) < 65536:
            raise Wrong(f"{name} has {text!r} in it: HOST:PORT is wanted, such as repram-node-0.repram-nodes:9090")
        found.append((parts[1].strip("[]"), int(parts[2])))
    if len(set(found)) < len(found):
        raise Wrong(f"{name} names a node twice: each counts for one copy")
    if len(found) > MOST_PEERS:
        raise Wrong(f"{name} names {len(found)} nodes: every node keeps everything, so at most {MOST_PEERS} make sense")
    return tuple(found)


def _whole(env: Mapping[str, str], name: str, usual: int, least: int, most: int) -> int:
    text = env.get(name) or str(usual)
    if not (text.isascii() and text.isdigit() and len(text) < 16 and least <= int(text) <= most):
        raise Wrong(f"{name} is {text!r}: a whole number from {least} to {most} is wanted")
    return int(text)


def _seconds(env: Mapping[str, str], name: str, usual: float, least: float = 0.0) -> float:
    text = env.get(name) or str(usual)
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not least <= found <= 300:
        raise Wrong(f"{name} is {text!r}: a number of seconds from {least:g} to 300 is wanted")
    return found
