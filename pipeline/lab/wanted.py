"""Which parts of the lab a plan needs beside those that are always there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.lab.hub import SERVICES

if TYPE_CHECKING:
    from pipeline.stage import Plan


DRIVERS = {"buildx": "docker", "kubecfg": "kubecfg", "flux": "flux"}


def parts(plan: Plan) -> frozenset[str]:
    """`hub` where a stage names one of its registries, `docker` where images are built from Dockerfiles, or what a deploy driver needs."""
    found = set()
    for stage in plan:
        named = {getattr(stage.spec, "registry", ""), getattr(stage.spec, "chart", "").removeprefix("oci://").partition("/")[0]}
        if named & set(SERVICES):
            found.add("hub")
        if part := DRIVERS.get(stage.driver.name):
            found.add(part)
    return frozenset(found)
