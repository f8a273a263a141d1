"""The rules of a tunnel: which name leads where, in the order in which cloudflared reads them, the catch-all last.

cloudflared takes the first rule that matches, and refuses a list whose last rule names a hostname or a path.
Source: Cloudflare Tunnel documentation, "Configuration file" (ingress rules).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import ConfigError
from pipeline.tools import goyaml
from pipeline.tunnel.spec import Tunnel

Rule = dict[str, Any]
NOTHING: Rule = {"service": "http_status:404"}  # cloudflared's own answer to what no rule names


def rule(spec: Tunnel) -> Rule:
    """The rule of this route."""
    found: Rule = {"hostname": spec.hostname, "service": spec.service}
    return {**found, "originRequest": {"httpHostHeader": spec.host_header}} if spec.host_header else found


def changed(present: Sequence[Mapping[str, Any]], spec: Tunnel) -> list[Rule]:
    """The rules that are there, with this route's own in place: what others have is neither changed nor moved, whatever else stands in
    a rule of ours is kept.

    Raises ConfigError where one hostname has several rules by path: which of them would be ours, nobody can tell.
    """
    rules = [dict(each) for each in present]
    mine = [number for number, each in enumerate(rules) if each.get("hostname") == spec.hostname]
    if any(rules[number].get("path") for number in mine):
        raise ConfigError(
            f"the tunnel has rules for parts of {spec.hostname} already",
            cause=", ".join(str(rules[number].get("path") or "/") for number in mine),
            mend="take those with a path away at Cloudflare, or leave this route to whoever made them",
        )
    if mine:
        first = mine[0]
        rules[first] = _merged(rules[first], rule(spec))
        rules = [each for number, each in enumerate(rules) if number not in mine[1:]]  # cloudflared never reads the others
        shadow = next((number for number in range(first) if matches(rules[number], spec.hostname)), None)
        if shadow is not None:
            rules.insert(shadow, rules.pop(first))
    else:
        place = next((number for number, each in enumerate(rules) if matches(each, spec.hostname)), len(rules))
        rules.insert(place, rule(spec))
    if not catches_all(rules[-1]):
        rules.append(dict(NOTHING))
    return rules


def matches(each: Mapping[str, Any], hostname: str) -> bool:
    """Whether cloudflared would take this rule for the hostname, on some path. A wildcard stands for one or more labels."""
    named = str(each.get("hostname") or "*")
    return named in ("*", hostname) or (named.startswith("*.") and hostname.endswith(named[1:]))


def catches_all(each: Mapping[str, Any]) -> bool:
    """Whether this rule may be the last one."""
    return each.get("hostname") in (None, "", "*") and not each.get("path")


def _merged(there: Rule, wanted: Rule) -> Rule:
    merged = {**there, **wanted}
    if isinstance(there.get("originRequest"), dict):
        merged["originRequest"] = {**there["originRequest"], **wanted.get("originRequest", {})}
    return merged


def cloudflared(spec: Tunnel, rules: Sequence[Mapping[str, Any]]) -> str:
    """The same rules as the configuration file of a cloudflared that is configured where it runs."""
    value = {"tunnel": spec.tunnel, "credentials-file": f"/etc/cloudflared/{spec.tunnel}.json", "ingress": [dict(each) for each in rules]}
    return goyaml.block(value)
