"""The Secret by which Flux logs in to the registry of a private chart."""

from __future__ import annotations

import base64
import json
from typing import Any

from pipeline.errors import AuthError
from pipeline.gitops.layout import OCI, chart_registry
from pipeline.gitops.place import Place
from pipeline.stage import Site
from pipeline.tools.credentials import login_of
from pipeline.tools.providers import provider_of

KIND = "kubernetes.io/dockerconfigjson"


def secret(place: Place, site: Site) -> dict[str, Any]:
    """The Secret, with the login that the site has for the chart's registry. Raises AuthError where it has none."""
    host, _, repository = place.chart.removeprefix(OCI).partition("/")
    name = chart_registry(place, site.registries)
    login = login_of(site, name, repository) if name else None
    if login is None:
        make = f"kubectl create secret docker-registry -n {place.flux.system} {place.gitops.chart_secret} …"
        raise AuthError(f"there is no login for {host}, which the chart is pulled from", mend=f"name it in the site file; or {make}")
    address = site.registry(name).address
    pair = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
    site.secrets.guard(pair)
    config = {"auths": {provider_of(address, site.registry(name).provider).server or address: {"auth": pair}}}
    meta = {"name": place.gitops.chart_secret, "namespace": place.flux.system}
    data = {".dockerconfigjson": base64.b64encode(json.dumps(config).encode()).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": KIND, "data": data}
