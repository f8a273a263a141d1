"""Which way an HTTP request goes: straight, or through the proxy that the environment names for https.

The rules are curl's and Go's: https_proxy (either case), no_proxy as a list of names, domain suffixes, addresses, networks or `*`. Two
are ours. Plain http is never sent through a proxy, since its credentials would be read there. Loopback and private addresses are always
reached straight, since a registry on the LAN is what the environment of a laptop forgets to exclude.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from pipeline.errors import ConfigError


def proxy_for(scheme: str, address: str, env: Mapping[str, str] | None = None) -> str:
    """The proxy as host:port, or "" where the way is straight. Raises ConfigError where the environment names one that is not http."""
    env = os.environ if env is None else env
    named = env.get("https_proxy") or env.get("HTTPS_PROXY") or ""
    if scheme != "https" or not named:
        return ""
    host = (urlsplit(f"//{address}").hostname or "").lower()
    if _private(host) or excluded(host, env.get("no_proxy") or env.get("NO_PROXY") or ""):
        return ""
    parts = urlsplit(named if "://" in named else f"http://{named}")
    if parts.scheme != "http" or not parts.hostname:
        raise ConfigError(f"https_proxy names a {parts.scheme} proxy", mend="name an http:// proxy, or add the registry to no_proxy")
    return f"{parts.hostname}:{parts.port or 80}"


def excluded(host: str, no_proxy: str) -> bool:
    """Whether a no_proxy list, as curl and Go read it, takes `host` (lower-case) out."""
    for item in no_proxy.split(","):
        name = item.strip().lower().partition(":")[0] if item.count(":") == 1 else item.strip().lower()
        if name == "*":
            return True
        suffix = name.lstrip("*").lstrip(".")
        if suffix and (host == suffix or host.endswith("." + suffix)):
            return True
        if "/" in name and _within(host, name):
            return True
    return False


def _private(host: str) -> bool:
    if host == "localhost":
        return True
    if not (":" in host or host.replace(".", "").isdigit()):
        return False
    import ipaddress  # only where a proxy is named and an address is a number

    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return False
    return number.is_loopback or number.is_private


def _within(host: str, network: str) -> bool:
    import ipaddress  # only where no_proxy names a network

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
