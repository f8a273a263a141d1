"""What a push needs from here, looked at before anything is built: the registry's address and its password."""

from __future__ import annotations

from typing import Any

from pipeline.stage import Site
from pipeline.tools.registry import needs


def check(spec: Any, site: Site) -> None:
    """Raises ConfigError where the site has no usable address for the registry, AuthError where its password cannot be read."""
    needs(site, spec.registry)
