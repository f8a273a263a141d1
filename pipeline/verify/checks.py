"""Is it true: every pod runs what was pushed, and each check of the list holds, in one and the same look, asked until the deadline."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sys
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from pipeline.artifacts import Images, Release, Report
from pipeline.errors import ConfigError
from pipeline.schema import OneOf
from pipeline.stage import Driver, Finding, Site
from pipeline.verify.through import parse

MOST = 100  # requests a second while a release is made
HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?", re.IGNORECASE)
SELECTOR = re.compile(r"[A-Za-z0-9]([A-Za-z0-9./_-]*[A-Za-z0-9])?=[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
KINDS = OneOf(
    {
        "path": "pipeline.verify.expect:Page",
        "git": "pipeline.verify.git:Git",
        "tcp": "pipeline.verify.tcp:Tcp",
        "log": "pipeline.verify.log:Log",
        "objects": "pipeline.verify.objects:Objects",
        "run": "pipeline.verify.run:Run",
        "drain": "pipeline.verify.drain:Drain",
        "replicated": "pipeline.verify.replicated:Replicated",
        "drift": "pipeline.verify.drift:Drift",
        "survives": "pipeline.verify.survives:Survives",
    }
)  # what no check of a blueprint is of is never loaded


@dataclass(frozen=True)
class Checks:
    """Options of the stage.

    `cluster` is where the pods are looked at; `host` the public name; `url` the address that is really connected to, by default the
    cluster's ingress. `checks` is the list, each item of one kind that its first key names. `deadline` in seconds holds for everything
    together. `pods` says whether pods are looked at (those of the release run what was pushed, and of other people's images what the
    manifest says), `selector` the label they carry (KEY=VALUE) if they are not those of the release's own workloads. `watch` is how many
    times a second the first page of the ingress is asked for while a release is made, 0 for not at all: how users fared is told.
    `disturb` allows the checks that take something away from what runs (`survives`): without it they are left out, and that is told.
    Raises ValueError.
    """

    cluster: str
    host: str = ""
    url: str = ""
    checks: tuple[Annotated[Any, KINDS], ...] = ()
    deadline: float = 60.0
    pods: bool = True
    selector: str = ""
    watch: float = 10.0
    disturb: bool = False

    def __post_init__(self) -> None:
        if self.host and not HOST.fullmatch(self.host):
            raise ValueError(f"host {self.host!r} is no public name like probe.example.org")
        if not self.host and self.by_front_door:
            raise ValueError("host is missing: a page through the ingress is asked for under the application's public name")
        if self.url:
            _base(self.url)
        if self.selector and not SELECTOR.fullmatch(self.selector):
            raise ValueError(f"selector {self.selector!r} is no label like app=relay")
        if not 0 <= self.watch <= MOST:
            raise ValueError(f"watch: {self.watch:g} requests a second is not between 0 and {MOST}")
        if not self.deadline > 0:
            raise ValueError(f"a deadline of {self.deadline} s leaves no time")
        if not self.checks and not self.pods:
            raise ValueError("there is nothing to check: add to `checks`, or do not turn `pods` off")
        if strays := [each.name for each in self.checks if any(parse(way).kind == "port" for way in _ways(each))]:
            raise ValueError(
                f"{strays[0]}: port:NUMBER is a way to a container that a check runs itself: it stands among the checks of a `run`"
            )

    @property
    def by_front_door(self) -> bool:
        """Whether something is asked through the ingress."""
        return any("ingress" in _ways(each) for each in self.checks)

    @property
    def by_cluster(self) -> bool:
        """Whether the cluster itself is asked."""
        ways = [way for each in self.checks for way in _ways(each)]
        return (
            self.pods
            or any(getattr(each, "in_cluster", False) for each in self.checks)
            or any(parse(way).kind in ("load-balancer", "port-forward") for way in ways)
        )


def _ways(check: Any) -> tuple[str, ...]:
    """How a check reaches the application, as it is written."""
    return getattr(check, "ways", ())


def find(_spec: Checks, _release: Release, _site: Site) -> Finding:
    """Nothing is ever found: what was true an hour ago is no evidence."""
    return Finding(None, "always fresh")


def make(spec: Checks, release: Release, site: Site) -> Report:
    """The report of a release that passes every check in one and the same look.

    Raises VerifyError with the evidence of every check where the deadline comes first, Expired where all that is wrong by then is that
    the cluster or the front door cannot be reached (which says nothing about the release), ConfigError and AuthError at once. Whatever
    was opened for the checks is closed in every end.
    """
    from pipeline.verify.until import made  # a release that is verified already needs none of it

    return made(spec, release, site, partial(_address, spec, site))


@contextlib.contextmanager
def watch(spec: Checks, site: Site) -> Iterator[None]:
    """See `pipeline.verify.during.watch`."""
    from pipeline.verify import during

    with during.watch(spec, site, partial(_address, spec, site)):
        yield


def _address(spec: Checks, site: Site) -> str:
    url = spec.url or site.cluster(spec.cluster).ingress
    try:
        return _base(url)
    except ValueError as error:
        raise ConfigError(
            f"cluster {spec.cluster} has no usable ingress: {error}",
            mend="write `ingress` in the site's cluster, e.g. http://10.0.0.5:80, or `url` under verify",
        ) from error


def _base(url: str) -> str:
    """`url` as scheme and address. Raises ValueError where it is missing or anything more than that."""
    parts = urllib.parse.urlsplit(url)
    usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and parts.username is None
    if not usable or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is not an address like http://10.0.0.5:80")
    return f"{parts.scheme}://{parts.netloc}"


def check(spec: Checks, site: Site) -> None:
    """Whether there is an address to ask, a cluster to look into, a Docker to run on. Raises ConfigError, AuthError for a secret."""
    if spec.by_front_door:
        _address(spec, site)
    if spec.by_cluster:
        from pipeline.tools.kubeconfig import access_of

        access_of(site, spec.cluster)
    for each in spec.checks:
        if look := getattr(sys.modules[type(each).__module__], "check", None):
            look(each, site)


def rehearse(spec: Checks, images: Images, site: Site) -> None:
    """Raise ConfigError for a word or an image that no release of these images has."""
    from pipeline.tools import placeholders

    known = placeholders.words(images.source, images.images, site.app)
    for each in spec.checks:
        for _, text in placeholders.texts(dataclasses.asdict(each)):
            for word in placeholders.IN_TEXT.findall(text):
                if placeholders.is_known(word) and word not in known:
                    raise placeholders.unknown(f"a check of {each.name}", word, known)
        if look := getattr(sys.modules[type(each).__module__], "image_of", None):
            look(each, images.images)


DRIVER = Driver("verify", "checks", Release, Report, Checks, find, make, fresh=True, check=check, rehearse=rehearse, watch=watch)
