"""Is it true: every pod runs what was pushed, and the pages say what they must, asked through the front door until the deadline."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.artifacts import Check, Release, Report
from pipeline.errors import ConfigError, Expired, PipelineError, RateLimited, Transient, VerifyError
from pipeline.events import What
from pipeline.stage import Driver, Finding, Site
from pipeline.tools import kube
from pipeline.tools.kubeconfig import access_of
from pipeline.verify import expect, pods
from pipeline.verify.expect import Page
from pipeline.verify.parallel import at_once
from pipeline.verify.web import Answer, Ask, Unreachable, get

REQUEST = 5.0  # seconds for one page, redirects included
FIRST_PAUSE, LAST_PAUSE, GROWTH = 0.05, 1.0, 1.5  # seconds between two looks, growing: what is late by 0.4 s is seen a moment later
SHORTEST = 0.2  # seconds: with less than that left, one more look could only time out and hide what the look before saw
HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?", re.IGNORECASE)


@dataclass(frozen=True)
class Checks:
    """Options of the stage.

    `cluster` is where the pods are looked at; `host` the public name; `url` the address that is really connected to, by default the
    cluster's ingress. `deadline` in seconds holds for everything together. `pods` says whether pods are looked at, `beside` names the image
    repositories that may run in them though the release did not push them (a database, a mesh's sidecar). Raises ValueError.
    """

    cluster: str
    host: str
    url: str = ""
    checks: tuple[Page, ...] = ()
    deadline: float = 60.0
    pods: bool = True
    beside: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not HOST.fullmatch(self.host):
            raise ValueError(f"host {self.host!r} is no public name like probe.example.org")
        if self.url:
            _base(self.url)
        if not self.deadline > 0:
            raise ValueError(f"a deadline of {self.deadline} s leaves no time")
        if not self.checks and not self.pods:
            raise ValueError("there is nothing to check: add to `checks`, or do not turn `pods` off")


@dataclass(frozen=True)
class Look:
    """One look at everything: `blind` says that no check speaks against the release, some could just not be made; `patience` how many
    seconds a peer asked for."""

    checks: tuple[Check, ...]
    blind: bool
    patience: float

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


def find(_spec: Checks, _release: Release, _site: Site) -> Finding:
    """Nothing is ever found: what was true an hour ago is no evidence."""
    return Finding(None, "always fresh")


def make(spec: Checks, release: Release, site: Site) -> Report:
    """The report of a release that passes every check in one and the same look.

    Raises VerifyError with the evidence of every check where the deadline comes first, Expired where all that is wrong by then is that
    the cluster or the front door cannot be reached (which says nothing about the release), ConfigError and AuthError at once.
    """
    clock, started = site.clock, site.clock.monotonic()
    known = expect.words(release, site.app)
    pages = tuple(expect.filled(page, known) for page in spec.checks)
    base = _address(spec, site)
    public = f"{urllib.parse.urlsplit(base).scheme}://{spec.host}"
    list_pods = _lister(site, spec.cluster, release) if spec.pods else None
    pause, told = FIRST_PAUSE, ""
    while True:
        left = spec.deadline - (clock.monotonic() - started)
        look = _look(spec, release, pages, base, list_pods, left)
        if look.passed:
            return Report(release, look.checks, public)
        left = spec.deadline - (clock.monotonic() - started)
        wait = max(pause, look.patience)
        if left - wait < SHORTEST:
            raise _given_up(release, look, public, clock.monotonic() - started)
        if (text := _waiting(look)) != told:
            site.tell(What.WAIT, "verify", text)
            told = text
        clock.sleep(wait)
        pause = min(LAST_PAUSE, pause * GROWTH)


def _look(
    spec: Checks,
    release: Release,
    pages: Sequence[Page],
    base: str,
    list_pods: Callable[[], Sequence[pods.Pod]] | None,
    left: float,
) -> Look:
    """Everything asked at once: one list of pods, and each page once however many checks read it."""
    seconds = max(SHORTEST, min(REQUEST, left))
    asks = list(dict.fromkeys(Ask(base, spec.host, page.path, page.follow) for page in pages))
    questions: list[Callable[[], Any]] = [lambda ask=ask: get(ask, seconds) for ask in asks]  # type: ignore[misc]
    if list_pods:
        questions.append(list_pods)
    answers: list[Any] = at_once(questions, seconds + 1)
    for answer in answers:
        if isinstance(answer, Exception) and not isinstance(answer, Transient):
            raise answer
    by_ask = dict(zip(asks, answers, strict=False))
    checks = [_page_check(page, by_ask[Ask(base, spec.host, page.path, page.follow)], release) for page in pages]
    unasked = {f"GET {ask.path}" for ask in asks if isinstance(by_ask[ask], Unreachable)}
    if list_pods:
        checks.insert(0, _pods_check(release, answers[-1], spec.beside))
        unasked |= {pods.NAME} if isinstance(answers[-1], Transient) else set()
    patience = max((answer.retry_after for answer in answers if isinstance(answer, RateLimited)), default=0.0)
    return Look(tuple(checks), all(check.passed or check.name in unasked for check in checks), patience)


def _lister(site: Site, cluster: str, release: Release) -> Callable[[], Sequence[pods.Pod]]:
    client, target, labels = kube.connect(site, cluster), kube.path("v1", "pods", release.namespace), pods.selector(release)
    return lambda: client.list(target, labels).get("items") or []


def _page_check(page: Page, answer: Answer | Transient, release: Release) -> Check:
    if isinstance(answer, Answer):
        return expect.judge(page, answer, release)
    return Check(f"GET {page.path}", False, answer.what)


def _pods_check(release: Release, listed: Sequence[pods.Pod] | Transient, beside: Sequence[str]) -> Check:
    if isinstance(listed, Transient):
        return Check(pods.NAME, False, f"the cluster could not be asked: {listed.what}")
    return pods.judge(release, listed, beside)


def _waiting(look: Look) -> str:
    failed = [check for check in look.checks if not check.passed]
    return f"{len(failed)} of {len(look.checks)} checks not yet: {failed[0].name}: {failed[0].evidence}"


def _given_up(release: Release, look: Look, public: str, seconds: float) -> PipelineError:
    failed = [check for check in look.checks if not check.passed]
    passed = [check for check in look.checks if check.passed]
    cause = "\n".join(
        [f"passed  {check.name}: {check.evidence}" for check in passed] + [f"failed  {check.name}: {check.evidence}" for check in failed]
    )
    name = f"{release.namespace}/{release.name} revision {release.revision} ({release.source.label})"
    if look.blind:
        unreached = sorted({"the cluster" if check.name == pods.NAME else public for check in failed})
        return Expired(
            f"{name} is unverified: {' and '.join(unreached)} could not be reached for {seconds:.0f} s",
            cause=cause,
            mend="the release stays as it is; look at the way from here to there, then run `inv verify`",
        )
    return VerifyError(
        f"{len(failed)} of {len(look.checks)} checks of {name} do not hold after {seconds:.0f} s", cause=cause, mend=_mend(failed, public)
    )


def _mend(failed: Sequence[Check], public: str) -> str:
    evidence = " ".join(check.evidence for check in failed)
    if any(check.name == pods.NAME for check in failed):
        return "the pods are not what was released: `inv plan` says what was changed, `inv deploy` puts the release back"
    if "another version answers" in evidence:
        return f"the pods are right, so {public} leads to something else: look for a second ingress rule with this host"
    if "status 404" in evidence or "status 502" in evidence or "status 503" in evidence:
        return f"the pods are ready, so look at the way to them: the ingress rule for {public}, its service and port, the path"
    return f"open {public} yourself, correct the application or the check, then run `inv verify`"


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
    """Whether there is an address to ask, and a cluster to look for pods in. Raises ConfigError."""
    _address(spec, site)
    if spec.pods:
        access_of(site, spec.cluster)


DRIVER = Driver(verb="verify", name="checks", takes=Release, gives=Report, spec=Checks, find=find, make=make, fresh=True, check=check)
