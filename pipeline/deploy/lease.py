"""The lock of a release: a Kubernetes Lease with a holder, a short life and a fencing number.

Time is only ever measured on one's own monotonic clock: how long ago *we* saw the record change. The clocks of two machines are
never compared. The layout is that of client-go's leader election (k8s.io/client-go/tools/leaderelection).
"""

from __future__ import annotations

import contextlib
import datetime
import threading
from collections.abc import Iterator
from typing import Any

from pipeline.clock import Clock
from pipeline.deploy.freeze import frozen
from pipeline.deploy.holder import Holder
from pipeline.errors import Locked, PipelineError, Transient
from pipeline.tools.kube import Conflict, Kube, path

DURATION, RENEW = 15.0, 5.0  # seconds
POLL = 1.0  # seconds between two looks at a lease that may be dead


class Lease:
    """One release's lock. `acquire`, work, `release`; `assert_held` right before each side effect. `fence` grows with each holder.

    A freeze refuses it, unless it is taken `despite_freeze`.
    """

    def __init__(
        self, kube: Kube, namespace: str, release: str, clock: Clock, *, holder: Holder | None = None, duration: float = DURATION,
        renew: float = RENEW, poll: float = POLL, despite_freeze: bool = False,
    ) -> None:  # fmt: skip
        self.kube, self.clock = kube, clock
        self.namespace, self.name = namespace, f"pipeline-{release}"
        self.holder = holder or Holder.here()
        self.duration, self.renew_every, self.poll = duration, renew, poll
        self.despite_freeze = despite_freeze
        self.fence = 0
        self.lost = ""
        self._object: dict[str, Any] = {}
        self._renewed = 0.0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def path(self) -> str:
        return path("coordination.k8s.io/v1", "leases", self.namespace, self.name)

    def acquire(self) -> Lease:
        """Take it, over from a holder that is dead if need be.

        Raises Locked where it is frozen, or where its holder shows that it lives: who, and since when.
        """
        seen, since = None, 0.0
        while True:
            found = self.kube.get(self.path)
            if found is not None:
                self._refuse_frozen(found)
                mark = (_spec(found).get("holderIdentity"), _spec(found).get("renewTime"), found["metadata"].get("resourceVersion"))
                if seen is None:
                    seen, since = mark, self.clock.monotonic()
                if not self._free(found, seen == mark, since):
                    if seen != mark:
                        raise _held(found)
                    self.clock.sleep(self.poll)
                    continue
            try:
                self._take(found)
            except Conflict:
                seen = None  # somebody was quicker: look who
                continue
            self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
            self._thread.start()
            return self

    def assert_held(self) -> None:
        """Renew it now, so that what comes next starts with a whole life of the lease. Raises Locked where it was lost."""
        with self._lock:
            self._check()
            try:
                self._renew()
            except Conflict:
                self._lose("another run took it over")
            self._check()

    def check(self) -> None:
        """Raise Locked if it is known to be lost: cheap, asks nobody."""
        with self._lock:
            self._check()

    def release(self) -> None:
        """Give it back. What goes wrong is left to the lease's end of life."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(self.kube.timeout)
        if self.lost or not self._object:
            return
        with contextlib.suppress(PipelineError):
            self._write(self._object, {"holderIdentity": "", "leaseDurationSeconds": 1})

    def _refuse_frozen(self, found: dict[str, Any]) -> None:
        freeze = frozen(found)
        if freeze and not self.despite_freeze:
            who = " ".join(filter(None, (f"by {freeze.by}" if freeze.by else "", f"since {freeze.since}" if freeze.since else "")))
            name = self.name.removeprefix("pipeline-")
            mend = "wait; or, if you may: inv unfreeze (inv rollback --force goes back all the same)"
            raise Locked(f"deploys of {name} are frozen: {freeze.message}", cause=who, mend=mend)

    def _free(self, found: dict[str, Any], unchanged: bool, since: float) -> bool:
        identity = str(_spec(found).get("holderIdentity") or "")
        holder = Holder.read(identity)
        if not identity or (holder is not None and holder.surely_dead):
            return True
        life = float(_spec(found).get("leaseDurationSeconds") or self.duration)
        return unchanged and self.clock.monotonic() - since > life

    def _take(self, found: dict[str, Any] | None) -> None:
        begun = self.clock.monotonic()
        fence = int(_spec(found or {}).get("leaseTransitions") or 0) + 1
        now = _micro(self.clock)
        spec = {"holderIdentity": str(self.holder), "leaseDurationSeconds": max(1, round(self.duration)), "acquireTime": now,
                "renewTime": now, "leaseTransitions": fence}  # fmt: skip
        if found is None:
            value = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self.name}, "spec": spec}
            self._object = self.kube.create(path("coordination.k8s.io/v1", "leases", self.namespace), value)
        else:
            self._object = self._write(found, spec)
        self.fence, self._renewed = fence, begun

    def _write(self, found: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        return self.kube.replace(self.path, {**found, "spec": {**_spec(found), **changes}})

    def _renew(self) -> None:
        begun = self.clock.monotonic()
        try:
            self._object = self._write(self._object, {"renewTime": _micro(self.clock)})
        except Conflict:
            found = self.kube.get(self.path)
            if found is None or _spec(found).get("holderIdentity") != str(self.holder):
                raise
            self._object = self._write(found, {"renewTime": _micro(self.clock)})  # only a note on it was changed: a freeze
        self._renewed = begun

    def _keep(self) -> None:
        while not self._stop.wait(self.renew_every):
            with self._lock:
                if self._late():
                    self._lose(self._starved)
                if self.lost:
                    return
                try:
                    self._renew()
                except Conflict:
                    self._lose("another run took it over")
                except Transient:
                    continue  # there is time for more tries before the lease ends
                except PipelineError as error:
                    self._lose(error.what)

    @property
    def _starved(self) -> str:
        return f"it could not be renewed for {self.duration:.0f} s"

    def _late(self) -> bool:
        return self.clock.monotonic() - self._renewed > self.duration

    def _check(self) -> None:
        if self._late():
            self._lose(self._starved)
        if self.lost:
            raise Locked(
                f"the lock {self.name} in {self.namespace} was lost: {self.lost}",
                cause="nothing was changed after it was lost",
                mend="run again: the next run looks at what is there first",
            )

    def _lose(self, why: str) -> None:
        self.lost = self.lost or why


@contextlib.contextmanager
def held(kube: Kube, namespace: str, release: str, clock: Clock) -> Iterator[Lease]:
    """The release's lock, held for the block."""
    lease = Lease(kube, namespace, release, clock).acquire()
    try:
        yield lease
    finally:
        lease.release()


def _held(found: dict[str, Any]) -> Locked:
    spec = _spec(found)
    holder = Holder.read(str(spec.get("holderIdentity", "")))
    who = holder.person if holder else str(spec.get("holderIdentity"))
    name = str(found["metadata"]["name"]).removeprefix("pipeline-")
    return Locked(
        f"{who} is deploying {name} since {spec.get('acquireTime', 'an unknown time')}",
        mend="wait until it is done, then run again; a run that died is taken over by itself within half a minute",
    )


def _spec(found: dict[str, Any]) -> dict[str, Any]:
    return found.get("spec") or {}


def _micro(clock: Clock) -> str:
    return datetime.datetime.fromtimestamp(clock.now(), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
