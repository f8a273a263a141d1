"""What holds for every test: it talks to this machine and its labs, whatever else it dials or looks up is an AssertionError; Ctrl-C
means Ctrl-C; and which tests need the lab.

An audit hook of the interpreter sees every connection that Python itself makes, whichever library asks for it. Programs that a test starts
(git, helm, nix, curl) are processes of their own and are not covered.
"""

from __future__ import annotations

import ipaddress
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from pipeline.lab.gitea import REALM_HOST
from pipeline.suite import REAL

NETWORKS = tuple(
    ipaddress.ip_network(text)
    for text in (
        "127.0.0.0/8",
        "::1/128",
        "0.0.0.0/32",  # to connect there is to connect to this machine
        "::/128",
        "10.211.0.0/16",  # pipeline.lab.layout.POOL
        "10.212.0.0/30",
    )
)
NAMES = ("localhost", "ip6-localhost")
RESERVED = (".invalid", ".test", ".example", ".localhost", "example.org", "example.com")  # RFC 2606: nobody is there


def allowed(host: object) -> bool:
    """Whether `host`, as a socket address names it, is this machine or one of its labs."""
    if host is None or host in ("", b""):
        return True
    text = (host.decode(errors="replace") if isinstance(host, bytes) else str(host)).partition("%")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text.lower() in NAMES
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in NETWORKS if network.version == mapped.version)


def refused(event: str, args: tuple[Any, ...]) -> str:
    """What is wrong with what an audit event tells; "" where nothing is."""
    if event == "socket.getaddrinfo":
        host = args[0]
        reserved = isinstance(host, str) and host.lower().endswith(RESERVED)
        return "" if allowed(host) or reserved else f"a test looked up {host!r}"
    if event in ("socket.connect", "socket.sendto"):
        peer = args[1]
        # a path is a unix socket, and a number the port id of netlink: both end on this machine
        if not isinstance(peer, tuple) or isinstance(peer[0], int) or allowed(peer[0]):
            return ""
        return f"a test connected to {peer[0]!r}"
    return ""


def guard(event: str, args: tuple[Any, ...]) -> None:
    """The audit hook."""
    if event == "socket.getaddrinfo" and args[0] == REALM_HOST:
        raise socket.gaierror(socket.EAI_NONAME, "the registry's realm is a name that does not answer, here as everywhere")
    if event.startswith("socket.") and (why := refused(event, args)):
        raise AssertionError(f"{why}: tests stay on loopback, unix sockets and the labs' networks (tests/conftest.py)")


sys.addaudithook(guard)
# A shell that starts this in the background has SIGINT ignored, for all that is started from here as well.
signal.signal(signal.SIGINT, signal.default_int_handler)
# How long an example takes says something of the machine, and nothing of what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def lab_site_file() -> Path:
    """The site file of the lab of this working copy. A test that needs the lab fails where there is none: nobody sees a skip."""
    path = ROOT / ".pipeline" / "lab" / "site.yml"
    if not path.exists():
        pytest.fail("this test runs on the lab: start it with `inv lab.up`, or leave it out with `inv test --no-real`", pytrace=False)
    return path


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the real tests that do without the lab, and see to it that no real test lies where nobody runs it."""
    for item in items:
        if item.get_closest_marker("real"):
            if not item.path.relative_to(config.rootpath).as_posix().startswith(REAL):
                raise pytest.UsageError(f"{item.nodeid} is marked `real` and none of pipeline.suite.REAL: no tier runs it")
            if "lab_site_file" not in getattr(item, "fixturenames", ()) and not item.get_closest_marker("alone"):
                item.add_marker("programs")
