"""The Invoke tasks of the route through a Cloudflare Tunnel: what would change, and making it so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from invoke import Collection, Context, task

from pipeline.dry import only_looks, shown_by
from pipeline.errors import AuthError, ConfigError
from pipeline.say import say


def collection(
    polite: Callable[[Callable[..., Any]], Any],
    opened: Callable[[str, str, bool], AbstractContextManager[tuple[Any, Any]]],
    print_json: Callable[[dict[str, Any]], None],
    story: Callable[[], AbstractContextManager[Callable[[str], None]]],
    about: dict[str, str],
) -> Collection:
    """`tunnel.plan` and `tunnel.apply`. What all tasks share is the face's: `polite` turns errors into sentences and exit codes, `opened`
    gives blueprint and site, `story` shows what goes on, `about` is the help of the options that all have."""

    @only_looks
    @polite
    def plan(_c: Context, env: str = "", blueprint: str = "", json: bool = False) -> None:
        """What would change at Cloudflare for the blueprint's route, call by call. Writes nothing.

        Without a token nobody is asked: it shows the calls for a tunnel that has no rule yet, and the same as cloudflared's own file.
        """
        from pipeline.tunnel.apply import wanted
        from pipeline.tunnel.changes import NOTHING_KNOWN, changes
        from pipeline.tunnel.ingress import changed, cloudflared

        with opened(env, blueprint, json) as (found, site), story() as tell:
            spec = _spec(found)
            service = _service(spec, site, optional=True)
            if service is None:
                tell(f"{spec.token} is not set: Cloudflare was not asked, this is what a tunnel without rules would be told")
                needed = changes(spec, NOTHING_KNOWN)
            else:
                with contextlib.closing(service):
                    needed = wanted(spec, service, site.clock, tell)
        if json:
            print_json({"asked": service is not None, "changes": [_row(change) for change in needed]})
            return
        for change in needed:
            say(*change.lines())
        if service is None:
            say("as a file of cloudflared", *_indented(cloudflared(spec, changed((), spec))).split("\n"))
        elif not needed:
            say(f"{spec.hostname} leads to {spec.service}: nothing to do")

    @shown_by("plan")
    @polite
    def apply(_c: Context, env: str = "", blueprint: str = "", json: bool = False) -> None:
        """Make the blueprint's route true at Cloudflare: its own hostname and no other. Reads first, and again afterwards."""
        from pipeline.tunnel.apply import apply as make

        with opened(env, blueprint, json) as (found, site), story() as tell:
            spec = _spec(found)
            made = make(spec, _service(spec, site, optional=False), site.clock, tell)
        if json:
            print_json({"changes": [_row(change) for change in made]})
        else:
            say(f"{spec.hostname} leads to {spec.service}" + ("" if made else ": nothing to do"))

    return Collection("tunnel", task(plan, help=about), task(apply, help=about))


def _spec(blueprint: Any) -> Any:
    if blueprint.tunnel is None:
        raise ConfigError(
            f"blueprint {blueprint.name} has no route through a tunnel",
            mend="add tunnel: {hostname: …, service: …, tunnel: …, account: …, zone: …} to it",
        )
    blueprint.tunnel.check_filled_in()
    return blueprint.tunnel


def _service(spec: Any, site: Any, *, optional: bool) -> Any:
    """The API with its token; None where there is none and none is needed."""
    from pipeline.tunnel.api import Api

    try:
        token = site.secrets.get(spec.token)
    except AuthError:
        if optional:
            return None
        raise
    return Api(spec, token.for_header())


def _row(change: Any) -> dict[str, Any]:
    return {"what": change.what, "method": change.method, "path": change.path, "body": change.body, "before": change.before}


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines()).rstrip("\n")
