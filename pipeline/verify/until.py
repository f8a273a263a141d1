"""Asks what the checks of a release ask, all in one and the same look, until everything holds or the deadline comes."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import urllib.parse
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Check, Release, Report, content_hash
from pipeline.events import What
from pipeline.stage import Site
from pipeline.tools import flux, helm_stored, kube, named
from pipeline.tools.helm_stored import Kept
from pipeline.tools.kube_edits import Edited
from pipeline.verify import during, pods
from pipeline.verify.look import SHORTEST, Look, given_up, look
from pipeline.verify.question import Question, World
from pipeline.verify.view import View
from pipeline.verify.ways import Ways
from pipeline.verify.words import words

if TYPE_CHECKING:
    from pipeline.verify.checks import Checks

FIRST_PAUSE, LAST_PAUSE, GROWTH = 0.05, 1.0, 1.5  # seconds between two looks, growing: what is late by 0.4 s is seen a moment later
NOT_ASKED = Edited(())  # what was edited is another check's, or the release is known by its label only
ONCE = "seen before, it is done once a release"
ASKED = {
    "Page": "page",
    "Git": "git",
    "Tcp": "tcp",
    "Log": "log",
    "Objects": "objects",
    "Drift": "drift",
}  # kind -> module with its `question`
DONE = {
    "Drain": "drain",
    "Replicated": "replicated",
    "Survives": "survives",
}  # kind -> module with what is done once, after everything else has held


def made(spec: Checks, release: Release, site: Site, front: Any) -> Report:
    """The report of a release that passes every check in one and the same look; `front` gives the address of its front door.

    Raises as `pipeline.verify.checks.make` says.
    """
    with contextlib.ExitStack() as opened:
        ways = Ways()
        opened.callback(ways.close)
        world = World(site, release, spec.host, front, words(release, site.app), spec.selector, ways, _stored(spec, release, site))
        questions = [_pods(spec, world)] if spec.pods else []
        questions += [_module(ASKED, each).question(each, world) for each in spec.checks if type(each).__name__ in ASKED]
        public = f"{urllib.parse.urlsplit(world.front()).scheme}://{spec.host}" if spec.by_front_door else ""
        if spec.by_cluster:
            kube.connect(site, spec.cluster)
        for each in spec.checks:
            if type(each).__name__ == "Run":
                questions += _module({"Run": "run"}, each).questions(each, world, opened, spec.deadline)
        seen = _until_passed(spec, world, questions, public)
        done, acted = [], False
        for each in _allowed(spec, site):
            before = _before(each, world)
            acted = acted or before is None
            done.append(before or _done(each, spec, world))
        if acted:  # the pods may be others now
            seen = _until_passed(spec, world, questions, public)
        fared = during.tell(site)
        return Report(release, (*seen.checks, *done, *filter(None, (fared,))), public)


def _allowed(spec: Checks, site: Site) -> list[Any]:
    """What is done once. What takes something away from what runs is told and left out where the environment does not ask for it."""
    acts = [each for each in spec.checks if type(each).__name__ in DONE]
    for each in acts:
        if not spec.disturb and (what := getattr(each, "disturbs", "")):
            site.tell(What.WARN, "verify", f"{each.name} is left out: {what}, which is done where the environment says disturb: true")
    return [each for each in acts if spec.disturb or not getattr(each, "disturbs", "")]


def _before(check: Any, world: World) -> Check | None:
    """What came of it when this release was verified before, of what takes something away: that is done once a release, and not again by
    each verification of what stays live."""
    found, _, evidence = (world.site.records.hint(_place(check)) or "").partition(" ")
    return Check(check.name, True, f"{evidence}; {ONCE}") if found == _of(check, world) else None


def _done(check: Any, spec: Checks, world: World) -> Check:
    """Do it, and remember what came of it where that takes something away."""
    found: Check = _module(DONE, check).held(check, world, _view(spec, world))
    if getattr(check, "disturbs", ""):
        world.site.records.remember(_place(check), f"{_of(check, world)} {found.evidence}")
    return found


def _place(check: Any) -> str:
    return f"verify {check.name}"


def _of(check: Any, world: World) -> str:
    return content_hash([world.release.id, world.release.revision, dataclasses.asdict(check)])


def _module(names: dict[str, str], check: Any) -> Any:
    return importlib.import_module(f"pipeline.verify.{names[type(check).__name__]}")


def _until_passed(spec: Checks, world: World, questions: Sequence[Question], public: str) -> Look:
    """The first look in which everything holds. Raises what `given_up` makes of the last one where the deadline comes first, or
    nobody but a person will change what does not hold."""
    site, clock = world.site, world.site.clock
    started, pause, told = clock.monotonic(), FIRST_PAUSE, ""
    while True:
        left = spec.deadline - (clock.monotonic() - started)
        seen = look(questions, _view(spec, world), left)
        if seen.passed:
            return seen
        if seen.final:
            raise given_up(world.release, seen, public, clock.monotonic() - started)
        left = spec.deadline - (clock.monotonic() - started)
        wait = max(pause, seen.patience)
        if left - wait < SHORTEST:
            raise given_up(world.release, seen, public, clock.monotonic() - started)
        if (text := seen.waiting) != told:
            site.tell(What.WAIT, "verify", text)
            told = text
        clock.sleep(wait)
        pause = min(LAST_PAUSE, pause * GROWTH)


def _view(spec: Checks, world: World) -> View:
    return View(partial(kube.connect, world.site, spec.cluster), world.release.namespace, world.selector, world.stored)


def _stored(spec: Checks, release: Release, site: Site) -> Callable[[], Kept]:
    """Gives what the release's revision is made of: asked once, since a revision never changes."""

    @cache
    def stored() -> Kept:
        return helm_stored.of(kube.connect(site, spec.cluster), release.namespace, release.name, release.revision)

    return stored


def _pods(spec: Checks, world: World) -> Question:
    apart = any(type(each).__name__ == "Drift" for each in spec.checks) or bool(spec.selector)

    def ask(view: View, _seconds: float) -> tuple[Sequence[pods.Object], Sequence[pods.Stated], Edited]:
        said = [] if world.selector else pods.stated(view.objects(), view.namespace)
        return view.pods(), said, NOT_ASKED if apart else view.edited()

    def judge(seen: tuple[Sequence[pods.Object], Sequence[pods.Stated], Edited]) -> Check:
        listed, said, edited = seen
        found = pods.judge(world.release, listed, said, world.selector, partial(named.is_image, world.site))
        wrong = "; ".join([*([] if found.passed else [found.evidence]), *edited.said])
        unknown = f"; whether {', '.join(edited.unknown)} were edited is unknown: this user may not list them" if edited.unknown else ""
        return Check(pods.NAME, not wrong, (wrong or found.evidence) + unknown)

    def is_final(seen: tuple[Sequence[pods.Object], Sequence[pods.Stated], Edited]) -> bool:
        return bool(seen[2].said) and not any(map(flux.keeps, world.stored().objects))

    return Question(pods.NAME, pods.NAME, ask, judge, is_final=is_final)
