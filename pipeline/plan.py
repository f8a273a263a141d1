"""A blueprint in YAML becomes a plan."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline import schema
from pipeline.clock import Clock, SystemClock
from pipeline.drivers import driver, drivers
from pipeline.errors import ConfigError
from pipeline.events import Sink
from pipeline.generate.spec import Ci
from pipeline.gitops.spec import Gitops
from pipeline.opened import OUTPUT, Clusters, Hosts
from pipeline.places import Builder, Docker
from pipeline.provision.spec import Terraform
from pipeline.records import Records
from pipeline.stage import VERBS, Cluster, Driver, HostSpec, Plan, Registry, Remote, Site, Stage
from pipeline.tools.placeholders import texts
from pipeline.tunnel.spec import Tunnel
from pipeline.yamlfile import Document, keys_like, read

if TYPE_CHECKING:
    from pipeline.provision.root import Root

PRIVATE = ("identity_file", "kubeconfig")  # keys whose value is the path of a secret
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?")
SUDO = ("sudo", "-n")  # nobody is there to type a password
UNFILLED = re.compile(r"<[^<>]+>")  # as inv init writes what only a person knows
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")  # of a blueprint or an environment: never a way out of the folder


@dataclass(frozen=True)
class SiteFile:
    """Hosts, git remotes, registries and clusters by the names a blueprint uses; paths of tools; values a blueprint may refer to."""

    hosts: Mapping[str, HostSpec] = field(default_factory=dict)
    remotes: Mapping[str, Remote] = field(default_factory=dict)
    registries: Mapping[str, Registry] = field(default_factory=dict)
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    builders: Mapping[str, Builder] = field(default_factory=dict)
    dockers: Mapping[str, Docker] = field(default_factory=dict)


@dataclass(frozen=True)
class BlueprintFile:
    """An application's way to its release: `app` names it, `stages` are its steps by verb, `environment` is the overlay taken where
    none is named.

    `site` is the site file, relative to the working copy; `protected` environments are only used when they are named. `dirty` says whether
    changes that are not committed may be released; where it is not said, they are refused in protected environments alone. `keep` is how
    many of the newest images, revisions and nix roots `inv prune` leaves, beside all that is still needed. `not_secret` names tracked files
    that only look like secrets, by pattern, each with a reason. `ci` is the workflow that publishes the images, `infra` what the blueprint
    stands on, `tunnel` the route by which the world reaches the release, `gitops` the repository that Flux follows.
    """

    app: str
    stages: Mapping[str, Any]
    environment: str = ""
    site: str = "config/site.yml"
    protected: bool = False
    dirty: Literal["", "allow", "refuse"] = ""
    keep: int = 5
    not_secret: Mapping[str, str] = field(default_factory=dict)
    ci: Ci | None = None
    infra: Terraform | None = None
    tunnel: Tunnel | None = None
    gitops: Gitops | None = None

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ValueError("keep is at least 1")
        for path, reason in self.not_secret.items():
            if not reason.strip():
                raise ValueError(f"not_secret needs a reason for {path!r}: who reads this later has to know why it opens nothing")


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
    infra: Terraform | None = None
    tunnel: Tunnel | None = None
    gitops: Gitops | None = None
    dirty: Literal["allow", "refuse"] = "allow"
    keep: int = 5
    not_secret: Mapping[str, str] = field(default_factory=dict)

    @property
    def records_path(self) -> Path:
        """The file that says what was done here, in this environment."""
        return self.root / ".pipeline" / f"{self.name}.{self.environment or 'default'}.db"

    def site(self, sink: Sink = lambda _event: None, clock: Clock | None = None, *, wait: float = 0.0) -> Site:
        """Everything the plan may touch. Nothing is contacted yet. A lock that somebody holds is waited for up to `wait` seconds.

        Raises ConfigError if the site file is missing or wrong.
        """
        found = read_site(self.site_path)
        clock = clock or SystemClock()
        clusters = Clusters({name: _by_sudo(cluster, found.hosts.get(cluster.node)) for name, cluster in found.clusters.items()})
        site = Site(
            app=self.app,
            root=self.root,
            hosts=Hosts(found.hosts, clock),
            remotes=found.remotes,
            registries=found.registries,
            clusters=clusters,
            tools=found.tools,
            values=found.values,
            builders=found.builders,
            dockers=found.dockers,
            wait=wait,
            records=Records(self.records_path, clock),
            clock=clock,
            sink=sink,
            private=frozenset(_private(dataclasses.asdict(found))) | frozenset(_private(self.document.data)),
            dirty=self.dirty,
            keep=self.keep,
            not_secret=self.not_secret,
        )
        clusters.infra = lambda: self.infra_root(site)
        return site

    def infra_root(self, site: Site) -> Root | None:
        """The root module of Terraform that this blueprint stands on, None where it names none. Contacts nobody."""
        if self.infra is None:
            return None
        from pipeline.provision.root import Root

        return Root(f"{self.name}.{self.environment or 'default'}", self.infra, site, self.document.data.get("protected") is True)


def load(config: Path | str, name: str = "", env: str = "") -> Blueprint:
    """The blueprint `name` (the only one where it is not named) of the folder `config`, with the overlay of environment `env`.

    Raises ConfigError with file, line and what to write instead.
    """
    folder = Path(config).absolute()
    name = _file_name("blueprint", name or only_blueprint(folder))
    if not (folder / f"{name}.yml").exists() and (others := blueprints(folder)):
        raise ConfigError(
            f"there is no blueprint {name!r}{keys_like(name, others)}",
            mend=f"write {folder}/{name}.yml, or name one of: {', '.join(others)}",
        )
    document = read(folder / f"{name}.yml")
    base = document.data if isinstance(document.data, dict) else {}
    chosen = env or str(base.get("environment", ""))
    if chosen:
        _file_name("environment", chosen)
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
        if not chosen:
            raise ConfigError(f"blueprint {name} is protected, but has no environment to name", mend="say protected: true in an overlay")
        raise ConfigError(f"environment {chosen} is protected", mend=f"name it: --env {chosen}")
    if not NAME.fullmatch(found.app):
        raise ConfigError(
            f"{document.place(('app',))}: app {found.app!r} is not a name",
            mend="write lower-case letters, digits and dashes, at most 53",
        )
    if not found.stages:
        raise ConfigError(f"{document.place(('stages',))}: blueprint {name} has no stages", mend=f"stages are: {', '.join(VERBS)}")
    plan = tuple(_stage(document, verb) for verb in found.stages)
    _check_order(document, plan)
    where = folder.parent / found.site
    dirty = found.dirty or ("refuse" if found.protected else "allow")
    return Blueprint(name, chosen, found.app, folder.parent, plan, where, document, found.infra, found.tunnel, found.gitops, dirty,
                     found.keep, found.not_secret)  # fmt: skip


@dataclass(frozen=True)
class Published:
    """What the section `ci` of a blueprint stands on: the options of the build stage (or None), the checks of what was published, and the
    blueprint without its stages, to open its site by."""

    ci: Ci
    build: Any
    runs: tuple[Any, ...]
    blueprint: Blueprint


def ci_of(config: Path | str, name: str, env: str = "") -> Published | None:
    """The section `ci` of a blueprint.

    The overlay is that of `env`, else the one that the section names, else none. None where the blueprint has no such section. Raises
    ConfigError as `load` does.
    """
    folder = Path(config).absolute()
    document = read(folder / f"{_file_name('blueprint', name)}.yml")
    if not isinstance(document.data, dict) or not document.data.get("ci"):
        return None
    ci: Ci = schema.build(Ci, document, ("ci",))
    if chosen := env or ci.overlay:
        document = document.under(read(folder / f"{name}.{_file_name('environment', chosen)}.yml"))
        ci = schema.build(Ci, document, ("ci",))
    found: BlueprintFile = schema.build(BlueprintFile, document)
    build = _stage(document, "build").spec if "build" in found.stages else None
    runs = _runs(document) if ci.run else ()
    return Published(ci, build, runs, Blueprint(name, chosen, found.app, folder.parent, (), folder.parent / found.site, document))


def _runs(document: Document) -> tuple[Any, ...]:
    from pipeline.verify.run import Run  # no release needs it

    return tuple(schema.build(Run, document, ("ci", "run", str(number))) for number in range(len(document.data["ci"]["run"])))


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


def _private(told: Any, key: str = "") -> Iterator[Path]:
    """Yield each file that configuration names as a secret: keys, kubeconfigs, and what a secret is read from."""
    if isinstance(told, Mapping):
        for name, each in told.items():
            yield from _private(each, str(name))
    elif isinstance(told, list | tuple):
        for each in told:
            yield from _private(each, key)
    elif isinstance(told, str) and told and "\0" not in told:
        if told.startswith("file:"):
            yield Path(os.path.expanduser(told.removeprefix("file:")))  # noqa: PTH111  # a user that is not known is no fault here
        elif key in PRIVATE and not told.startswith(OUTPUT):
            yield Path(os.path.expanduser(told))  # noqa: PTH111


def read_site(path: Path, *, unfilled: bool = False) -> SiteFile:
    """The site file at `path`. Raises ConfigError where it is missing, wrong, or (unless `unfilled` is all right) not filled in yet."""
    if not path.exists() and path.parent.name == "lab":
        raise ConfigError("the lab is not running", mend="inv lab.up")
    document = read(path)
    left = [(keys, text) for keys, text in texts(document.data) if UNFILLED.fullmatch(text)]
    if left and not unfilled:
        raise ConfigError(
            f"{document.place(left[0][0])}: {'.'.join(left[0][0])} is not filled in yet",
            cause="\n".join(f"line {document.place(keys).line}: {text}" for keys, text in left),
            mend="write your own in place of what stands in <>, then inv doctor",
        )
    found: SiteFile = schema.build(SiteFile, document)
    return found


def _by_sudo(cluster: Cluster, node: HostSpec | None) -> Cluster:
    """k3s lets root alone ask its runtime: another user calls it by sudo. What a site file writes itself stays as it is."""
    if node is None or node.user in ("", "root"):
        return cluster
    return dataclasses.replace(
        cluster,
        crictl=(*SUDO, *cluster.crictl) if cluster.crictl == Cluster.crictl else cluster.crictl,
        ctr=(*SUDO, *cluster.ctr) if cluster.ctr == Cluster.ctr else cluster.ctr,
    )


def blueprint_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a blueprint, overlay included: each stage takes the options of one of its drivers."""
    shape = schema.object_schema(BlueprintFile)
    known = {verb: [found for name in drivers(verb) if (found := driver(verb, name))] for verb in VERBS}
    stages = {verb: {"oneOf": [_driver_schema(found) for found in those]} for verb, those in known.items() if those}
    shape["properties"]["stages"] = {"type": "object", "properties": stages, "additionalProperties": False, "minProperties": 1}
    shape["properties"]["app"]["pattern"] = f"^{NAME.pattern}$"
    return {"$schema": schema.DIALECT, **shape}


def _driver_schema(found: Driver) -> dict[str, Any]:
    shape = schema.object_schema(found.spec)
    shape["properties"] = {"driver": {"const": found.name}, **shape["properties"]}
    shape["required"] = ["driver", *shape.get("required", [])]
    return shape


def _file_name(what: str, name: str) -> str:
    if not FILE_NAME.fullmatch(name):
        raise ConfigError(f"{what} {name!r} is not a plain name", mend="letters, digits, - and _, with no folder and no dot in it")
    return name


def _stage(document: Document, verb: str) -> Stage:
    path = ("stages", verb)
    place = document.place(path)
    if verb not in VERBS:
        raise ConfigError(f"{place}: {verb!r} is not a stage{keys_like(verb, list(VERBS))}", mend=f"stages are: {', '.join(VERBS)}")
    options = document.data["stages"][verb]
    if not isinstance(options, dict) or not isinstance(options.get("driver"), str):
        raise ConfigError(f"{place}: {verb} does not say its driver", mend=f"{verb}: {{driver: …, …}}")
    name = options["driver"]
    if (found := driver(verb, name)) is None:
        known = drivers(verb)
        raise ConfigError(
            f"{document.place((*path, 'driver'))}: {verb} has no driver {name!r}{keys_like(name, known)}",
            mend=f"drivers of {verb}: {', '.join(known) or 'none'}",
        )
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
                mend="order the stages so that each takes what the one before gives"
                + ("; if nothing is built, the images all being other people's: build: {driver: none}" if given is Source else ""),
            )
        given, before = stage.driver.gives, stage.verb
