"""A world of files with one fake driver for each verb: what the runner is tested against, in one process and in one that dies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts import Artifact, Bundle, Check, Image, Images, Release, Report, Source, Tree
from pipeline.clock import Clock
from pipeline.errors import Cancelled, NotRolledBack, RolledBack, VerifyError
from pipeline.events import Event, Sink
from pipeline.records import Records
from pipeline.runner import run
from pipeline.stage import Driver, Finding, Plan, Site, Stage
from pipeline.testing import FakeClock

Answer = BaseException | Callable[[], None]
VERBS = ("sync", "build", "push", "deploy", "verify")


@dataclass(frozen=True)
class Options:
    """The options of every fake driver."""

    note: str = ""


def source(name: str) -> Source:
    """The working copy at a commit called `name`."""
    tree, commit = (hashlib.sha256(text.encode()).hexdigest()[:40] for text in (f"tree {name}", name))
    return Source(tree, commit, False, "/copy")


def digest_of(at: Source) -> str:
    return "sha256:" + hashlib.sha256(at.id.encode()).hexdigest()


def on_disk(records: Records) -> str:
    """All that lies on disk of the records. What was written last is in the log beside the file only."""
    return "".join(path.read_bytes().decode(errors="replace") for path in records.path.parent.glob(f"{records.path.name}*"))


class World:
    """Host, registry and cluster as files below `folder`.

    `calls` lists what the drivers were asked for ("push.find", "push.make"). What stands in `before["push.make"]` is raised or
    called in turn before that call does anything, `after` when it has done it. `wasted` lists what was made although it was there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[str] = []
        self.before: dict[str, list[Answer]] = defaultdict(list)
        self.after: dict[str, list[Answer]] = defaultdict(list)
        self.wasted: list[str] = []
        self.entered: list[str] = []
        for name in ("trees", "bundles", "registry"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def count(self, call: str) -> int:
        return self.calls.count(call)

    @property
    def makes(self) -> list[str]:
        return [call.removesuffix(".make") for call in self.calls if call.endswith(".make")]

    @contextlib.contextmanager
    def call(self, name: str) -> Iterator[None]:
        self.calls.append(name)
        _next(self.before[name])
        yield
        _next(self.after[name])

    def put(self, name: str, value: Any) -> None:
        path = self.folder / name
        path.with_suffix(".part").write_text(json.dumps(value))
        path.with_suffix(".part").replace(path)

    def get(self, name: str) -> Any:
        path = self.folder / name
        return json.loads(path.read_text()) if path.exists() else None

    def drop(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    @property
    def live(self) -> Any:
        """{digest, source, revision, previous} of what the cluster runs."""
        return self.get("live")

    def picture(self) -> dict[str, str]:
        """Everything there is, for comparing two worlds."""
        return {str(path.relative_to(self.folder)): path.read_text() for path in sorted(self.folder.rglob("*")) if path.is_file()}

    def has(self, verb: str, given: Any) -> Artifact | None:
        if verb == "sync":
            return Tree(given, "builder", f"/trees/{given.tree}") if self.get(f"trees/{given.tree}") else None
        if verb == "build":
            return _bundle(given.source) if self.get(f"bundles/{given.source.tree}") else None
        if verb == "push":
            return _images(given.source) if self.get(f"registry/{given.config[7:]}") else None
        live = self.live
        return _release(given, live["revision"]) if live and live["digest"] == given.images[0].digest else None

    def find(self, verb: str, given: Any) -> Finding:
        with self.call(f"{verb}.find"):
            found = self.has(verb, given)
        return Finding(found, "" if found else f"{verb} is wanted")

    def make(self, verb: str, given: Any) -> Artifact:
        if verb != "verify" and self.has(verb, given):
            self.wasted.append(verb)
        with self.call(f"{verb}.make"):
            if verb == "sync":
                self.put(f"trees/{given.tree}", given.id)
            elif verb == "build":
                self.put(f"bundles/{given.source.tree}", given.id)
            elif verb == "push":
                self.put(f"registry/{given.config[7:]}", given.id)
            elif verb == "deploy":
                before = self.live
                revision = before["revision"] + 1 if before else 1
                self.put("live", {"digest": given.images[0].digest, "revision": revision, "previous": before})
        if verb == "verify":
            live = self.live
            if live is None or live["digest"] != given.images[0].digest:
                raise VerifyError("the old version answers", cause=str(live))
            return Report(given, (Check("pods", True, given.images[0].digest),))
        found = self.has(verb, given)
        if found is None:
            raise AssertionError(f"{verb} made nothing")
        return found

    def undo(self, made: Release, reason: str) -> None:
        with self.call("deploy.undo"):
            live = self.live
            if live["previous"] is None:
                raise NotRolledBack(f"{reason}; there is no release before it", cause=made.id)
            self.put("live", {**live["previous"], "revision": live["revision"] + 1})
        raise RolledBack(f"{reason}; revision {live['previous']['revision']} serves", cause=made.id)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        with self.call("deploy.lock"):
            self.entered.append("in")
        try:
            yield
        finally:
            self.entered.append("out")

    def driver(self, verb: str, exclusive: bool = True) -> Driver:
        takes = {"sync": Source, "build": Tree, "push": Bundle, "deploy": Images, "verify": Release}[verb]
        gives = {"sync": Tree, "build": Bundle, "push": Images, "deploy": Release, "verify": Report}[verb]
        deploys = verb == "deploy"
        return Driver(
            verb,
            "fake",
            takes,
            gives,
            Options,
            lambda _spec, given, _site: self.find(verb, given),
            lambda _spec, given, _site: self.make(verb, given),
            stands_alone=not deploys,
            fresh=verb == "verify",
            exclusive=(lambda _spec, _given, _site: self.lock()) if deploys and exclusive else None,
            undo=(lambda _spec, made, _site, reason: self.undo(made, reason)) if deploys else None,
            live=(lambda _spec, _site: self.now()) if deploys else None,
        )

    def now(self) -> Release | None:
        with self.call("deploy.live"):
            live = self.live
        if live is None:
            return None
        at = Source("", live.get("commit", ""), False, "")
        return Release(at, (Image("registry/app", live["digest"], "t"),), "lab", "ns", "app", live["revision"], live["digest"])

    def plan(self, *, exclusive: bool = True) -> Plan:
        return tuple(Stage(verb, self.driver(verb, exclusive), Options()) for verb in VERBS)


def _next(answers: list[Answer]) -> None:
    if answers:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        answer()


def _bundle(at: Source) -> Bundle:
    return Bundle(at, "builder", f"/nix/store/{at.tree}-image.tar", "sha256-nar", digest_of(at))


def _images(at: Source) -> Images:
    return Images(at, (Image("registry/app", digest_of(at), at.label),))


def _release(given: Images, revision: int) -> Release:
    return Release(given.source, given.images, "lab", "ns", "app", revision, given.images[0].digest)


def site(folder: Path, sink: Sink = lambda _event: None, clock: Clock | None = None) -> Site:
    """A site with nothing in it but records in `folder`."""
    clock = clock or FakeClock()
    return Site("app", folder, {}, {}, {}, {}, {}, {}, Records(folder / ".pipeline" / "app.db", clock), clock=clock, sink=sink)


def main(folder: str, name: str) -> None:
    """One whole run in a process of its own, with the signals handled as the tasks do; the exit code is the error's."""

    def terminated(number: int, _frame: Any) -> None:
        raise Cancelled("stopped by SIGTERM", signal=number)

    def told(event: Event) -> None:
        print(event.what, event.stage, flush=True)

    signal.signal(signal.SIGTERM, terminated)
    world = World(Path(folder) / "world")
    with site(Path(folder), told) as here:
        try:
            run(world.plan(), here, source=source(name))
        except Cancelled as error:
            sys.exit(error.exit_code)


if __name__ == "__main__":
    os.umask(0o022)
    main(*sys.argv[1:])
