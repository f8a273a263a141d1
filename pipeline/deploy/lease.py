"""The lock of a release: a Kubernetes Lease with a holder, a short life and a fencing number.

Time is only ever measured on one's own clock that never jumps and counts sleep: how long ago *we* saw the record change. The clocks of
two machines are never compared. The layout is that of client-go's leader election (k8s.io/client-go/tools/leaderelection).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.clock import Clock
from pipeline.deploy.freeze import frozen
from pipeline.deploy.holder import BEGUN, IMAGES, Begun, Holder
from pipeline.deploy.waiting import Held, Patience
from pipeline.errors import Locked, PipelineError, Transient
from pipeline.tools.kube import Conflict, Kube, path
from pipeline.tools.kube_objects import notes

DURATION, RENEW = 15.0, 5.0  # seconds
GIVEN_UP = 0.8  # of its duration: then the holder stops, so that it has stopped before anybody else may begin
POLL = 1.0  # seconds between two looks at a lease that may be dead


class Lease:
    """One release's lock. `acquire`, work, `release`; `assert_held` right before each side effect. `fence` grows with each holder.

    `images` are what is going to be deployed under it: whoever looks for what is no longer needed reads them there. A freeze refuses it,
    unless it is taken `despite_freeze`. `begun` is the last thing that any run began under it, as far as it says,
    and `left` the revision that this run found half-done by one that had ended.
    """

    def __init__(
        self, kube: Kube, namespace: str, release: str, clock: Clock, *, holder: Holder | None = None, duration: float = DURATION,
        renew: float = RENEW, poll: float = POLL, despite_freeze: bool = False, patience: Patience | None = None,
        images: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.kube, self.clock = kube, clock
        self.namespace, self.name = namespace, f"pipeline-{release}"
        self.holder = holder or Holder.here()
        self.duration, self.renew_every, self.poll = duration, renew, poll
        self.despite_freeze = despite_freeze
        self.patience = patience or Patience()
        self.images = " ".join(images)
        self.fence = 0
        self.lost = ""
        self.begun: Begun | None = None
        self.left = 0
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

        Raises Locked if it is frozen, or if its holder shows that it lives for longer than this run waits: who, and since when.
        """
        seen, since, lives = None, 0.0, False
        begun = self.clock.uptime()
        while True:
            found = self.kube.get(self.path)
            if found is not None:
                self._refuse_frozen(found)
                mark = (_spec(found).get("holderIdentity"), _spec(found).get("renewTime"), found["metadata"].get("resourceVersion"))
                if seen != mark:
                    seen, since, lives = mark, self.clock.uptime(), seen is not None
                if not self._free(found, since):
                    spent = self.clock.uptime() - begun
                    held = Held(found, lives, self.clock.uptime() - since, self.patience, self.clock.now())
                    if spent >= self.patience.seconds and (lives or held.silent > self._life(found)):
                        raise held.locked
                    self.patience.say(spent, held)
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
            self._assert_held()

    def regain(self) -> None:
        """Go on holding it after it could not be renewed for too long, if nobody has taken it over since: going back must not end for that.
        Raises Locked if somebody has."""
        with self._lock:
            if not (self.lost or self._late()):
                return
            asked, found = self.clock.uptime(), self.kube.get(self.path)
            try:
                if found is None or _spec(found).get("holderIdentity") != str(self.holder):
                    raise Conflict("it is somebody else's")
                self._object = self._write(found, {"renewTime": _micro(self.clock)})
            except Conflict:
                self.lost = "another run took it over"
                self._check()
            self.lost, self._renewed = "", asked
        if self._thread is not None:
            self._thread.join(0.1)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
            self._thread.start()

    def begin(self, begun: Begun) -> None:
        """Renew it now, and write into it what comes next, so that whoever finds this run dead knows what may still be at work."""
        with self._lock:
            self.begun = begun
            self._assert_held()

    def end(self) -> None:
        """What was begun is over: its tool was seen to end. Written down with the next renewal."""
        with self._lock:
            if self.begun is not None:
                self.begun = dataclasses.replace(self.begun, ended=True)

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

    def _free(self, found: dict[str, Any], since: float) -> bool:
        """Whether it may be taken, if it was seen unchanged `since` then: nobody has it, or surely nobody any more."""
        identity = str(_spec(found).get("holderIdentity") or "")
        holder, begun = Holder.read(identity), Begun.read(notes(found).get(BEGUN, ""))
        if begun is not None and begun.surely_at_work:
            return False  # what its holder began has outlived it
        if not identity or (holder is not None and holder.surely_dead):
            return True
        return self.clock.uptime() - since > self._life(found)

    def _life(self, found: dict[str, Any]) -> float:
        return float(_spec(found).get("leaseDurationSeconds") or self.duration)

    def _take(self, found: dict[str, Any] | None) -> None:
        asked = self.clock.uptime()
        fence = int(_spec(found or {}).get("leaseTransitions") or 0) + 1
        now = _micro(self.clock)
        spec = {"holderIdentity": str(self.holder), "leaseDurationSeconds": max(1, round(self.duration)), "acquireTime": now,
                "renewTime": now, "leaseTransitions": fence}  # fmt: skip
        if found is None:
            metadata = {"name": self.name, **({"annotations": {IMAGES: self.images}} if self.images else {})}
            value = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
            self._object = self.kube.create(path("coordination.k8s.io/v1", "leases", self.namespace), value)
        else:
            self.begun = Begun.read(notes(found).get(BEGUN, ""))
            self._object = self._write(found, spec)
        self.fence, self._renewed = fence, asked

    def _write(self, found: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        said = {**notes(found), **({BEGUN: str(self.begun)} if self.begun else {}), **({IMAGES: self.images} if self.images else {})}
        metadata = {**found["metadata"], **({"annotations": said} if said else {})}
        return self.kube.replace(self.path, {**found, "metadata": metadata, "spec": {**_spec(found), **changes}})

    def _assert_held(self) -> None:
        self._check()
        try:
            self._renew()
        except Conflict:
            self._lose("another run took it over")
        self._check()

    def _renew(self) -> None:
        asked = self.clock.uptime()
        try:
            self._object = self._write(self._object, {"renewTime": _micro(self.clock)})
        except Conflict:
            found = self.kube.get(self.path)
            if found is None or _spec(found).get("holderIdentity") != str(self.holder):
                raise
            self._object = self._write(found, {"renewTime": _micro(self.clock)})  # only a note on it was changed: a freeze
        self._renewed = asked

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
        return f"it could not be renewed for {self.duration * GIVEN_UP:.0f} s"

    def _late(self) -> bool:
        return self.clock.uptime() - self._renewed > self.duration * GIVEN_UP

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


def _spec(found: dict[str, Any]) -> dict[str, Any]:
    return found.get("spec") or {}


def _micro(clock: Clock) -> str:
    return datetime.datetime.fromtimestamp(clock.now(), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
