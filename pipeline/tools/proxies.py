"""Which way an HTTP request goes: straight, or through the proxy that the environment names for https; and whose certificates count.

The rules are Go's, whose programs (helm, kubectl, skopeo) go the same way: HTTPS_PROXY (either case), NO_PROXY as a list of names, domains,
addresses and networks, each with a port if need be, or `*`; this machine itself is reached straight. Where HTTPS_PROXY is not said,
ALL_PROXY counts, for the tools too (`pipeline.environment`), unless it is one of SOCKS, which nobody here speaks. Two rules are ours.
Plain http is never sent through a proxy, since its credentials would be read there. A registry at a private address is reached straight,
since that is what the environment of a laptop forgets to exclude. Source: https://pkg.go.dev/golang.org/x/net/http/httpproxy
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pipeline.environment import AUTHORITIES, EXCLUDED, PROXY, first, is_socks
from pipeline.errors import AuthError, ConfigError, PipelineError

if TYPE_CHECKING:
    import ssl  # 10 ms that an http registry never needs
from pipeline.tools.http_answer import Response

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
HTTP = "name an http:// proxy in HTTPS_PROXY (many that speak SOCKS speak HTTP too, at another port)"
ANSWER = re.compile(r"Tunnel connection failed: (\d+)")  # http.client's own words


@dataclass(frozen=True)
class Proxy:
    """A proxy at `host` and `port`, which `variable` of the environment names; `headers` hold the login for it."""

    host: str
    port: int
    variable: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def proxy_for(scheme: str, address: str, env: Mapping[str, str] | None = None, *, private: bool = False) -> Proxy | None:
    """Return the proxy on the way to `address`, None if the way is straight. With `private` addresses of the LAN are no exception.

    Raises ConfigError if the environment names one that is not http.
    """
    env = os.environ if env is None else env
    variable = "" if unspoken(env) else first(PROXY, env)
    if scheme != "https" or not variable:
        return None
    to = urlsplit(f"//{address}")
    host = (to.hostname or "").lower()
    if (not private and _is_private(host)) or excluded(host, env.get(first(EXCLUDED, env), ""), to.port or 443):
        return None
    named = env[variable]
    parts = urlsplit(named if "://" in named else f"http://{named}")
    if parts.scheme != "http" or not parts.hostname:
        raise ConfigError(f"{variable} names a {parts.scheme} proxy", mend=f"{HTTP}, or add {address} to NO_PROXY")
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
    headers = {"Proxy-Authorization": "Basic " + base64.b64encode(login).decode()} if parts.username is not None else {}
    return Proxy(parts.hostname, parts.port or 80, variable, headers)


def unspoken(env: Mapping[str, str]) -> str:
    """Return the variable of a SOCKS proxy that nobody here goes through, "" if there is none."""
    variable = first(PROXY, env)
    return variable if variable in PROXY[2:] and is_socks(env[variable]) else ""


def trust(context: ssl.SSLContext, env: Mapping[str, str] | None = None) -> ssl.SSLContext:
    """Have `context` trust whom this machine trusts, and those whom the environment names, under whichever name.

    Raises ConfigError if that is no file of certificates.
    """
    env = os.environ if env is None else env
    context.load_default_certs()
    if variable := first(AUTHORITIES, env):
        try:
            context.load_verify_locations(cafile=env[variable])
        except OSError as error:
            what = f"{variable} names {env[variable]}, which is no file of certificates"
            raise ConfigError(what, cause=str(error), mend=f"correct it, or: unset {variable}") from error
    return context


def dial(proxy: Proxy, host: str, port: int, timeout: float | None) -> socket.socket:
    """Return a connection to `host` and `port` through the proxy. Raise OSError if there is none, AuthError if it wants another login."""
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=timeout)
    connection.response_class = Response
    connection.set_tunnel(host, port, dict(proxy.headers))
    try:
        connection.connect()
    except OSError as error:
        if meant := told(error, proxy, f"{host}:{port}"):
            raise meant from error
        raise
    line = connection.sock
    assert isinstance(line, socket.socket)  # noqa: S101  # it is connected
    return line


def told(error: OSError, proxy: Proxy, peer: str) -> PipelineError | None:
    """Return what the proxy's refusal means; None if it is none, or one that passes."""
    answer = ANSWER.search(str(error))
    if answer is None:
        return None
    if answer[1] == "407":
        what = "does not know this login" if proxy.headers else "wants a login"
        return AuthError(
            f"the proxy {proxy} {what}", cause=str(error), mend=f"export {proxy.variable}=http://USER:PASSWORD@{proxy}, quoted as in a URL"
        )
    if answer[1].startswith("4"):
        mend = f"have it allow {peer}, or add that to NO_PROXY if it can be reached without"
        return ConfigError(f"the proxy {proxy} (of {proxy.variable}) does not lead to {peer}", cause=str(error), mend=mend)
    return None


def excluded(host: str, no_proxy: str, port: int = 443) -> bool:
    """Return whether NO_PROXY, as Go reads it, takes `host` (lower-case) with this port out."""
    number = _number(host)
    if host == "localhost" or (number is not None and number.is_loopback):
        return True
    return any(_takes_out(item.strip().lower(), host, number, port) for item in no_proxy.split(",") if item.strip())


def _takes_out(item: str, host: str, number: Address | None, port: int) -> bool:
    if item == "*":
        return True
    if "/" in item:
        try:
            return number is not None and number in ipaddress.ip_network(item, strict=False)
        except ValueError:
            return False
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(\d+))?|([^:]+):(\d+)", item)
    name, only = (bracketed[1] or bracketed[3], bracketed[2] or bracketed[4] or "") if bracketed else (item, "")
    if only and int(only) != port:
        return False
    if (named := _number(name)) is not None:
        return named == number
    if name.startswith("*."):
        name = name[1:]
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _number(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_private(host: str) -> bool:
    number = _number(host)
    return number is not None and number.is_private
