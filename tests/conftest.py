"""What holds for every test: traffic stays on this machine, and Ctrl-C means Ctrl-C."""

from __future__ import annotations

import ipaddress
import signal
import sys
from typing import Any

LOCAL = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1/128", "0.0.0.0/32", "10.211.0.0/16", "10.212.0.0/30")))


def guard(event: str, args: tuple[Any, ...]) -> None:
    """Refuse a connection to anywhere else, from this process; the processes it starts are not covered."""
    if event != "socket.connect" or not isinstance(args[1], tuple):
        return
    try:
        address = ipaddress.ip_address(args[1][0])
    except ValueError:
        return  # a name: its addresses come by here next
    if not any(address in network for network in LOCAL):
        raise AssertionError(f"a test tries to reach {address}: only loopback and the lab's own networks are for tests")


sys.addaudithook(guard)
# A shell that starts this in the background has SIGINT ignored, for all that is started from here as well.
signal.signal(signal.SIGINT, signal.default_int_handler)
