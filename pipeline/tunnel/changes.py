"""What would have to be written at Cloudflare for the route to be there: nothing, or the calls, each with what stood there before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ConfigError
from pipeline.tunnel import ingress
from pipeline.tunnel.spec import Tunnel

SAID = "made by pipeline"  # the comment of a DNS record that is ours
AUTOMATIC = 1  # the time to live of a proxied record: Cloudflare's own word for its choice


@dataclass(frozen=True)
class State:
    """What Cloudflare has: the tunnel's configuration whole, the DNS records of the hostname, and the zone's TLS mode ("": not asked)."""

    config: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]
    tls: str = ""

    @property
    def rules(self) -> list[dict[str, Any]]:
        return [dict(rule) for rule in self.config.get("ingress") or ()]


NOTHING_KNOWN = State({}, ())


@dataclass(frozen=True)
class Change:
    """One call that writes: what it does in a sentence, `method` and `path` of the API, its `body`, and what is there `before`."""

    what: str
    method: str
    path: str
    body: Mapping[str, Any]
    before: Any = None

    def lines(self) -> list[str]:
        """The change as a person reads it, the call whole."""
        text = json.dumps(self.body, indent=2, ensure_ascii=False)
        return [f"{self.what}", f"  {self.method} {self.path}", *(f"    {line}" for line in text.splitlines())]


def changes(spec: Tunnel, state: State) -> list[Change]:
    """The calls, in the order in which they are made: the route is there before its name leads to it. Raises ConfigError."""
    return [*route_changes(spec, state), *name_changes(spec, state)]


def route_changes(spec: Tunnel, state: State) -> list[Change]:
    """Those of the tunnel's rules. Raises ConfigError as `ingress.changed` does."""
    wanted = ingress.changed(state.rules, spec)
    if wanted == state.rules:
        return []
    mine = next((rule for rule in state.rules if rule.get("hostname") == spec.hostname), None)
    leads = f"{spec.hostname} leads to {spec.service}"
    if mine is None:
        what = f"new route: {leads}"
    else:
        what = (
            f"route: {leads}, it led to {mine.get('service')}" if mine.get("service") != spec.service else f"route: {leads}, put in order"
        )
    others = sum(1 for rule in state.rules if rule.get("hostname") not in (None, "", spec.hostname))
    kept = f"; {others} other{'s' * (others > 1)} kept" if others else ""
    path = f"/accounts/{spec.account}/cfd_tunnel/{spec.tunnel}/configurations"
    return [Change(what + kept, "PUT", path, {"config": {**state.config, "ingress": wanted}}, state.rules)]


def name_changes(spec: Tunnel, state: State) -> list[Change]:
    """Those of the DNS records. Raises ConfigError where there are some of another kind, which are never taken away."""
    if foreign := sorted({str(record.get("type")) for record in state.records} & {"A", "AAAA", "NS"}):
        raise ConfigError(
            f"{spec.hostname} has DNS records of type {', '.join(foreign)} already, which no CNAME can stand beside",
            cause=", ".join(str(record.get("content")) for record in state.records),
            mend="whoever made them takes them away at Cloudflare, or name another hostname",
        )
    there = [record for record in state.records if record.get("type") == "CNAME"]
    wanted = {"type": "CNAME", "name": spec.hostname, "content": spec.target, "proxied": True, "ttl": AUTOMATIC}
    path = f"/zones/{spec.zone}/dns_records"
    if not there:
        return [Change(f"new name: {spec.hostname} is a CNAME of {spec.target}, proxied", "POST", path, {**wanted, "comment": SAID})]
    record = there[0]
    if (record.get("content"), record.get("proxied")) == (spec.target, True):
        return []
    was = f"{record.get('content')}, {'proxied' if record.get('proxied') else 'not proxied'}"
    what = f"name: {spec.hostname} is a CNAME of {spec.target}, proxied; it was {was}"
    return [Change(what, "PATCH", f"{path}/{record['id']}", wanted, dict(record))]
