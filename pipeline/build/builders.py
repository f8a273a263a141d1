"""The builder of one run: the site's BuildKits joined under one name, looked at before anything is asked of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import content_hash
from pipeline.errors import BuildError, ConfigError, PipelineError
from pipeline.events import What
from pipeline.host import Cmd, Output
from pipeline.places import Builder
from pipeline.stage import Site
from pipeline.tools import buildx
from pipeline.tools.buildx_errors import Lost
from pipeline.yamlfile import keys_like

if TYPE_CHECKING:
    from pipeline.host.local import LocalHost

STAGE = "build"
# https://docs.docker.com/build/concepts/overview/ and docker/cli, cli-plugins/manager/manager_unix.go
PLUGINS = tuple(f"/usr/{folder}/docker/cli-plugins" for folder in ("local/lib", "local/libexec", "lib", "libexec"))
MORE = "leave the platform out, add a builder of that architecture to the site file, or emulation (binfmt) to one of these"
DOCKER = "docker"  # this machine's own, where the blueprint names no builder


@dataclass(frozen=True)
class Bench:
    """A builder that runs: its `name` for buildx, and what each node of it says."""

    name: str
    nodes: tuple[buildx.Node, ...]
    states: tuple[buildx.State, ...]

    @property
    def platforms(self) -> tuple[str, ...]:
        """What its nodes build, each once."""
        return tuple(dict.fromkeys(platform for state in self.states for platform in state.platforms))

    def without(self, platforms: Iterable[str]) -> list[str]:
        """Those of `platforms` that no node builds."""
        known = {buildx.same(platform) for platform in self.platforms}
        return [platform for platform in platforms if buildx.same(platform) not in known]

    def emulated(self, platform: str) -> bool:
        """Whether no node has the platform by itself: BuildKit names its own architecture first."""
        own = {buildx.same(each) for node in self.nodes for each in node.platforms}
        own |= {buildx.same(state.platforms[0]) for state in self.states if state.platforms}
        return buildx.same(platform) not in own


def nodes(builders: tuple[str, ...], site: Site) -> tuple[buildx.Node, ...]:
    """The nodes that the site has for these names. Raises ConfigError where one is not known, or they do not go together."""
    found = tuple(buildx.node(site.builder(name)) for name in builders) or (buildx.node(Builder(DOCKER)),)
    if len({node.driver for node in found}) > 1:
        raise ConfigError(
            "a buildkitd and a Docker do not make one builder: " + ", ".join(builders),
            mend="name builders of one kind",
        )
    claimed = [buildx.same(platform) for node in found for platform in node.platforms]
    if twice := next((each for each in claimed if claimed.count(each) > 1), ""):
        raise ConfigError(f"two of the builders {', '.join(builders)} say that they build {twice}", mend="let each name its own platforms")
    return found


def ready(here: LocalHost, env: Mapping[str, str], builders: tuple[str, ...], platforms: tuple[str, ...], site: Site) -> Bench:
    """Join the nodes, start what can be started, and see that every platform has a node.

    Raises ConfigError where buildx is missing or no node builds a platform, Lost where a node does not answer.
    """
    bench, done = joined(here, env, builders, site, start=True)
    silent = [state for state in bench.states if state.status != "running"]
    if not done.ok or silent or not bench.states:
        where = ", ".join(state.endpoint for state in silent) or ", ".join(node.endpoint or DOCKER for node in bench.nodes)
        cause = "\n".join(filter(None, (*(state.error for state in silent), done.errors)))[-1500:]
        raise Lost(f"the builder at {where} does not answer", cause=cause, mend="start it, or correct its address in the site file")
    if without := bench.without(platforms):
        raise ConfigError(
            f"no builder builds {', '.join(without)}{keys_like(without[0], list(bench.platforms))}",
            cause="; ".join(f"{state.endpoint}: {', '.join(state.platforms)}" for state in bench.states),
            mend=MORE,
        )
    for platform in platforms:
        if bench.emulated(platform):
            site.tell(What.WARN, STAGE, f"{platform} is emulated: a builder of that architecture would be many times faster")
    return bench


def joined(here: LocalHost, env: Mapping[str, str], builders: tuple[str, ...], site: Site, *, start: bool) -> tuple[Bench, Output]:
    """The builder made of these, and what buildx said of it; nothing is started without `start`. Raises ConfigError."""
    wanted = nodes(builders, site)
    name = "pipeline-" + content_hash([[node.driver, node.endpoint] for node in wanted])[:12]
    for number, node in enumerate(wanted):
        made = run(here, env, site, *buildx.create(name, node, append=number > 0))
        if not made.ok:
            raise ConfigError(f"buildx does not take {node.endpoint or DOCKER} as a builder", cause=made.tail(5), mend="correct builders")
    done = run(here, env, site, *buildx.inspect(name, start=start))
    return Bench(name, wanted, tuple(buildx.states(done.text))), done


def lost(here: LocalHost, env: Mapping[str, str], bench: Bench, error: Lost, site: Site) -> PipelineError:
    """What to do about a builder that went away: one in a container is made anew, with a new cache, once; then it is told.

    A buildkitd elsewhere is not ours to start: the next attempt finds it again, or not.
    """
    if bench.nodes[0].driver == "remote":
        return error
    if site.shared.get(f"builder {bench.name}"):
        return BuildError("the builder went away, also the new one", cause=error.cause, mend="look at its machine's memory", log=error.log)
    site.shared[f"builder {bench.name}"] = "made anew"
    site.tell(What.WARN, STAGE, "the builder went away: it is made anew, without its cache")
    run(here, env, site, *buildx.remove(bench.name))
    return error


def run(here: LocalHost, env: Mapping[str, str], site: Site, *words: str) -> Output:
    """buildx with these words, to its end. Raises ConfigError where it is not installed."""
    done = here.run(Cmd((*program(site), *words), env=env, timeout=120.0))
    if done.code in (126, 127):
        raise missing(done)
    return done


def program(site: Site) -> tuple[str, ...]:
    """buildx as the site has it, else as it is installed: a plugin is called by itself, since docker would look for it in the settings of
    this user, which are not used here."""
    if "buildx" in site.tools:
        return (site.tools["buildx"],)
    import shutil

    known = [Path("~/.docker/cli-plugins").expanduser(), *map(Path, PLUGINS)]
    found = shutil.which("buildx") or next((str(path) for each in known if os.access(path := each / "docker-buildx", os.X_OK)), None)
    return (found,) if found else ("docker", "buildx")


def missing(done: Output) -> ConfigError:
    """buildx cannot be called."""
    return ConfigError("buildx cannot be called on this machine", cause=done.tail(2), mend=buildx.INSTALL)
