"""The route through a Cloudflare Tunnel: whether it is there, whether its name leads to it, and a TLS mode that does not loop.

From outside a proxied name shows Cloudflare's addresses and never its CNAME: only the API can tell.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from pipeline.doctor.verdict import Check, Verdict, fail, ok, unknown, warn
from pipeline.errors import AuthError, ConfigError, PipelineError
from pipeline.stage import Site
from pipeline.tunnel.api import SECONDS, Api
from pipeline.tunnel.changes import Change, State, name_changes, route_changes
from pipeline.tunnel.spec import TLS, Tunnel

MAKE = "inv tunnel.plan shows what is to be written, inv tunnel.apply writes it"


def checks(spec: Tunnel, site: Site) -> list[Check]:
    """What is asked of Cloudflare."""
    return [Check(f"{spec.hostname} (tunnel)", "route", partial(look, spec, site), 3 * SECONDS)]


def look(spec: Tunnel, site: Site) -> Iterator[Verdict]:
    """The verdicts. Raises what the API raises, and ConfigError if an id is not filled in; without a token nothing is asked or known."""
    spec.check_filled_in()
    where = f"{spec.hostname} (tunnel)"
    try:
        token = site.secrets.get(spec.token)
    except AuthError:
        for name in ("route", "dns", "tls"):
            yield unknown(where, name, f"{spec.token} is not set: Cloudflare was not asked", "set it, then run again")
        return
    with contextlib.closing(Api(spec, token.for_header())) as api:
        state = api.read()
        rules = f"leads to {spec.service}, one of {len(state.rules)} rules"
        yield _written(where, "route", route_changes, spec, state, rules)
        yield _written(where, "dns", name_changes, spec, state, f"a CNAME of {spec.target}, proxied")
        yield _tls(where, api)


def _written(where: str, name: str, changes: Callable[[Tunnel, State], Sequence[Change]], spec: Tunnel, state: State, good: str) -> Verdict:
    """Whether Cloudflare has what the blueprint says, where `changes` tells what it lacks."""
    try:
        needed = changes(spec, state)
    except ConfigError as error:
        return fail(where, name, f"{error.what}: {error.cause}", error.mend)
    return fail(where, name, f"to be written: {needed[0].what}", MAKE) if needed else ok(where, name, good)


def _tls(where: str, api: Api) -> Verdict:
    """Cloudflare's own edge asks a tunnel without TLS or with it, as the service says; but in Flexible it tells the service that visitors
    came by http, and an ingress that leads http to https sends them round for ever.

    Source: Cloudflare SSL/TLS documentation, "ERR_TOO_MANY_REDIRECTS".
    """
    try:
        mode = api.tls()
    except PipelineError as error:  # the token may do the rest all the same
        return unknown(
            where, "tls", f"the zone's TLS mode cannot be read: {error.cause or error.what}", "the token needs: read Zone Settings"
        )
    if mode in TLS:
        return ok(where, "tls", f"mode {mode}")
    said = {"flexible": "an ingress that redirects to https loops for ever", "off": "visitors come by plain http"}
    why = said.get(mode, "what it does with an ingress that redirects is not known")
    mend = "set the zone's SSL/TLS mode to Full (strict) at Cloudflare: SSL/TLS, Overview"
    return (fail if mode in said else warn)(where, "tls", f"mode {mode or 'not told'}: {why}", mend)
