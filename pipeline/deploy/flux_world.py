"""What the cluster says of a release by commit: Flux's objects, what helm-controller released, and what runs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.artifacts import Images
from pipeline.clock import Clock
from pipeline.deploy import flux_wanted
from pipeline.deploy.compare import missing_images, other_images
from pipeline.deploy.flux_seen import Target
from pipeline.deploy.flux_spec import Flux
from pipeline.deploy.flux_wanted import Lines
from pipeline.errors import ConfigError
from pipeline.tools import flux, helm_stored, manifest, unreleased
from pipeline.tools.flux import Ref, State
from pipeline.tools.flux_words import words
from pipeline.tools.kube import Kube, path
from pipeline.tools.kube_objects import pending
from pipeline.tools.yamledit import Path

BOOTSTRAP = "inv flux.bootstrap installs Flux and makes its objects; or name them in the deploy stage (system, source, kustomization)"

LOOKS, PAUSE = 4, 0.5  # seconds between two looks
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|m|s)")
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True)
class World:
    """Flux's three objects (`release` None where it is not in the cluster yet), `lines` of the HelmRelease as it stands there, and the
    workloads that run. `patience` is how long, in seconds, helm-controller waits for a release before it gives it up, `new` that the
    HelmRelease is suspended since it was never released, and by nobody. `objects_kept` are those of the revision's manifest."""

    source: State
    kustomization: State
    release: State | None
    lines: Lines
    workloads: Sequence[Mapping[str, Any]]
    patience: float = 0.0
    new: bool = False
    objects_kept: Sequence[Mapping[str, Any]] = ()

    @property
    def number(self) -> int:
        """Helm's newest revision, 0 where there is none."""
        return self.release.history[0].number if self.release and self.release.history else 0

    @property
    def status(self) -> str:
        """Helm's word for that revision."""
        return self.release.history[0].status if self.release and self.release.history else ""

    @property
    def objects(self) -> tuple[State, ...]:
        return tuple(filter(None, (self.source, self.kustomization, self.release)))

    @property
    def suspended(self) -> list[State]:
        return [each for each in self.objects if each.suspended and not (self.new and each is self.release)]

    @property
    def passing(self) -> bool:
        """Whether a controller is at one of them this very moment, as it is for an instant in each interval."""
        return any(each.busy and not each.suspended for each in self.objects)

    @property
    def serves(self) -> bool:
        """Whether helm-controller holds its newest revision for good."""
        return self.release is not None and self.release.settled and bool(self.release.history)


def target(spec: Flux) -> Target:
    """What has to be followed for a release."""
    return Target(spec.system, spec.source, spec.kustomization, spec.namespace, spec.release)


def look(kube: Kube, spec: Flux, where: Sequence[Path]) -> World:
    """Three requests; if Helm has released anything, one for what it keeps of it, and one for each kind of workload.

    Raises ConfigError where Flux is not there.
    """
    states: list[State | None] = []
    lines: Lines = {}
    patience, new = 0.0, False
    for ref in target(spec).all:
        found = kube.get(ref.path)
        states.append(None if found is None else flux.state(ref, found))
        if found is not None and ref.kind == "HelmRelease":
            said, new = found.get("spec") or {}, unreleased.waits(found)
            lines, patience = flux_wanted.within(said.get("values"), list(where)), seconds(str(said.get("timeout") or "5m"))
    source, kustomization, release = states
    if source is None or kustomization is None:
        raise _missing(kube, spec, target(spec).all[0 if source is None else 1])
    world = World(source, kustomization, release, lines, (), patience, new)
    if not world.number:
        return world
    kept = helm_stored.objects(kube, spec.namespace, spec.release, world.number)
    known = manifest.read(kube, [each.path for each in manifest.workloads(kept, spec.namespace)])
    return dataclasses.replace(world, workloads=list(known.values()), objects_kept=kept)


def steady(first: World, again: Callable[[], World], clock: Clock) -> World:
    """The `first` look; or one of the next `again`, where a controller was at an object at that very moment, as it is in each interval."""
    for _ in range(LOOKS):
        if not first.passing:
            break
        clock.sleep(PAUSE)
        first = again()
    return first


def seconds(text: str) -> float:
    """A time as Go writes it, 1m30s; 0 where it is none. Source: https://pkg.go.dev/time#ParseDuration"""
    return sum(float(number) * UNITS[unit] for number, unit in DURATION.findall(text))


def require(kube: Kube, spec: Flux) -> None:
    """Raise ConfigError where the namespace of Flux's own objects is not there: nothing can be locked, nothing would follow a commit."""
    if kube.get(path("v1", "namespaces", name=spec.system)) is None:
        raise ConfigError(f"cluster {spec.cluster} has no namespace {spec.system}: Flux is not there", mend=BOOTSTRAP)


def differences(world: World, wanted: Lines, images: Images) -> Iterator[str]:
    """Why a commit that holds the lines `wanted` is not live; nothing where it is, whole and untouched."""
    for state in world.suspended:
        yield f"{state.ref.kind} {state.ref.name} is suspended"
    if world.lines != wanted:
        yield "the commit is there, Flux has not applied it"
        return
    for state in world.objects:
        if not state.settled and not state.suspended:
            yield _unsettled(state)
            return
    if not world.number:
        yield "Flux has released nothing yet"
        return
    if world.status != "deployed":
        yield f"Helm's revision {world.number} is {world.status}"
    if not world.workloads:
        yield f"revision {world.number} has no workload that is there"
    yield from other_images(world.workloads, images)
    yield from (f"the rollout of revision {world.number} is not done: {text}" for each in world.workloads if (text := pending(each)))


def unapplied(world: World, wanted: Lines, images: Images) -> str:
    """What the first difference between the head's lines and those `wanted` is, in the words of what runs."""
    if not world.number:
        return "nothing is deployed yet"
    lines = flux_wanted.changes(world.lines, wanted)
    return "; ".join(missing_images(world.workloads, images)[:3]) or (
        f"values changed: {lines}" if lines else "the cluster runs them, but the lines in git are others"
    )


def _unsettled(state: State) -> str:
    called = f"{state.ref.kind} {state.ref.name}"
    if state.observed < state.generation:
        return f"{called}: its controller has not seen it as it is"
    if why := words(state):
        return why.what
    return f"{called} is not ready: {state.ready.message.partition(chr(10))[0] or state.ready.reason or 'nothing is said why'}"


def _missing(kube: Kube, spec: Flux, ref: Ref) -> ConfigError:
    group = flux.KINDS[ref.kind][0]
    if kube.get(path(group, "")) is None:
        return ConfigError(f"Flux is not in cluster {spec.cluster}", cause=f"it does not serve {group}", mend=BOOTSTRAP)
    return ConfigError(f"cluster {spec.cluster} has no {ref}, which follows {spec.remote}", mend=BOOTSTRAP)
