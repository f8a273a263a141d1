"""The contract on real parts: every driver of the main blueprint, each making from what the one before it made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Artifact
from pipeline.host import Cmd
from pipeline.source import snapshot
from pipeline.stage import Site
from pipeline.testing.contract import check_driver
from pipeline.tools.kube import connect, path
from pipeline.tools.registry import client_of
from tests.real.app import App, application
from tests.real.deploy_parts import written

pytestmark = pytest.mark.real
NAMESPACE, CLUSTER = "coulomb", "railiance01"


def on_the_host(app: App, site: Site) -> Any:
    """The trees, roots and incoming files of the application, with their times."""
    host = site.host("haskelseed")
    script = 'cd "$1" 2>/dev/null && find . -type f -exec stat -c "%n %s %Y" {} + | sort'
    return host.run(Cmd(("sh", "-c", script, "list", f"{host.state}/{app.name}"))).stdout


def in_the_registry(app: App, site: Site) -> Any:
    client = client_of(site, "coulombcore")
    return {tag: client.head(f"coulomb/{app.name}", tag) for tag in client.tags(f"coulomb/{app.name}")}


def in_the_cluster(app: App, site: Site) -> Any:
    """The release's objects by their versions."""
    kube = connect(site, CLUSTER)
    kinds = [path("v1", "secrets", NAMESPACE), path("apps/v1", "deployments", NAMESPACE), path("v1", "services", NAMESPACE)]
    found = [item["metadata"] for kind in kinds for item in kube.list(kind, metadata=True)["items"]]
    return sorted((item["name"], json.dumps(written(item))) for item in found if app.name in item["name"])


WORLDS: dict[str, Callable[[App, Site], Any]] = {
    "sync": on_the_host,
    "build": on_the_host,
    "push": in_the_registry,
    "deploy": in_the_cluster,
    "verify": in_the_cluster,
}


def test_every_driver_of_the_blueprint_keeps_its_promises_on_the_lab(lab: Site, tmp_path: Path) -> None:
    with application("contract", tmp_path / "copy") as app:
        blueprint = app.blueprint
        with blueprint.site() as site:
            given: Artifact = snapshot(app.root)
            for stage in blueprint.plan:
                world = WORLDS[stage.verb]
                given = check_driver(stage.driver, stage.spec, given, site, world=lambda world=world: world(app, site))  # type: ignore[misc]
        assert given.kind == "report"
        assert given.id.endswith("/passed")
