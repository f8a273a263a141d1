"""What a blueprint says of its route through a Cloudflare Tunnel: the section `tunnel`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.errors import ConfigError

API = "https://api.cloudflare.com/client/v4"
HOSTNAME = r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
ID = r"[0-9a-f]{32}"
SERVICE = r"https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?"
TLS = ("full", "strict")  # what cannot loop where the cluster's ingress leads from http to https


@dataclass(frozen=True)
class Tunnel:
    """The route of `hostname` to `service`, an address as the tunnel's end in the cluster sees it.

    `tunnel` is the tunnel's id, `account` and `zone` are the ids of its account and of the zone that has the hostname (Cloudflare shows
    them on the overview of each). `token` is where the API token is: it may edit Cloudflare Tunnels of the account, edit DNS and read the
    settings of the zone. `host_header` is the name that the service is asked for, "" for the hostname itself. `api` is the API's address.
    """

    hostname: str
    service: str
    tunnel: str
    account: str
    zone: str
    token: str = "env:CLOUDFLARE_API_TOKEN"  # noqa: S105  # where it is
    host_header: str = ""
    api: str = API

    def __post_init__(self) -> None:
        _fits("hostname", self.hostname, HOSTNAME, "a name like staging.example.org, in lower case and without a wildcard")
        _fits("service", self.service, SERVICE, "an address like http://traefik.kube-system.svc.cluster.local, without a path")
        _fits("tunnel", self.tunnel, UUID, "the tunnel's id, five groups of hexadecimal digits")
        _fits("account", self.account, ID, "an id of 32 hexadecimal digits")
        _fits("zone", self.zone, ID, "an id of 32 hexadecimal digits")
        if self.host_header:
            _fits("host_header", self.host_header, HOSTNAME, "a name like staging.example.org")
        parts = urlsplit(self.api)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError(f"api is {self.api!r}: the token is sent by https only")

    def check_filled_in(self) -> None:
        """Raise ConfigError if an id still is the zeros that stand for one in an example."""
        if unfilled := [name for name in ("tunnel", "account", "zone") if not set(getattr(self, name)) - {"0", "-"}]:
            raise ConfigError(
                f"{' and '.join(unfilled)} of the route {'are' if unfilled[1:] else 'is'} not filled in yet",
                mend="write the ids into the blueprint's section tunnel: Cloudflare shows them on the overview of each",
            )

    @property
    def target(self) -> str:
        """What the hostname's CNAME names. Source: Cloudflare Tunnel documentation, "DNS records"."""
        return f"{self.tunnel}.cfargtunnel.com"


def _fits(what: str, value: str, grammar: str, example: str) -> None:
    if not re.fullmatch(grammar, value):
        raise ValueError(f"{what} is {value!r}, not {example}")
