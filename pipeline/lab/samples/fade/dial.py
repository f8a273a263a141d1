"""Asking another program over HTTP, by a name that may not resolve yet, within a time, and up to a size."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

LARGEST = 8 << 20  # bytes of an answer


class Unreachable(Exception):
    """Nobody answers there; the text says why."""


@dataclass(frozen=True)
class Reply:
    """What was answered; the headers' names are in small letters."""

    code: int
    body: bytes
    headers: Mapping[str, str]


class Target:
    """One address. Its name is looked up by `look_up` alone, which is for those who can wait: a request uses what was found last, so that
    a name server that does not answer stands in nobody's way."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.at = ""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def look_up(self) -> None:
        """Find the address anew; the old one is kept where the name server knows none. Raises Unreachable where there never was one."""
        try:
            self.at = str(socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0][4][0])
        except OSError as error:
            if not self.at:
                raise Unreachable(f"the name {self.host} does not resolve: {error.strerror}") from error

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, within: float = 2.0
    ) -> Reply:
        """One request, over in about `within` seconds, whatever the other side does. Raises Unreachable."""
        if not self.at:
            raise Unreachable(f"the name {self.host} was not resolved yet")
        deadline = time.monotonic() + within
        connection = http.client.HTTPConnection(self.at, self.port, timeout=within)
        try:
            connection.request(method, path, body, {"Host": str(self), "User-Agent": "fade-peer", "Connection": "close", **(headers or {})})
            answer = connection.getresponse()
            parts, size = [], 0
            while part := answer.read1(1 << 16):
                parts.append(part)
                size += len(part)
                if size > LARGEST:
                    raise Unreachable(f"its answer is larger than {LARGEST} bytes")
                if time.monotonic() > deadline:
                    raise Unreachable(f"its answer takes longer than {within:g} s")
            if answer.length:
                raise Unreachable("its answer broke off")
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(str(error) or type(error).__name__) from error
        finally:
            connection.close()
        return Reply(answer.status, b"".join(parts), {name.lower(): value for name, value in answer.getheaders()})
