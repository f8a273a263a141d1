"""An image of the release run by itself, without a cluster: a container of a Docker for as long as the checks last, and not longer.

It is removed in every end. After a kill it is left behind, with labels that say whose it was: the next run here removes it.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Check, Image
from pipeline.errors import ConfigError, VerifyError
from pipeline.events import What
from pipeline.host import Address
from pipeline.schema import keyed
from pipeline.secrets import SOURCES
from pipeline.stage import Site, registry_at
from pipeline.verify import git, page, tcp
from pipeline.verify.expect import Page
from pipeline.verify.git import Git
from pipeline.verify.question import Question, World
from pipeline.verify.tcp import Tcp
from pipeline.verify.through import Through
from pipeline.verify.ways import Ways
from pipeline.yamlfile import keys_like

if TYPE_CHECKING:
    from pipeline.tools.dockerd import Engine, State

PORT = re.compile(r"(?:([0-9]{1,5}):)?([0-9]{1,5})")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SCHEMES = tuple(source.partition(":")[0] + ":" for source in SOURCES)
APP, OWNER, UNTIL = "pipeline.verify", "pipeline.owner", "pipeline.until"  # labels
SPARE = 120.0  # seconds beside the deadline after which a container of another machine's run was surely left behind
KINDS: Mapping[type[Any], Any] = {Page: page.question, Git: git.question, Tcp: tcp.question}


@dataclass(frozen=True)
class Run:
    """A container of the image `run` (its repository's last part), on the site's `docker`, and what is checked of it.

    `ports` are the container's, each on a free port there or on a fixed one (18088:8088). `checks` are pages, git and tcp, each through
    port:NUMBER, by default the first one. `env` are plain values, `secrets` sources of such (env:NAME). `command` follows the image's
    entrypoint. Raises ValueError where something is none of that.
    """

    run: str
    docker: str
    ports: tuple[int | str, ...] = ()
    checks: tuple[Page | Git | Tcp, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        with keyed("ports"):
            for port in self.ports:
                found = PORT.fullmatch(str(port))
                if not found or not all(0 < int(number) < 65536 for number in found.groups() if number):
                    raise ValueError(f"{port!r} is no port like 8088 or 18088:8088")
        known = [f"port:{number}" for number in self.mapped]
        with keyed("checks"):
            if strays := [each for each in self.checks if _way(each, known) not in known]:
                each, way = strays[0], _way(strays[0], known)
                raise ValueError(f"{each.name} goes through {way or 'nothing'}; the container's ports are {', '.join(known) or 'none'}")
        for name in (*self.env, *self.secrets):
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a variable")
        for name, source in self.secrets.items():
            if not source.startswith(SCHEMES):
                raise ValueError(f"secrets.{name} is no source like env:NAME; a plain value stands under `env`")

    @property
    def mapped(self) -> dict[int, int]:
        """Each port of the container, and the fixed one there, 0 for any."""
        found = [PORT.fullmatch(str(port)) for port in self.ports]
        return {int(match[2]): int(match[1] or 0) for match in found if match}

    @property
    def name(self) -> str:
        return f"run {self.run}"


def check(check: Run, site: Site) -> None:
    """Whether there is such a Docker, and each secret. Raises ConfigError, AuthError."""
    site.docker(check.docker)
    for source in check.secrets.values():
        site.secrets.get(source)


def questions(check: Run, world: World, opened: ExitStack, deadline: float) -> list[Question]:
    """Start the container, to be removed when `opened` is closed, and give what is asked of it: whether it runs, and its own checks.

    Raises what `pipeline.tools.dockerd.Engine` raises.
    """
    from pipeline.tools.dockerd import Engine, Wanted  # here and not above: it loads the client of Docker

    site, image = world.site, image_of(check, world.release.images)
    daemon = site.docker(check.docker)
    engine = Engine(check.docker, daemon.address)
    opened.callback(engine.close)
    for left in left_behind(engine.labelled(f"{APP}={site.app}"), site):
        engine.remove(left)
    site.tell(What.WAIT, "verify", f"{check.name}: pulling {image.reference}")
    engine.pull(image.reference, _login(image, site))
    env = {**check.env, **{name: site.secrets.get(source).reveal() for name, source in check.secrets.items()}}
    labels = {APP: site.app, OWNER: owner(), UNTIL: str(int(site.clock.now() + deadline + SPARE))}
    there = daemon.host or "127.0.0.1"
    container = f"pipeline-{site.app}-{secrets.token_hex(4)}"
    opened.callback(engine.remove, container)  # before it is made: a signal may come right after
    engine.create(Wanted(container, image.reference, there, check.mapped, labels, check.command, env))
    engine.start(container, image.reference)
    state = _running(engine, container, check, image)
    published = {Through("port", port=str(port)): _reached(address, there) for port, address in state.ports.items()}
    ways = Ways(published)
    opened.callback(ways.close)

    def judge(seen: State) -> Check:
        ports = ", ".join(f"{port} at {_reached(address, there)}" for port, address in seen.ports.items())
        return Check(check.name, True, f"running on {check.docker}" + (f", {ports}" if ports else ""))

    known = [f"port:{number}" for number in check.mapped]
    inner = [KINDS[type(each)](_through(each, known), replace(world, ways=ways)) for each in check.checks]
    return [
        Question(check.name, ("run", container), lambda _view, _seconds: _running(engine, container, check, image), judge, check.docker),
        *(_within(check, container, question) for question in inner),
    ]


def _within(check: Run, container: str, question: Question) -> Question:
    """`question` of the container, called so."""
    name = f"{check.name}: {question.name}"
    return replace(
        question,
        name=name,
        key=(container, question.key),
        judge=lambda answer: replace(question.judge(answer), name=name),
        place=check.docker,
    )


def _running(engine: Engine, container: str, check: Run, image: Image) -> State:
    """The container's state. Raises VerifyError with its log where it has ended: nothing that is asked later would find it."""
    state = engine.state(container)
    if state.status in ("running", "created", "restarting"):
        return state
    if "exec format error" in state.log:
        own, its = engine.platforms(image.reference)
        raise VerifyError(
            f"{check.name}: the image is for {own}, the Docker {check.docker} runs {its}",
            cause=state.log,
            mend=f"build it for linux/{its}, too (platforms), or name another docker",
        )
    raise VerifyError(
        f"{check.name}: its container ended by itself, with exit code {state.code}",
        cause=state.log or "it said nothing",
        mend=f"run it yourself: docker run --rm {image.reference}; what it needs stands under env and secrets",
    )


def image_of(check: Run, images: Sequence[Image]) -> Image:
    """Return the image that is run. Raises ConfigError if the release has none of that name."""
    names = {image.repository.rpartition("/")[2]: image for image in images}
    if check.run not in names:
        raise ConfigError(
            f"{check.name}: the release has no image {check.run}{keys_like(check.run, list(names))}",
            mend=f"its images are: {', '.join(names) or 'none'}",
        )
    return names[check.run]


def _login(image: Image, site: Site) -> tuple[str, str] | None:
    """The login for the image's registry, where the site knows it."""
    from pipeline.tools.credentials import login_of

    address = image.repository.partition("/")[0]
    name = registry_at(site.registries, address)
    found = login_of(site, name, image.repository.partition("/")[2]) if name else None
    return (found.username, found.password) if found else None


def left_behind(containers: Mapping[str, Mapping[str, str]], site: Site) -> Iterator[str]:
    """Those whose run is over: of this machine, where its process is; of another, where its time is."""
    for container, labels in containers.items():
        machine, _, process = labels.get(OWNER, "").partition("/")
        until = labels.get(UNTIL, "")
        expired = until.isdigit() and int(until) < site.clock.now()
        if expired or (machine == os.uname().nodename and not _alive(process)):
            yield container


def owner() -> str:
    """This process, told from a later one with the same number by when it started."""
    return f"{os.uname().nodename}/{os.getpid()}.{_started(os.getpid())}"


def _alive(process: str) -> bool:
    number, _, started = process.partition(".")
    return number.isdigit() and Path(f"/proc/{number}").exists() and _started(int(number)) == started


def _started(number: int) -> str:
    """When a process started, in ticks since boot, "" where that cannot be known (proc(5), field 22 of stat)."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _reached(bound: Address, there: str) -> Address:
    return Address(there if bound.host in ("0.0.0.0", "::") else bound.host, bound.port)  # noqa: S104  # compared, not bound


def _way(check: Page | Git | Tcp, known: list[str]) -> str:
    """By which port a check of the container goes: the first one where it names none."""
    named = check.tcp if isinstance(check, Tcp) else check.through
    return known[0] if known and named in ("ingress", "") else named


def _through(check: Page | Git | Tcp, known: list[str]) -> Page | Git | Tcp:
    way = _way(check, known)
    return replace(check, tcp=way) if isinstance(check, Tcp) else replace(check, through=way)
