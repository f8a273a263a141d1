"""The objects of a release are as they were released: what somebody changed is named, field by field, with who did; Flux puts it back."""

from __future__ import annotations

import datetime
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pipeline.artifacts import Check
from pipeline.errors import VerifyError
from pipeline.events import What
from pipeline.schema import keyed
from pipeline.tools import flux
from pipeline.tools.flux import Ref
from pipeline.tools.kube_drift import Drifted, told
from pipeline.verify import inventory, kept
from pipeline.verify.kept import Keeper
from pipeline.verify.question import Question, World
from pipeline.verify.through import NAME
from pipeline.verify.view import View
from pipeline.verify.web import Unreachable

RELEASE = "release"
FLUX = re.compile(rf"(HelmRelease|Kustomization)/({NAME})")
SYSTEM = "flux-system"  # where Kustomizations usually are
SHOWN = 6  # fields that are named one by one


@dataclass(frozen=True)
class Drift:
    """Nothing of the release was changed behind its keeper's back.

    `drift` is `release` (as Helm keeps it), or HelmRelease/NAME (as Flux does, in `namespace`, by default that of the release). Every field
    that the newest revision names is held against the cluster's, as the server itself would write it; what an autoscaler sets, and what the
    HelmRelease says to ignore, is left alone. Or it is Kustomization/NAME (in `namespace`, by default flux-system): no field of what that
    applied may have been written by hand since. With `mend` Flux is asked to look now, and has to put it back `within` so many seconds.
    Raises ValueError where something is none of that.
    """

    in_cluster: ClassVar[bool] = True

    drift: str
    namespace: str = ""
    mend: bool = False
    within: float = 30.0

    def __post_init__(self) -> None:
        if self.drift != RELEASE and not FLUX.fullmatch(self.drift):
            raise ValueError(f"{self.drift!r} is nothing that keeps objects: write release, HelmRelease/NAME or Kustomization/NAME")
        with keyed("namespace"):
            if self.namespace and (self.drift == RELEASE or not re.fullmatch(NAME, self.namespace)):
                raise ValueError(f"namespace {self.namespace!r} is none, or not that of an object of Flux's")
        with keyed("mend"):
            if self.mend and self.drift == RELEASE:
                raise ValueError("nobody puts back what Helm keeps: mend stands with HelmRelease/NAME")
        with keyed("within"):
            if not 1 <= self.within <= 600:
                raise ValueError(f"{self.within:g} s are not between 1 and 600")

    @property
    def name(self) -> str:
        return f"drift {self.drift}"


@dataclass(frozen=True)
class Seen:
    """What one look saw."""

    keeper: Keeper
    drifted: Sequence[Drifted]


@dataclass
class Story:
    """What was seen in the looks so far: what had `drifted` first (in words), when that was seen and Flux was asked (monotonic), and the
    `last` look that saw everything."""

    drifted: str = ""
    asked: float = 0.0
    last: Seen | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


def question(check: Drift, world: World) -> Question:
    """One question, whose looks know of one another where Flux is to mend."""
    story = Story()
    return Question(
        check.name,
        ("drift", check),
        lambda view, seconds: _look(check, world, view, seconds, story),
        lambda seen: _judge(check, seen, story, world),
        mend=_remedy(check, world),
        is_final=lambda seen: (
            bool(seen.drifted) and (seen.keeper.ref is None or _idle(seen.keeper.ref, seen.keeper, seen.drifted) is not None)
        ),
    )


def _look(check: Drift, world: World, view: View, seconds: float, story: Story) -> Seen:
    """Raises VerifyError where Flux does not put it back, as soon as that is known; Transient where nothing can be said yet."""
    found = FLUX.fullmatch(check.drift)
    ref = Ref(found[1], _namespace(check, world), found[2]) if found else None
    try:
        if ref and ref.kind == "Kustomization":
            keeper = inventory.of_kustomization(ref, view)
            drifted = inventory.drifted(keeper, view, seconds)
        else:
            keeper = kept.of_flux(ref, view) if ref else kept.of_name(world.release.name, view)
            drifted = kept.drifted(keeper, view, seconds)
    except Unreachable:
        if story.last and story.last.drifted:
            return story.last  # a look that came too late to see anything does not hide what the one before saw
        raise
    story.last = Seen(keeper, drifted)
    if drifted and check.mend and ref:
        with story.lock:
            _mended(check, world, view, (ref, keeper), drifted, story)
    return story.last


def _mended(check: Drift, world: World, view: View, of: tuple[Ref, Keeper], drifted: Sequence[Drifted], story: Story) -> None:
    """Ask Flux to look now, once. Raises VerifyError where it would do nothing, or has done nothing in time."""
    (ref, keeper), clock, said = of, world.site.clock, told(drifted, SHOWN)
    if why := _idle(ref, keeper, drifted):
        raise VerifyError(f"{check.name}: {ref} has drifted, and Flux does not put it back: {why[0]}", cause=said, mend=why[1])
    if not story.drifted:
        story.drifted, story.asked = said, clock.monotonic()
        world.site.tell(What.WARN, "verify", f"{check.name}: {said}; Flux is asked to put it back")
        if not flux.poke(view.client(), ref, datetime.datetime.fromtimestamp(clock.now(), datetime.UTC).isoformat()):
            mend = f"allow this user to patch it, or ask yourself: flux reconcile {ref.flux}"
            raise VerifyError(f"{check.name}: Flux could not be asked to put it back", cause=said, mend=mend)
    elif clock.monotonic() - story.asked > check.within:
        ready = flux.state(ref, keeper.value or {}).ready
        raise VerifyError(
            f"{check.name}: Flux did not put it back within {check.within:g} s",
            cause=f"{said}\n{ref} says: {ready.reason} {ready.message}".rstrip(),
            mend=f"kubectl describe {ref.kubectl}; the log of its controller says what was tried",
        )


def _idle(ref: Ref, keeper: Keeper, drifted: Sequence[Drifted]) -> tuple[str, str] | None:
    """Why Flux will leave it as it is, and what helps."""
    spec = (keeper.value or {}).get("spec") or {}
    if ref.kind == "Kustomization":
        return ("it is suspended", f"flux resume {ref.flux}") if spec.get("suspend") else None
    mode = str((spec.get("driftDetection") or {}).get("mode") or "disabled")
    if spec.get("suspend"):
        return "it is suspended", f"flux resume {ref.flux}"
    if mode != "enabled":
        return f"its drift detection is {mode}", "write `driftDetection: {mode: enabled}` below spec of the HelmRelease, and commit it"
    if all(each.how == "added" for each in drifted):
        return "the chart says nothing of these fields, so it does not see them", "take them out by hand: kubectl edit"
    return None


def _judge(check: Drift, seen: Seen, story: Story, world: World) -> Check:
    keeper = seen.keeper
    if seen.drifted:
        waiting = f"; Flux was asked {world.site.clock.monotonic() - story.asked:.1f} s ago" if story.drifted else ""
        return Check(check.name, False, told(seen.drifted, SHOWN) + waiting)
    if story.drifted:
        took = world.site.clock.monotonic() - story.asked
        return Check(check.name, True, f"{story.drifted}: put back by Flux {took:.1f} s after it was asked, as {keeper} says")
    return Check(check.name, True, f"every object is as {keeper} says")


def _remedy(check: Drift, world: World) -> str:
    if check.drift == RELEASE:
        return "what is to stay belongs into the chart or its values; `inv deploy` puts back what it released"
    kind, _, name = check.drift.partition("/")
    ask = f"flux reconcile {Ref(kind, _namespace(check, world), name).flux}, or `mend: true` here"
    if kind == "Kustomization":
        return f"what is to stay belongs into the GitOps repository; Flux puts the rest back: {ask}"
    return f"what is to stay belongs into the GitOps repository; the rest Flux puts back where driftDetection.mode is enabled: {ask}"


def _namespace(check: Drift, world: World) -> str:
    """Where Flux's object is."""
    return check.namespace or (SYSTEM if check.drift.startswith("Kustomization/") else world.release.namespace)
