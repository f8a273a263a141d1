"""Is it true: every pod runs what was pushed, and each check of the list holds, in one and the same look, asked until the deadline."""

from __future__ import annotations

import contextlib
import re
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.artifacts import Check, Release, Report
from pipeline.errors import ConfigError
from pipeline.events import What
from pipeline.stage import Driver, Finding, Site
from pipeline.tools import kube
from pipeline.tools.kubeconfig import access_of
from pipeline.verify import drain, git, log, objects, page, pods, run, tcp
from pipeline.verify.drain import Drain
from pipeline.verify.expect import Page
from pipeline.verify.git import Git
from pipeline.verify.log import Log
from pipeline.verify.look import SHORTEST, Look, given_up, look
from pipeline.verify.objects import Objects
from pipeline.verify.question import Question, World
from pipeline.verify.run import Run
from pipeline.verify.tcp import Tcp
from pipeline.verify.through import parse
from pipeline.verify.view import View
from pipeline.verify.ways import Ways
from pipeline.verify.words import words

FIRST_PAUSE, LAST_PAUSE, GROWTH = 0.05, 1.0, 1.5  # seconds between two looks, growing: what is late by 0.4 s is seen a moment later
HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?", re.IGNORECASE)
SELECTOR = re.compile(r"[A-Za-z0-9]([A-Za-z0-9./_-]*[A-Za-z0-9])?=[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
KINDS: dict[type[Any], Callable[[Any, World], Question]] = {
    Page: page.question,
    Git: git.question,
    Tcp: tcp.question,
    Log: log.question,
    Objects: objects.question,
}


@dataclass(frozen=True)
class Checks:
    """Options of the stage.

    `cluster` is where the pods are looked at; `host` the public name; `url` the address that is really connected to, by default the
    cluster's ingress. `checks` is the list, each item of one kind that its first key names. `deadline` in seconds holds for everything
    together. `pods` says whether pods are looked at, `beside` names the image repositories that may run in them though the release did
    not push them (a database, a mesh's sidecar), `selector` the label they carry (KEY=VALUE), by default that of their Helm release.
    Raises ValueError.
    """

    cluster: str
    host: str = ""
    url: str = ""
    checks: tuple[Page | Git | Tcp | Log | Objects | Run | Drain, ...] = ()
    deadline: float = 60.0
    pods: bool = True
    beside: tuple[str, ...] = ()
    selector: str = ""

    def __post_init__(self) -> None:
        if self.host and not HOST.fullmatch(self.host):
            raise ValueError(f"host {self.host!r} is no public name like probe.example.org")
        if not self.host and self.by_front_door:
            raise ValueError("host is missing: a page through the ingress is asked for under the application's public name")
        if self.url:
            _base(self.url)
        if self.selector and not SELECTOR.fullmatch(self.selector):
            raise ValueError(f"selector {self.selector!r} is no label like app=relay")
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
        return any(isinstance(each, Page | Drain) and each.through == "ingress" for each in self.checks)

    @property
    def by_cluster(self) -> bool:
        """Whether the cluster itself is asked."""
        ways = [way for each in self.checks for way in _ways(each)]
        return (
            self.pods
            or any(isinstance(each, Log | Objects | Drain) for each in self.checks)
            or any(parse(way).kind in ("load-balancer", "port-forward") for way in ways)
        )


def _ways(check: Any) -> list[str]:
    """How a check reaches the application, as it is written."""
    return [way for way in (check.tcp if isinstance(check, Tcp) else getattr(check, "through", ""),) if way]


def find(_spec: Checks, _release: Release, _site: Site) -> Finding:
    """Nothing is ever found: what was true an hour ago is no evidence."""
    return Finding(None, "always fresh")


def make(spec: Checks, release: Release, site: Site) -> Report:
    """The report of a release that passes every check in one and the same look.

    Raises VerifyError with the evidence of every check where the deadline comes first, Expired where all that is wrong by then is that
    the cluster or the front door cannot be reached (which says nothing about the release), ConfigError and AuthError at once. Whatever
    was opened for the checks is closed in every end.
    """
    with contextlib.ExitStack() as opened:
        ways = Ways()
        opened.callback(ways.close)
        world = _world(spec, release, site, ways)
        questions = [_pods(spec, world)] if spec.pods else []
        questions += [KINDS[type(each)](each, world) for each in spec.checks if type(each) in KINDS]
        public = f"{urllib.parse.urlsplit(world.front()).scheme}://{spec.host}" if spec.by_front_door else ""
        if spec.by_cluster:
            kube.connect(site, spec.cluster)
        for each in spec.checks:
            if isinstance(each, Run):
                questions += run.questions(each, world, opened, spec.deadline)
        seen = _until_passed(spec, world, questions, public)
        drained = tuple(drain.held(each, world, _view(spec, world)) for each in spec.checks if isinstance(each, Drain))
        if drained:  # the pods are others now
            seen = _until_passed(spec, world, questions, public)
        return Report(release, (*seen.checks, *drained), public)


def _until_passed(spec: Checks, world: World, questions: Sequence[Question], public: str) -> Look:
    """The first look in which everything holds. Raises what `given_up` makes of the last one where the deadline comes first."""
    site, clock = world.site, world.site.clock
    started, pause, told = clock.monotonic(), FIRST_PAUSE, ""
    while True:
        left = spec.deadline - (clock.monotonic() - started)
        seen = look(questions, _view(spec, world), left)
        if seen.passed:
            return seen
        left = spec.deadline - (clock.monotonic() - started)
        wait = max(pause, seen.patience)
        if left - wait < SHORTEST:
            raise given_up(world.release, seen, public, clock.monotonic() - started)
        if (text := seen.waiting) != told:
            site.tell(What.WAIT, "verify", text)
            told = text
        clock.sleep(wait)
        pause = min(LAST_PAUSE, pause * GROWTH)


def _world(spec: Checks, release: Release, site: Site, ways: Ways) -> World:
    selector = spec.selector or pods.selector(release)
    return World(site, release, spec.host, partial(_address, spec, site), words(release, site.app), selector, ways)


def _view(spec: Checks, world: World) -> View:
    return View(partial(kube.connect, world.site, spec.cluster), world.release.namespace, world.selector)


def _pods(spec: Checks, world: World) -> Question:
    def judge(listed: Sequence[pods.Pod]) -> Check:
        return pods.judge(world.release, listed, spec.beside, world.selector)

    return Question(pods.NAME, pods.NAME, lambda view, _seconds: view.pods(), judge)


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
        access_of(site, spec.cluster)
    for each in spec.checks:
        if isinstance(each, Run):
            site.docker(each.docker)
            for source in each.secrets.values():
                site.secrets.get(source)


DRIVER = Driver(verb="verify", name="checks", takes=Release, gives=Report, spec=Checks, find=find, make=make, fresh=True, check=check)
