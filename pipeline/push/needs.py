"""What a push needs from here, looked at before anything is built: the registry's address and its password."""

from __future__ import annotations

from typing import Any

from pipeline.stage import Site
from pipeline.tools.registry import client_of


def check(spec: Any, site: Site) -> None:
    """Raises ConfigError where the site has no usable address for the registry, AuthError where its password cannot be read."""
    client_of(site, spec.registry)
    if password := site.registry(spec.registry).password:
        site.secrets.get(password)
