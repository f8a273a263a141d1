"""A blueprint in YAML becomes a plan: the one place where names become drivers."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import schema
from pipeline.clock import Clock, SystemClock
from pipeline.errors import ConfigError
from pipeline.events import Sink
from pipeline.records import Records
from pipeline.stage import VERBS, Cluster, Driver, HostSpec, Plan, Registry, Remote, Site, Stage
from pipeline.yamlfile import Document, keys_like, read

if TYPE_CHECKING:
    from pipeline.host import Host

# package = verb, module = tool; other packages add theirs by an entry point `verb.name` in the group "pipeline.drivers"
DRIVERS = {
    ("sync", "git"): "pipeline.sync.git",
    ("build", "nix"): "pipeline.build.nix",
    ("push", "skopeo"): "pipeline.push.skopeo",
    ("deploy", "helm"): "pipeline.deploy.helm",
    ("verify", "http"): "pipeline.verify.http",
}
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?")


@dataclass(frozen=True)
class SiteFile:
    """Hosts, git remotes, registries and clusters by the names a blueprint uses; paths of tools; values a blueprint may refer to."""

    hosts: Mapping[str, HostSpec] = field(default_factory=dict)
    remotes: Mapping[str, Remote] = field(default_factory=dict)
    registries: Mapping[str, Registry] = field(default_factory=dict)
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BlueprintFile:
    """An application's way to its release: `app` names it, `stages` are its steps by verb, `environment` is the overlay taken where none is named.

    `site` is the site file, relative to the working copy; `protected` environments are only used when they are named.
    """

    app: str
    stages: Mapping[str, Any]
    environment: str = ""
    site: str = "config/site.yml"
    protected: bool = False


@dataclass(frozen=True)
class Blueprint:
    """A plan, and where it applies. `root` is the working copy, `site_path` the file that says where hosts and clusters are."""

    name: str
    environment: str
    app: str
    root: Path
    plan: Plan
    site_path: Path
    document: Document

    def site(self, sink: Sink = lambda _event: None, clock: Clock | None = None) -> Site:
        """Everything the plan may touch. Nothing is contacted yet. Raises ConfigError where the site file is missing or wrong."""
        found = read_site(self.site_path)
        clock = clock or SystemClock()
        return Site(
            app=self.app,
            root=self.root,
            hosts=_Hosts(found.hosts, clock),
            remotes=found.remotes,
            registries=found.registries,
            clusters=found.clusters,
            tools=found.tools,
            values=found.values,
            records=Records(self.root / ".pipeline" / f"{self.name}.{self.environment or 'default'}.db", clock),
            clock=clock,
            sink=sink,
        )


def load(config: Path | str, name: str = "", env: str = "") -> Blueprint:
    """The blueprint `name` (the only one where it is not named) of the folder `config`, with the overlay of environment `env`.

    Raises ConfigError with file, line and what to write instead.
    """
    folder = Path(config).absolute()
    name = name or only_blueprint(folder)
    document = read(folder / f"{name}.yml")
    base = document.data if isinstance(document.data, dict) else {}
    chosen = env or str(base.get("environment", ""))
    if chosen:
        overlay = folder / f"{name}.{chosen}.yml"
        if not overlay.exists():
            known = ", ".join(environments(folder, name)) or "none"
            raise ConfigError(
                f"blueprint {name} has no environment {chosen!r}{keys_like(chosen, environments(folder, name))}",
                mend=f"write {overlay}, or name one of: {known}",
            )
        document = document.under(read(overlay))
    found: BlueprintFile = schema.build(BlueprintFile, document)
    if found.protected and not env:
        raise ConfigError(f"environment {chosen} is protected", mend=f"name it: --env {chosen}")
    if not NAME.fullmatch(found.app):
        raise ConfigError(
            f"{document.place(('app',))}: app {found.app!r} is not a name",
            mend="write lower-case letters, digits and dashes, at most 53",
        )
    plan = tuple(_stage(document, verb) for verb in found.stages)
    _check_order(document, plan)
    return Blueprint(name, chosen, found.app, folder.parent, plan, folder.parent / found.site, document)


def blueprints(folder: Path) -> list[str]:
    """The names of the blueprints in a folder."""
    names = sorted(path.name[: -len(".yml")] for path in folder.glob("*.yml"))
    return [name for name in names if "." not in name and name != "site"]


def environments(folder: Path, name: str) -> list[str]:
    """The environments that a blueprint has overlays for."""
    return sorted(path.name[len(name) + 1 : -len(".yml")] for path in folder.glob(f"{name}.*.yml"))


def only_blueprint(folder: Path) -> str:
    names = blueprints(folder)
    if len(names) == 1:
        return names[0]
    if not names:
        raise ConfigError(f"there is no blueprint in {folder}", mend=f"write {folder}/<app>.yml")
    raise ConfigError("which blueprint?", mend=f"--blueprint with one of: {', '.join(names)}")


def read_site(path: Path) -> SiteFile:
    """The site file at `path`. Raises ConfigError where it is missing or wrong."""
    if not path.exists() and path.parent.name == "lab":
        raise ConfigError("the lab is not running", mend="inv lab.up")
    found: SiteFile = schema.build(SiteFile, read(path))
    return found


def driver(verb: str, name: str) -> Driver:
    """The driver `name` of `verb`, built in or from an entry point. Raises KeyError where there is none."""
    if (verb, name) in DRIVERS:
        found: Driver = importlib.import_module(DRIVERS[verb, name]).DRIVER
        return found
    from importlib.metadata import entry_points

    for point in entry_points(group="pipeline.drivers"):
        if point.name == f"{verb}.{name}":
            loaded: Driver = point.load()
            return loaded
    raise KeyError(name)


def _stage(document: Document, verb: str) -> Stage:
    path = ("stages", verb)
    place = document.place(path)
    if verb not in VERBS:
        raise ConfigError(f"{place}: {verb} is not a stage{keys_like(verb, list(VERBS))}", mend=f"stages are: {', '.join(VERBS)}")
    options = document.data["stages"][verb]
    if not isinstance(options, dict) or not isinstance(options.get("driver"), str):
        raise ConfigError(f"{place}: {verb} does not say its driver", mend=f"{verb}: {{driver: …, …}}")
    name = options["driver"]
    try:
        found = driver(verb, name)
    except KeyError:
        known = [known for of, known in DRIVERS if of == verb]
        raise ConfigError(
            f"{document.place((*path, 'driver'))}: {verb} has no driver {name!r}{keys_like(name, known)}",
            mend=f"drivers of {verb}: {', '.join(known)}",
        ) from None
    bare = {key: value for key, value in options.items() if key != "driver"}
    stages = {**document.data["stages"], verb: bare}
    spec = schema.build(found.spec, Document({**document.data, "stages": stages}, document.places), path)
    return Stage(verb, found, spec)


def _check_order(document: Document, plan: Plan) -> None:
    from pipeline.artifacts import Source

    given: type[Any] = Source
    before = "the source"
    for stage in plan:
        if not issubclass(given, stage.driver.takes):
            raise ConfigError(
                f"{document.place(('stages', stage.verb))}: {stage.verb} ({stage.driver.name}) takes {stage.driver.takes.__name__},"
                f" but {before} gives {given.__name__}",
                mend="order the stages so that each takes what the one before gives",
            )
        given, before = stage.driver.gives, stage.verb


class _Hosts(Mapping[str, "Host"]):
    """Hosts by name, opened on first use: fabric is not loaded by a run that needs no host."""

    def __init__(self, specs: Mapping[str, HostSpec], clock: Clock) -> None:
        self._specs = specs
        self._clock = clock
        self._open: dict[str, Host] = {}

    def __getitem__(self, name: str) -> Host:
        if name not in self._open:
            from pipeline.host.ssh import SshHost

            spec = self._specs[name]
            self._open[name] = SshHost(
                name,
                address=spec.address,
                port=spec.port,
                user=spec.user,
                identity_file=spec.identity_file,
                known_hosts=spec.known_hosts,
                state=spec.state,
                clock=self._clock,
            )
        return self._open[name]

    def __contains__(self, name: object) -> bool:
        return name in self._specs

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def close(self) -> None:
        for host in self._open.values():
            host.close()
        self._open.clear()
