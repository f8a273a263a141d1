"""The guard of tests/conftest.py: what leaves this machine is an AssertionError, and what stays is not disturbed."""

from __future__ import annotations

import contextlib
import http.client
import socket
from pathlib import Path

import pytest

from pipeline.lab.layout import POOL
from tests.conftest import NETWORKS, refused

# TEST-NET-1 and -3 of RFC 5737 and the documentation prefix of RFC 3849: were the guard broken, nobody would be there either
OUTSIDE = ("192.0.2.1", "203.0.113.9", "2001:db8::1")


@pytest.mark.parametrize("host", OUTSIDE)
def test_connections_to_the_outside_are_refused(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as stream, pytest.raises(AssertionError, match="a test connected to"):
        stream.connect((host, 80))
    with socket.socket(family) as stream, pytest.raises(AssertionError, match="a test connected to"):
        stream.connect_ex((host, 80))
    with socket.socket(family, socket.SOCK_DGRAM) as box, pytest.raises(AssertionError, match="a test connected to"):
        box.sendto(b"x", (host, 53))


def test_libraries_are_seen_too() -> None:
    with pytest.raises(AssertionError, match=r"192\.0\.2\.1"):
        http.client.HTTPConnection("192.0.2.1", timeout=1).request("GET", "/")


def test_names_of_the_outside_are_not_looked_up() -> None:
    for name in ("registry.example.net", "haskelseed", "10.0.0.1", "192.168.178.135"):
        with pytest.raises(AssertionError, match="a test looked up"):
            socket.getaddrinfo(name, 80)


def test_this_machine_and_the_labs_are_left_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.sendall(b"x")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "s"))
        server.listen()
        client.connect(str(tmp_path / "s"))
    assert socket.getaddrinfo("localhost", 80)
    with contextlib.suppress(socket.gaierror):  # reserved: whatever resolver is asked, it is nobody's name
        socket.getaddrinfo("nobody.invalid", 80)
    assert refused("socket.connect", (None, (str(POOL[1]), 6443))) == ""
    assert refused("socket.connect", (None, ("::ffff:10.211.3.4", 22, 0, 0))) == ""
    assert refused("socket.connect", (None, ("::ffff:192.0.2.1", 22, 0, 0)))
    assert POOL in NETWORKS
