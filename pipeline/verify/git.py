"""A git daemon answers: its refs are listed with `git ls-remote git://…`, and one of them is what it has to be."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.artifacts import Check
from pipeline.errors import ConfigError, Transient
from pipeline.host import Cmd
from pipeline.schema import keyed
from pipeline.tools import git_daemon
from pipeline.verify.question import Question, World
from pipeline.verify.through import parse
from pipeline.verify.view import View
from pipeline.verify.web import Unreachable
from pipeline.verify.words import fill, refuse_unknown

COMMIT = re.compile(r"[0-9a-f]{7,64}|\{[a-z_]+\}")
KEPT = 1 << 20  # bytes of a list of refs that are read


@dataclass(frozen=True)
class Git:
    """A repository that a git daemon gives.

    `git` is its URL (git://HOST:9418/repo.git), or its path (/repo.git) where `through` names the way: an address,
    load-balancer:SERVICE:PORT, port-forward:service/NAME:PORT. `ref` has to be there, and to be at `commit` where that is named
    ({commit} is the release's own). Raises ValueError where something is none of that.
    """

    git: str
    through: str = ""
    ref: str = ""
    commit: str = ""

    def __post_init__(self) -> None:
        with keyed("through"):
            if self.through and parse(self.through).kind == "ingress":
                raise ValueError("an ingress speaks HTTP: git needs an address, a load-balancer or a port-forward")
        if self.through:
            if not git_daemon.REPOSITORY.fullmatch(self.git):
                raise ValueError(f"git {self.git!r} is no path like /repo.git; a whole URL stands without `through`")
        elif not git_daemon.URL.fullmatch(self.git):
            raise ValueError(f"git {self.git!r} is no URL like git://10.0.0.5:9418/repo.git; a path like /repo.git stands with `through`")
        with keyed("ref"):
            if self.ref and not git_daemon.REF.fullmatch(self.ref):
                raise ValueError(f"ref {self.ref!r} is no name of a branch or a tag")
        with keyed("commit"):
            if self.commit and (not self.ref or not COMMIT.fullmatch(self.commit)):
                raise ValueError("commit is seven digits or more, or {commit}, and stands with a `ref`")
            refuse_unknown(self.commit)

    @property
    def ways(self) -> tuple[str, ...]:
        """How it reaches the application, as it is written."""
        return (self.through,) if self.through else ()

    @property
    def name(self) -> str:
        return f"git {self.git}" + (f" through {self.through}" if self.through else "")


def question(check: Git, world: World) -> Question:
    """Raises ConfigError where a placeholder has no single value."""
    commit = fill(check.commit, world.words, check.name)
    way = parse(check.through) if check.through else None

    def ask(view: View, seconds: float) -> dict[str, str]:
        if way is None:
            return _list(check.git, check.ref, world, seconds)
        where = git_daemon.url(world.ways.address(way, view), check.git)
        with world.ways.told(way):
            return _list(where, check.ref, world, seconds)

    return Question(
        check.name,
        ("git", check.git, check.through, check.ref),
        ask,
        lambda found: _judge(check, commit, found),
        place=check.through or check.git,
        mend=f"ask yourself: git ls-remote {check.git if way is None else 'git://HOST:PORT' + check.git}",
    )


def _list(where: str, ref: str, world: World, seconds: float) -> dict[str, str]:
    from pipeline.host.local import LocalHost  # starts a process: what asks only pages needs none

    argv = git_daemon.ls_remote(world.site.tool("git"), where, ref)
    try:
        output = LocalHost(clock=world.site.clock).run(Cmd(argv, env=git_daemon.ENVIRONMENT, timeout=seconds, keep=KEPT))
    except Transient as error:
        raise Transient(f"no complete answer within {seconds:.1f} s") from error
    if not output.ok:
        failure = git_daemon.failure(output)
        if isinstance(failure, ConfigError):
            raise failure
        said = f"{failure.what}: {' '.join(failure.cause.split())}"
        raise Unreachable(said) if isinstance(failure, git_daemon.Unreachable) else Transient(said)  # it only looked: it looks again
    return git_daemon.refs(output.stdout.decode(errors="replace"))


def _judge(check: Git, commit: str, found: dict[str, str]) -> Check:
    if not found and not check.ref:
        return Check(check.name, False, "it answers, and has no ref")
    if not check.ref:
        some = ", ".join(f"{name} = {value[:12]}" for name, value in list(found.items())[:3])
        return Check(check.name, True, f"{len(found)} refs: {some}" + (" …" if len(found) > 3 else ""))
    full = git_daemon.named(found, check.ref)
    if not full:
        return Check(check.name, False, f"it answers, and has no ref {check.ref}")
    if commit and not found[full].startswith(commit):
        return Check(check.name, False, f"{full} is {found[full]}, expected {commit}")
    return Check(check.name, True, f"{full} = {found[full]}")
