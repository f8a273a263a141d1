"""No test reaches beyond this machine."""

from __future__ import annotations

import socket

import pytest


@pytest.mark.parametrize("address", ["192.0.2.1", "92.205.130.254"])
def test_a_connection_to_elsewhere_is_refused_before_it_is_tried(address: str) -> None:
    with socket.socket() as end, pytest.raises(AssertionError, match="only loopback"):
        end.connect((address, 9))


def test_loopback_is_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as end:
        assert end.getpeername() == listener.getsockname()
