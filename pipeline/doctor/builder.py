"""The builders of images: whether buildx is here, each BuildKit answers, and every platform has one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

from pipeline.build import builders
from pipeline.build.buildx_spec import Buildx
from pipeline.doctor.verdict import Verdict, fail, ok, warn
from pipeline.errors import Transient
from pipeline.host.local import LocalHost
from pipeline.stage import Site
from pipeline.tools.buildx import State

UNSTARTED = "inactive"  # a container that BuildKit is run in, before its first build


def look(spec: Buildx, site: Site) -> Iterator[Verdict]:
    """Every verdict on the builders of a stage. Starts nothing. Raises ConfigError where buildx is not here."""
    platforms = tuple(dict.fromkeys(platform for image in spec.images.values() for platform in image.platforms))
    where = name(spec)
    with tempfile.TemporaryDirectory(prefix="pipeline-doctor-") as folder:
        env = {"DOCKER_CONFIG": folder, "BUILDX_CONFIG": folder}
        bench, _ = builders.joined(LocalHost(clock=site.clock), env, spec.builders, site, start=False)
    for state in bench.states:
        yield _node(where, state, remote=bench.nodes[0].driver == "remote")
    if not all(state.status == "running" for state in bench.states):
        return
    if without := bench.without(platforms):
        yield fail(where, "platforms", f"no builder builds {', '.join(without)}", builders.MORE)
    elif emulated := [platform for platform in platforms if bench.emulated(platform)]:
        yield warn(where, "platforms", f"{', '.join(emulated)} is emulated, which is slow", "add a builder of that architecture")
    elif platforms:
        yield ok(where, "platforms", ", ".join(platforms))


def name(spec: Buildx) -> str:
    """What the builders are called in a verdict."""
    return f"{', '.join(spec.builders) or builders.DOCKER} (builder)"


def _node(where: str, state: State, *, remote: bool) -> Verdict:
    place = state.endpoint or builders.DOCKER
    if state.status == "running":
        return ok(where, "answers", f"{place}: {', '.join(state.platforms)}")
    if not remote and state.status == UNSTARTED and not state.error:
        return ok(where, "answers", f"{place}: BuildKit is started there by the first build")
    said = "; ".join(filter(None, (state.status, state.error)))
    return fail(where, "answers", f"{place} does not answer ({said})", "start it, or correct its address in the site file", Transient)
