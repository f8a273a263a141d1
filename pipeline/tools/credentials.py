"""Who the site is to one of its registries: what the site file says, else what this machine knows."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.tools import logins
from pipeline.tools.logins import ANYBODY, Login
from pipeline.tools.providers import endpoint, full_name, provider_of
from pipeline.tools.tokens import Account

if TYPE_CHECKING:
    from pipeline.stage import Site


def account_of(site: Site, name: str, say: Callable[[str], None]) -> Account:
    """The account for the registry `name`; nothing is read before it is needed. What is read is masked from then on."""
    spec = site.registry(name)
    provider = provider_of(spec.address, spec.provider)

    def password() -> str:
        return site.secrets.get(spec.password).reveal() if spec.password else ""

    def find(repository: str) -> Login | None:
        if spec.password:  # a token alone: GHCR does not look at the user's name
            return Login(os.environ.get("GITHUB_ACTOR") or ANYBODY, password(), f"the site file's {spec.password}")
        found = None if spec.credentials == "none" else logins.find(logins.here(say), spec.address, repository, provider)
        if found:
            site.secrets.guard(found.password)
        return found

    return Account(spec.realm, spec.username, password, find, provider)


def login_of(site: Site, name: str, repository: str) -> Login | None:
    """The login for a repository of the registry `name`, for a tool that asks the registry itself; None for nobody. Raises ConfigError or
    AuthError where what is there cannot be read."""
    from pipeline.tools.registry import client_of

    where = endpoint(site.registry(name).address)
    return client_of(site, name).authorization.login(full_name(where, repository))
