"""One release being changed: its options, the cluster, the lock that is held, and the engine that changes it."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.artifacts import Images
from pipeline.deploy import drift, freeze, history, secret, stored
from pipeline.deploy.history import Revision
from pipeline.deploy.lease import Lease
from pipeline.deploy.rollout import Failure, View, follow
from pipeline.deploy.spec import Engined, Spec
from pipeline.deploy.waiting import Patience
from pipeline.errors import AuthError, ConfigError
from pipeline.events import What
from pipeline.stage import Site
from pipeline.tools import manifest
from pipeline.tools.kube import Kube, connect, path
from pipeline.tools.kube_status import terminating

STAGE = "deploy"
LIMIT = 120.0  # seconds that going back may take the engine, and the old pods to be available


class Engine(Protocol):
    """What only the driver's own tool can do. Each is called under the lock, right after that was renewed."""

    def go_back(self, work: Work, number: int) -> None:
        """Make what revision `number` holds live again, as a new revision. Objects that hold data are never deleted on the way."""

    def take_away(self, work: Work, number: int, kept: Collection[str]) -> None:
        """Delete the objects of the release, but those `kept` (their paths), and then its revisions; `number` is the newest of them."""

    def give_up(self, work: Work, number: int) -> None:
        """Write down that revision `number` failed, so that the tool goes on over it. Nothing else is changed."""

    def words(self, number: int | None) -> str:
        """The command by which a person goes back to revision `number`, or takes the release away."""

    def settled(self, work: Work, number: int) -> None:
        """Revision `number` is up: put away what it left behind."""

    @property
    def listing(self) -> str:
        """The command that lists the revisions to a person."""


@dataclass(frozen=True)
class Held:
    """A release under its lock: what every step of a deploy needs, whatever changes it."""

    spec: Spec
    site: Site
    kube: Kube
    lease: Lease

    def revisions(self) -> list[Revision]:
        return history.read(self.kube, self.spec.namespace, self.spec.release, self.spec.keeper)

    def running(self, revision: Revision) -> list[dict[str, Any]]:
        """The workloads of a revision as they are now."""
        return stored.running(self.kube, self.spec, revision)

    def stored(self, number: int) -> Mapping[str, Any]:
        """Revision `number` as its keeper stored it."""
        return stored.read(self.kube, self.spec.namespace, self.spec.release, number, self.spec.keeper)

    def follow(self, number: int, deadline: float, before: str = "") -> tuple[Failure | None, View]:
        """Follow the rollout of revision `number`; `before` stands before each line that is told."""
        spec, site = self.spec, self.site
        objects = stored.objects(self.kube, spec, number)
        self.clear(objects, before)
        return follow(
            self.kube,
            manifest.workloads(objects, spec.namespace),
            site.clock,
            deadline=deadline,
            allowed=spec.restarts,
            tell=lambda text: site.tell(What.WAIT, STAGE, before + text),
            log=lambda line: site.tell(What.LOG, STAGE, line),
            check=self.lease.check,
        )

    def clear(self, objects: Sequence[Mapping[str, Any]], before: str) -> None:
        """Take out of the objects of a revision what its keeper leaves in them, though it is not of it."""

    def put_secret_back(self, mark: str, whose: str) -> None:
        """Let the plain Secret hold what `whose` was made with, by its mark; tell if that is not known any more."""
        name = secret.put_back(self.kube, self.spec, mark) if mark else ""
        if not name and self.spec.secret is not None:
            why = "it is not kept any more" if mark else "that was not noted then"
            self.site.tell(What.WARN, STAGE, f"Secret {self.spec.secret.name} stays as it is, not as {whose} had it: {why}")

    def begun(self, number: int) -> None:
        """This process has deployed revision `number`: from now on a freeze does not keep it from taking that back."""
        self.site.shared[_begun_key(self.spec)] = number


@dataclass(frozen=True)
class Work(Held):
    """A release that an engine changes, revision by revision."""

    engine: Engine

    def clear(self, objects: Sequence[Mapping[str, Any]], before: str) -> None:
        for line in drift.take_out(self.kube, self.spec, objects):
            self.site.tell(What.WARN, STAGE, before + line)

    def go_back(self, number: int) -> None:
        """Make what revision `number` holds live again, the Secret that it was made with included."""
        self.lease.assert_held()
        marks = [one.labels.get("secret") for one in self.revisions() if one.number == number]
        self.put_secret_back(next(iter(marks), None) or "", f"revision {number}")
        self.engine.go_back(self, number)

    def give_up(self, number: int) -> None:
        self.lease.assert_held()
        self.engine.give_up(self, number)

    def secret(self, number: int) -> str:
        """Where the keeper keeps revision `number`."""
        return history.where(self.spec.namespace, self.spec.release, number, self.spec.keeper)

    def note_good(self, number: int, parts: Mapping[str, Any]) -> None:
        """Write on the revision's Secret that it came up, what it was made from, and in which state each of its objects was then."""
        self.lease.assert_held()
        self.begun(number)
        self.engine.settled(self, number)
        if self.spec.secret is not None:
            secret.prune(self.kube, self.spec, {one.labels.get("secret", "") for one in self.revisions()})
        drift.note(self.kube, self.spec, number, parts)

    def mark(self, number: int, rollout: str) -> None:
        history.mark(self.kube, self.secret(number), rollout)


@contextlib.contextmanager
def exclusive(
    spec: Spec, images: Images | None, site: Site, despite_freeze: bool = False, first: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Hold the release's lock; if there was none yet, `first` is called before anything is made. Raises Locked if somebody else is at work
    for longer than the site waits, or deploys are frozen: a freeze stops who begins, not who has to take back what this process deployed
    before it."""
    kube = connect(site, spec.cluster)
    where, name = spec.lock
    if not freeze.look(kube, where, name):
        first()
    if where == spec.namespace:
        ensure_namespace(kube, spec, site)
    key = _lease_key(spec)
    begun = _begun_key(spec) in site.shared
    patience = Patience(site.wait, lambda text: site.tell(What.WAIT, STAGE, text), site.records.usual(STAGE))
    named = [image.reference for image in images.images] if images else []
    lease = Lease(kube, where, name, site.clock, despite_freeze=despite_freeze or begun, patience=patience, images=named).acquire()
    site.shared[key] = lease
    try:
        yield
    finally:
        site.shared.pop(key, None)
        lease.release()


@contextlib.contextmanager
def held(spec: Spec, site: Site, despite_freeze: bool = False) -> Iterator[Held]:
    """The release under the lock the runner holds for it, else under one of our own."""
    with contextlib.ExitStack() as stack:
        if _lease_key(spec) not in site.shared:
            stack.enter_context(exclusive(spec, None, site, despite_freeze))
        yield Held(spec, site, connect(site, spec.cluster), site.shared[_lease_key(spec)])


@contextlib.contextmanager
def at_work(spec: Engined, site: Site, despite_freeze: bool = False) -> Iterator[Work]:
    """The work on a release, with the engine that its spec names."""
    with held(spec, site, despite_freeze) as the:
        yield Work(spec, site, the.kube, the.lease, importlib.import_module(spec.engine).engine(spec, site, the.kube))


def _begun_key(spec: Spec) -> str:
    return f"begun: {spec.cluster}/{spec.namespace}/{spec.release}"


def _lease_key(spec: Spec) -> str:
    return f"lease of {spec.cluster}/{spec.namespace}/{spec.release}"


def ensure_namespace(kube: Kube, spec: Spec, site: Site) -> None:
    """Make the namespace if it is not there. Raises as `has_namespace`."""
    if not has_namespace(kube, spec):
        site.tell(What.LOG, STAGE, f"namespace {spec.namespace} is made")
        kube.create(path("v1", "namespaces"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": spec.namespace}})


def has_namespace(kube: Kube, spec: Spec) -> bool:
    """Whether the namespace is there; of who may not see it, and need not make it, that is taken for granted: the first write tells. Raises
    ConfigError if it is not there and is not to be made, or is being deleted."""
    try:
        found = kube.get(path("v1", "namespaces", name=spec.namespace))
    except AuthError:
        if spec.create_namespace:
            raise
        return True
    if found is None and not spec.create_namespace:
        raise ConfigError(
            f"cluster {spec.cluster} has no namespace {spec.namespace}",
            mend=f"kubectl create namespace {spec.namespace}, or set `create_namespace: true` in the deploy stage",
        )
    if found is not None and found.get("status", {}).get("phase") == "Terminating":
        raise terminating(spec.namespace)
    return found is not None
