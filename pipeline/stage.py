"""A stage is a driver with its options; a driver looks (`find`) and acts (`make`), turning one artifact into the next."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from pipeline.artifacts import Artifact, content_hash
from pipeline.clock import Clock, SystemClock
from pipeline.errors import ConfigError
from pipeline.events import Event, Sink, What
from pipeline.failpoint import failpoint
from pipeline.places import Builder, Docker
from pipeline.retry import USUAL, Policy
from pipeline.safe import every_text
from pipeline.secrets import Secrets

if TYPE_CHECKING:
    from pipeline.host import Host
    from pipeline.records import Records

T = TypeVar("T")
STATE = re.compile(r"(/[A-Za-z0-9._+@=,-]+)+")  # what shells, nix and git all take as one word
VERBS = ("provision", "sync", "build", "push", "deploy", "verify")


@dataclass(frozen=True)
class HostSpec:
    """An SSH machine. `state` is the pipeline's own folder there; key and known hosts default to the user's own, and `user` to that of
    ~/.ssh/config, else root."""

    address: str
    port: int = 22
    user: str = ""
    identity_file: str = ""
    known_hosts: str = ""
    state: str = "/var/lib/pipeline"

    def __post_init__(self) -> None:
        """Raises ValueError for a port or a folder that cannot be one."""
        if not 0 < self.port < 65536:
            raise ValueError(f"{self.port} is not a port")
        if not STATE.fullmatch(self.state) or ".." in self.state.split("/"):
            raise ValueError(f"state {self.state!r} is not a plain folder named from the root, as /var/lib/pipeline is")


@dataclass(frozen=True)
class Remote:
    """A git remote; `{app}` in `url` stands for the blueprint's app."""

    url: str
    identity_file: str = ""
    known_hosts: str = ""


@dataclass(frozen=True)
class Registry:
    """An OCI registry at `address` (host:port).

    `scheme` is http or https, never guessed. `realm` says where tokens come from: `own` the registry's own address, `follow` the
    realm the registry names if it is the registry itself (or one known to belong to it, as auth.docker.io to docker.io), or a URL.
    `username` and `password` are a name and a secret source. Where neither is given, `credentials` auto looks for a login on this machine
    (docker's and containers' files, their helpers, for GHCR the variables GHCR_PAT and GITHUB_TOKEN), and none stays anonymous.
    `provider` says whose ways it has where the address does not tell: ghcr or dockerhub. `stores` are the hosts that it may send a
    download of content on to, beside those known of GHCR and Docker Hub; they are asked without credentials.
    """

    address: str
    scheme: str = "https"
    realm: str = "follow"
    username: str = ""
    password: str = ""
    credentials: Literal["auto", "none"] = "auto"
    provider: Literal["", "ghcr", "dockerhub"] = ""
    stores: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cluster:
    """A Kubernetes cluster, bound to the sha256 of its CA certificate (`identity`, checked before anything is asked).

    `kubeconfig` is a file, "output:NAME", "$KUBECONFIG" or "in-cluster".
    `tunnel` names the host through which the API is reached where it is not open to the world; `node` the host whose own view of
    the registry counts; `crictl` and `ctr` the argv that speak to that node's runtime; `ingress` the URL where the ingress answers.
    """

    kubeconfig: str
    context: str = ""
    identity: str = ""
    tunnel: str = ""
    node: str = ""
    crictl: tuple[str, ...] = ("k3s", "crictl")
    ctr: tuple[str, ...] = ("k3s", "ctr", "-n", "k8s.io")
    ingress: str = ""


def registry_at(registries: Mapping[str, Registry], address: str) -> str:
    """Return the site's name for the registry at `address` (host:port), "" if it has none."""
    return next((name for name, registry in registries.items() if registry.address == address), "")


@dataclass(frozen=True)
class Site:
    """Everything a stage may touch, passed explicitly in place of every global. `root` is the working copy.

    `host` opens a machine by the name the blueprint uses for it and keeps it for the process. `dirty` says whether changes that are not
    committed may be released, `wait` how many seconds to wait for a lock that somebody holds, `keep` how many of what was made stay,
    `not_secret` which tracked files only look like secrets, and why.
    """

    app: str
    root: Path
    hosts: Mapping[str, Host]
    remotes: Mapping[str, Remote]
    registries: Mapping[str, Registry]
    clusters: Mapping[str, Cluster]
    tools: Mapping[str, str]
    values: Mapping[str, str]
    records: Records
    secrets: Secrets = field(default_factory=Secrets)
    clock: Clock = field(default_factory=SystemClock)
    sink: Sink = lambda _event: None
    builders: Mapping[str, Builder] = field(default_factory=dict)
    dockers: Mapping[str, Docker] = field(default_factory=dict)
    private: frozenset[Path] = frozenset()  # files that configuration names as secrets: they stay on this machine
    dirty: Literal["allow", "refuse"] = "allow"
    wait: float = 0.0
    keep: int = 5
    not_secret: Mapping[str, str] = field(default_factory=dict)
    shared: dict[str, Any] = field(default_factory=dict)  # connections that stages of one process share, by name
    _making: dict[str, threading.RLock] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.records.mask = self.secrets.mask

    def host(self, name: str) -> Host:
        return _named("host", name, self.hosts)

    def remote(self, name: str) -> Remote:
        return _named("remote", name, self.remotes)

    def registry(self, name: str) -> Registry:
        return _named("registry", name, self.registries)

    def cluster(self, name: str) -> Cluster:
        return _named("cluster", name, self.clusters)

    def builder(self, name: str) -> Builder:
        return _named("builder", name, self.builders)

    def docker(self, name: str) -> Docker:
        return _named("docker", name, self.dockers)

    def tool(self, name: str) -> str:
        """The program to call for `name`: the site's own path, or the name itself, found on PATH."""
        return self.tools.get(name, name)

    def tell(self, what: What, stage: str, text: str, **data: Any) -> None:
        """Tell the faces what happens. Secrets read so far are masked here, once for all of them."""
        self.sink(Event(what, stage, self.secrets.mask(text), self.clock.now(), every_text(data, self.secrets.mask)))
        failpoint(f"{stage}.{what}")

    def share(self, name: str, make: Callable[[], Any]) -> Any:
        """The connection kept under `name`, made on first use; closed with the site where it has `close`.

        Stages are looked at side by side: two that ask for one name at once get one connection.
        """
        with self._making.setdefault(name, threading.RLock()):
            if name not in self.shared:
                self.shared[name] = make()
            return self.shared[name]

    def close(self) -> None:
        """Close everything that was opened, the newest first (a tunnel before its host), each even where another fails."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.records.close)
            for connection in (self.hosts, self.clusters, *self.shared.values()):
                if hasattr(connection, "close"):
                    stack.callback(connection.close)
            self.shared.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _named(kind: str, name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        import difflib

        names = ", ".join(sorted(known)) or "none"
        near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"the site has no {kind} {name!r}{meant}", mend=f"add it to the site file, or name one of: {names}")
    return known[name]


@dataclass(frozen=True)
class Finding:
    """What a look saw: the `artifact`, or None and `why` it has to be made ("image a1 is live, b2 is wanted")."""

    artifact: Artifact | None
    why: str = ""


@dataclass(frozen=True)
class Freeze:
    """Why nothing may be deployed: `message`, `by` whom, `since` when (ISO 8601), both "" where that is not known."""

    message: str
    by: str = ""
    since: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.message, self.by and f"({self.by}{self.since and f', since {self.since}'})")))


@dataclass(frozen=True)
class TakenBack:
    """A release that was taken back: `source` is the id of what it was made from, `label` its name for people, `by` whom and `since` when.
    `failed` says that it did not come up or did not hold what is verified, else a person had it so."""

    source: str
    label: str
    by: str = ""
    since: str = ""
    failed: bool = False

    def __str__(self) -> str:
        why = "since it failed" if self.failed else "by a person"
        return f"{self.label} was taken back {why}{self.by and f', by {self.by}'}{self.since and f', on {self.since}'}"


@dataclass(frozen=True)
class Standing:
    """What is to be known of what is live beside what it is: `since` when (ISO 8601) and `by` whom, `remarks` on what is odd about it,
    whether deploys are `frozen`, and the `holder` who is at work on it now. "" where there is nothing to say. Where it is not `ours`,
    another tool made it, and what is said of its source need not be true. `taken` are the sources that were taken back and not released
    again since. `live` reads what is live, and `edited` what of it was edited or deleted by hand since it was released: from what was read
    for the rest, and what they need beside it."""

    since: str = ""
    by: str = ""
    ours: bool = True
    remarks: tuple[str, ...] = ()
    frozen: Freeze | None = None
    holder: str = ""
    taken: tuple[TakenBack, ...] = ()
    live: Callable[[], Artifact | None] = field(default=lambda: None, compare=False)
    edited: Callable[[], Sequence[str]] = field(default=tuple, compare=False)


@dataclass(frozen=True)
class Return:
    """A way back, looked at and not yet gone, under the lock: from `now` to `goal`; `why` says both in words, `name` names the goal
    however often it is asked for. `go` makes it live and gives what is live then; None where it is live already."""

    now: Artifact | None
    goal: Artifact
    name: str
    why: str
    go: Callable[[], Artifact] | None


@dataclass(frozen=True)
class Store:
    """A repository of images: `registry` is the site's name for it. `names` are the expressions by which a stage calls the images that it
    puts there after their commit, short or whole, which is group 1 of each; none where it only reads there."""

    registry: str
    repository: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Use:
    """Something that is needed: `mark` is an image's digest, a tag of it, or the tree that something was built from; `why` says what needs
    it. `of` names the `Left` that needs it, "" where that is nothing that may go."""

    mark: str
    why: str
    of: str = ""


@dataclass(frozen=True)
class Left:
    """What a stage leaves behind beside images: `kind` and `name` are what people call it, `why` says what it is kept for, "" where it may
    go, unless something needs one of its `marks`. `remove` takes it away, and is done again without harm."""

    kind: str
    name: str
    why: str
    remove: Callable[[], None] = field(compare=False)
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stays:
    """An object that outlives its release, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Removal:
    """Taking a release away, looked at and not yet done: what `goes`, what `stays`. `go` does it, under the lock; None where there is
    nothing."""

    name: str
    namespace: str
    goes: tuple[str, ...]
    stays: tuple[Stays, ...]
    go: Callable[[], None] | None


@dataclass(frozen=True)
class Driver:
    """How one tool does one verb. `find` only looks and is cheap; `make` publishes atomically, since `find` trusts presence.

    `spec` is a frozen dataclass: the options of the stage in the blueprint. `version` changes when the same options would give
    another artifact. `stands_alone` says that what exists needs nothing upstream any more (an image in a registry does not need
    the archive it came from). `fresh` says that it acts each time (verify). `exclusive` is entered around look, act, look, and
    around `undo`: the lock of the thing that changes. `live` reads what exists now, whatever source it came from (status, and
    `verify` on its own). `undo` takes an artifact of this run back for a reason, and always raises: RolledBack where the old one
    is restored, else NotRolledBack; it may be called again after it raised Transient. `warm` opens a connection that `make` will
    need, while an earlier stage works; what it raises is left for `make` to tell. `check` looks at what `make` will need and contacts
    nobody: names the site has to know, files, secrets, tools. It is asked of every stage before the first one acts, so that a typing
    error at the end of a plan costs no build, and raises ConfigError or AuthError. `rehearse` does the same with what it will be given, if
    that is the source, or images as far as they are known before they are built: their repositories, under digests and a tag that
    nothing has. `present` asks the world for what `make` takes from elsewhere beside the artifact (a chart in a registry, a file of
    another repository): before the first stage acts, too, and raises ConfigError if it is not there. `known` finds what was made of a
    source as the world itself proves it, for a clone whose records know of no stage before this one.

    `watch` of a stage is entered before the stage that makes what it takes acts, and left at the end of the run: what is seen in between is
    part of what it gives.

    For the operator: `back` looks, under the lock, for the way to what was live before (or to what is named, where it is named), despite
    a freeze where it is told so; `standing` tells all that is to be known of what is live; `confirm` notes that a release was verified, if
    nobody saw it come up; `freeze` stops deploys with a message, and "" lets them go on.
    `policy` is the patience that its world needs.

    For `inv prune`: `stores` are the repositories of images that it fills or reads, `uses` what is needed of images, and `left` what it has
    left behind beside images; both are told how many releases are kept, and only look. For `inv remove`: `removal` looks what taking the
    release away means, with its data or without.
    """

    verb: str
    name: str
    takes: type[Artifact]
    gives: type[Artifact]
    spec: type[Any]
    find: Callable[[Any, Any, Site], Finding]
    make: Callable[[Any, Any, Site], Artifact]
    version: int = 1
    stands_alone: bool = True
    fresh: bool = False
    exclusive: Callable[[Any, Any, Site], AbstractContextManager[None]] | None = None
    live: Callable[[Any, Site], Artifact | None] | None = None
    undo: Callable[[Any, Any, Site, str], None] | None = None
    warm: Callable[[Any, Site], None] | None = None
    check: Callable[[Any, Site], None] | None = None
    rehearse: Callable[[Any, Any, Site], object] | None = None
    present: Callable[[Any, Site], object] | None = None
    known: Callable[[Any, Any, Site], Finding] | None = None
    back: Callable[[Any, str, bool, Site], AbstractContextManager[Return]] | None = None
    standing: Callable[[Any, Site], Standing] | None = None
    confirm: Callable[[Any, Any, Site], None] | None = None
    freeze: Callable[[Any, str, Site], None] | None = None
    policy: Policy = USUAL
    watch: Callable[[Any, Site], AbstractContextManager[None]] | None = None
    stores: Callable[[Any, Site], tuple[Store, ...]] | None = None
    uses: Callable[[Any, int, Site], tuple[Use, ...]] | None = None
    left: Callable[[Any, int, Site], tuple[Left, ...]] | None = None
    removal: Callable[[Any, bool, Site], Removal] | None = None


@dataclass(frozen=True)
class Stage:
    """A driver with its options."""

    verb: str
    driver: Driver
    spec: Any

    def key(self, parent: str) -> str:
        """Names the outcome before it exists: same parent, driver, version and options give the same artifact."""
        driver = self.driver
        return content_hash([parent, driver.verb, driver.name, driver.version, dataclasses.asdict(self.spec)])

    def standing(self, site: Site) -> Standing:
        """Return what is to be known of what is live; if the driver does not tell it, what is live alone."""
        driver = self.driver
        if driver.standing:
            return driver.standing(self.spec, site)
        live = driver.live
        return Standing(live=lambda: live(self.spec, site)) if live else Standing()


Plan = tuple[Stage, ...]


def stores(plan: Plan, site: Site) -> list[Store]:
    """Return the repositories of images that the stages of a plan fill or read."""
    return [store for stage in plan if stage.driver.stores for store in stage.driver.stores(stage.spec, site)]
