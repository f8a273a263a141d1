"""`nix build` on a build host, as a job that outlives its connection; the archive that comes of it is read before anybody trusts it."""

from __future__ import annotations

import contextlib
import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial

from pipeline import jsontext
from pipeline.artifacts import Bundle, Tree, content_hash
from pipeline.build import archive
from pipeline.build.story import Story
from pipeline.errors import Cancelled, ConfigError, IntegrityError, Locked, PipelineError, Transient
from pipeline.events import What
from pipeline.host import Cmd, Host, job
from pipeline.records import actor
from pipeline.runner.act import count_wait
from pipeline.stage import Driver, Finding, Left, Site
from pipeline.tools import nix
from pipeline.tools.nix_log import NixLog

LOCKED = 72  # build.sh: another build has the lock
UNLIMITED = 10**7  # seconds another build is waited for, if one may take as long as it likes
GC = 3600.0  # seconds that a garbage collection may take
ROOT = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})-[A-Za-z0-9._'-]+")  # as `_key` makes it
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Nix:
    """`attr` of the flake at the root of the source, built on `host`.

    `jobs` derivations at a time with `cores` each (0: all), at most `timeout` seconds for each and `silence` seconds without a line of
    output (0: no limit). `env` is the environment of nix itself: GHCRTS and the like; a derivation that should see it has to ask for it.
    """

    host: str
    attr: str = "docker"
    env: Mapping[str, str] = field(default_factory=dict)
    jobs: int = 1
    cores: int = 0
    timeout: int = 7200
    silence: int = 0

    def __post_init__(self) -> None:
        if not nix.ATTRIBUTE.fullmatch(self.attr):
            raise ValueError(f"attr {self.attr!r} is not a flake attribute, as docker is")
        if min(self.jobs - 1, self.cores, self.timeout, self.silence) < 0:
            raise ValueError("jobs is at least 1, and cores, timeout and silence are not negative")
        for name in self.env:
            if not VARIABLE.fullmatch(name):
                raise ValueError(f"env {name!r} is not the name of a variable")
        object.__setattr__(self, "env", dict(sorted(self.env.items())))  # written in another order it is the same


def find(spec: Nix, tree: Tree, site: Site) -> Finding:
    """One command on the host: does the output of this tree and attribute stand there, whole?"""
    host = site.host(spec.host)
    done = host.run(Cmd(("sh", "-c", script("look"), "look", _roots(host, site), _key(spec, tree))))
    lines = done.text.splitlines()
    if not done.ok or lines[:1] == ["absent"] or not lines:
        return Finding(None, f"{spec.attr} of {tree.source.label} is not built")
    try:
        facts = archive.read(lines)
        bundle = _bundle(spec, tree, facts)
    except IntegrityError as error:
        return Finding(None, error.what)
    if facts.now != facts.size or facts.link != facts.out:
        return Finding(None, f"{facts.archive} has {facts.now} bytes and had {facts.size}: it is damaged")
    return Finding(bundle, f"{spec.attr} of {tree.source.label} stands on {spec.host}")


def make(spec: Nix, tree: Tree, site: Site) -> Bundle:
    """Build, or join the build of the same that is under way; then read the archive.

    The connection may break meanwhile. A stop from here stops the build there. Raises Locked if another build has the host for as long as
    a build may take; ConfigError, BuildError, IntegrityError, ResourceError or Transient as `pipeline.tools.nix.failure` and
    `pipeline.build.archive` say.
    """
    host = site.host(spec.host)
    work = _job(spec, tree, host, site)
    story = Story(site, f"build-{_key(spec, tree)}", NixLog())
    lock = _Lock(site, spec.host, story)
    with story:
        try:
            code = job.run_detached(host, work, lock.hear, clock=site.clock, notice=lambda text: site.tell(What.WARN, "build", text))
        except (KeyboardInterrupt, Cancelled):
            job.cancel(host, work.name)
            job.retire(host, work.name)
            raise
    if code == LOCKED:
        raise lock.held()
    if code == job.CANCELLED:
        raise Transient(f"the build on {spec.host} was stopped by somebody else", log=str(story.path))
    if code == 0 or story.facts:
        return _bundle(spec, tree, archive.read(story.facts))
    raise _failure(spec, tree, host, story, code)


class _Lock:
    """Hears what build.sh says of the host's build lock, and hands on the rest."""

    def __init__(self, site: Site, host: str, story: Story[NixLog]) -> None:
        self._site, self._host, self._story = site, host, story
        self._who, self._seconds = "another build", 0.0

    def hear(self, line: str) -> None:
        word, _, said = line.partition(" ")
        if word == "@wait":
            self._who = said
            usual = self._site.records.usual("build")
            usually = f" (a build of this usually takes {usual:.0f} s)" if usual else ""
            self._site.tell(What.WAIT, "build", f"{self._host} builds for {said}{usually}: waits until that is done")
        elif word == "@waited":
            self._seconds = float(said)
            count_wait(self._site, "build", self._seconds)
        else:
            self._story.hear(line)

    def held(self) -> Locked:
        """The error of who has waited for as long as a build may take."""
        return Locked(
            f"another build has had {self._host} for {self._seconds:.0f} s",
            cause=self._who,
            mend=f"see what it does, by the number of its process, on {self._host}; then run again. `timeout` says how long is waited",
            log=str(self._story.path),
        )


def _failure(spec: Nix, tree: Tree, host: Host, story: Story[NixLog], code: int) -> PipelineError:
    present: list[str] = []
    if nix.missing(story.log):
        done = host.run(Cmd(nix.attributes(tree.path)))
        with contextlib.suppress(ValueError, AttributeError, TypeError):  # it only makes the mend better
            systems: dict[str, list[str]] = jsontext.loads(done.stdout) if done.ok else {}
            present = sorted({name for names in systems.values() for name in names})
    return nix.failure(story.log, code, spec.host, str(story.path), present)


def _job(spec: Nix, tree: Tree, host: Host, site: Site) -> job.Job:
    roots, key = _roots(host, site), _key(spec, tree)
    limits = nix.Limits(spec.jobs, spec.cores, spec.timeout, spec.silence)
    ours = (roots, key, str(site.keep), f"{host.state}/build.lock")
    what = (nix.installable(tree.path, spec.attr), *nix.build(f"{roots}/{key}", limits))
    name = f"build-{content_hash([[*ours, *what], dict(spec.env)])[:24]}"  # whoever asks for it: one build for all
    words = (*ours, actor(), str(spec.timeout or UNLIMITED), *what)
    return job.Job(name, ("sh", "-c", script("build"), "build", *words), env=dict(spec.env))


def _bundle(spec: Nix, tree: Tree, facts: archive.Facts) -> Bundle:
    config = archive.image_id(facts)
    return Bundle(
        source=tree.source,
        host=spec.host,
        store_path=facts.archive,
        nar_hash=archive.nar_hash(facts),
        config=config,
        drv=archive.derivation(facts),
        size=facts.size,
    )


def _key(spec: Nix, tree: Tree) -> str:
    """Names the output before it exists: limits and environment do not change what nix builds."""
    return f"{tree.source.tree}-{spec.attr}"


def _roots(host: Host, site: Site) -> str:
    return f"{host.state}/{site.app}/roots"


@cache
def script(name: str) -> str:
    """The text of `<name>.sh` beside this module, without its comment lines: it travels with every call."""
    text = importlib.resources.files(__package__).joinpath(f"{name}.sh").read_text()
    return "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("#"))


def check(spec: Nix, site: Site) -> None:
    """Whether the site knows the host. Raises ConfigError."""
    site.host(spec.host)


def left(spec: Nix, keep: int, site: Site) -> tuple[Left, ...]:
    """The roots of former builds on the host, newest first: the newest `keep` stay, and one whose build is under way."""
    host = site.host(spec.host)
    done = host.run(Cmd(("sh", "-c", script("roots"), "roots", "list", _roots(host, site))))
    if not done.ok:
        raise Transient(f"the roots of {spec.host} cannot be listed", cause=done.tail(3))
    known = [line.partition(" ")[::2] for line in done.text.splitlines()]
    found = []
    for number, (state, key) in enumerate((state, key) for state, key in known if ROOT.fullmatch(key)):
        why = f"it is one of the newest {keep}" if number < keep else "it is being built" if state == "busy" else ""
        found.append(Left("nix root", f"{key} on {spec.host}", why, partial(_forget, host, site, key), (key.partition("-")[0],)))
    return tuple(found)


def _forget(host: Host, site: Site, key: str) -> None:
    done = host.run(Cmd(("sh", "-c", script("roots"), "roots", "forget", _roots(host, site), key)))
    if not done.ok:
        raise Transient(f"the root {key} cannot be removed", cause=done.tail(3))


def collect(spec: Nix, site: Site) -> str:
    """Have nix delete what no root of anybody holds; what it says of it, on one line. Raises ConfigError."""
    done = site.host(spec.host).run(Cmd(("sh", "-c", script("roots"), "roots", "collect"), timeout=GC))
    if not done.ok:
        raise ConfigError(f"nix store gc failed on {spec.host}", cause=done.tail(5), mend=f"run it there: ssh {spec.host} nix store gc")
    return next((line for line in reversed(done.text.splitlines()) if "freed" in line), "nothing was freed")


DRIVER = Driver("build", "nix", takes=Tree, gives=Bundle, spec=Nix, find=find, make=make, check=check, left=left)
