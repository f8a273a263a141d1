"""Source to a build host with git: only the objects that the host lacks travel, and the tree there is proven to be the one named here."""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from pipeline.artifacts import Source, Tree
from pipeline.errors import ConfigError
from pipeline.events import What
from pipeline.host import Cmd, Host, Output
from pipeline.records import actor
from pipeline.runner.act import count_wait
from pipeline.source import Repository, look, not_files
from pipeline.source.vet import vet
from pipeline.stage import Driver, Finding, Site
from pipeline.sync.pack import packed
from pipeline.sync.remote import Known, Push
from pipeline.tools import git

KEEP = 5  # trees on the host
BY_STDIN = 1_000_000  # bytes: more goes as a file whose upload can be resumed
PATIENCE = 60  # seconds another sync to the same folder is waited for
INCOMPLETE = 75  # receive.sh: the host lacks what it said it had


@dataclass(frozen=True)
class Git:
    """`host` gets the files. `via` names the site's git remote that a clean commit is pushed to as well, as
    refs/pipeline/COMMIT: branches are people's. `dirty`: whether changes that are
    not committed are sent (they are part of the identity) or refused."""

    host: str
    via: str = ""
    dirty: Literal["send", "refuse"] = "send"


@dataclass(frozen=True)
class There:
    """What `look.sh` saw on the host: the tree itself, or other trees and what is not installed; and whether the commit is `recorded`
    in the git remote, as far as it has to be."""

    tree: bool
    have: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    recorded: bool = False


def find(spec: Git, source: Source, site: Site) -> Finding:
    """One command on the host, and side by side one question to the remote: are they there?

    Raises ConfigError if dirty sources are refused, and what the host and the remote raise.
    """
    _allowed(spec, source)
    there = _seen(spec, source, site)
    # what make needs to know it would otherwise ask the host again
    site.shared[_noted(spec, source)] = there
    if not there.tree:
        return Finding(None, f"tree {source.tree[:8]} is not on {spec.host}")
    if not there.recorded:
        return Finding(None, f"commit {source.commit[:7]} is not in git remote {spec.via}")
    return Finding(_tree(spec, source, site), f"tree {source.tree[:8]} is on {spec.host}")


def make(spec: Git, source: Source, site: Site) -> Tree:
    """Push the commit and send the objects, side by side; publish the folder when its files hash to the tree.

    Raises ConfigError for a tree that must not travel, Locked, ResourceError, IntegrityError, and what the host raises.
    """
    _allowed(spec, source)
    program = site.tool("git")
    seen = look(site.root, program, site.private)
    for passed in vet(source, program, not_secret=site.not_secret):
        site.tell(What.LOG, "sync", f"travels, though it looks like a secret: {passed}")
    for name in seen.left_out:
        if not name.startswith(".pipeline/"):
            site.tell(What.WARN, "sync", f"{name!r} is or holds a secret and stays here: .gitignore it, or git add it if it is none")
    for name in not_files(Path(source.path), program):
        site.tell(What.WARN, "sync", f"{name!r} is no file, link or folder and stays here: git takes no pipes, devices or sockets")
    there = site.shared.pop(_noted(spec, source), None) or _seen(spec, source, site)
    push = None if there.recorded else Push(site, spec.via, source)
    try:
        if not there.tree:
            _send(spec, source, site, there)
        if push is not None:
            ref = git.kept_ref(source.commit)
            site.tell(What.WAIT, "sync", f"pushes {source.commit[:7]} to {spec.via}, as {ref[:22]}…: no branch there is moved")
            push.finish()
    except BaseException:
        if push is not None:
            push.stop()
        raise
    return _tree(spec, source, site)


def _seen(spec: Git, source: Source, site: Site) -> There:
    """What the host and the remote have, asked side by side."""
    known = Known(site, spec.via, source)
    try:
        there = _look(spec, source, site)
        return replace(there, recorded=known.answer())
    except BaseException:
        known.stop()
        raise


def _send(spec: Git, source: Source, site: Site, there: There) -> None:
    for tool in there.lacks:
        raise git.lacking(tool, spec.host)
    host = site.host(spec.host)
    repository = Repository(Path(source.path), site.tool("git"))
    for have in (there.have, ()):
        with packed(repository, source.tree, have, site.root / ".pipeline" / "sync", keep_from=BY_STDIN) as pack:
            size = pack.stat().st_size
            site.tell(What.WAIT, "sync", f"sends {_amount(size)} to {spec.host}", bytes=size)
            if size < BY_STDIN:
                done = _receive(host, source, site, "-", pack.read_bytes())
            else:
                target = f"{_base(host, site)}/incoming/{pack.name}"
                host.put(pack, target)
                done = _receive(host, source, site, target, b"")
        if done.ok:
            return
        if done.code != INCOMPLETE or not have or git.is_full(done.errors):
            break
        site.tell(What.WARN, "sync", f"{spec.host} lacks objects of trees it has: sends everything")
    raise git.receive_error(done.code, done.errors, spec.host, source.tree)


def _receive(host: Host, source: Source, site: Site, pack: str, stdin: bytes) -> Output:
    form = "sha1" if len(source.tree) == 40 else "sha256"
    patience = max(PATIENCE, int(site.wait))
    words = (_base(host, site), source.tree, form, pack, str(KEEP), str(patience), actor())

    def hear(line: str) -> None:
        if line.startswith("waits "):
            site.tell(What.WAIT, "sync", line)
        elif line.startswith("waited "):
            count_wait(site, "sync", float(line.removeprefix("waited ")))

    return host.run(Cmd(("sh", "-c", script("receive"), "receive", *words), stdin=stdin, timeout=1800.0 + patience), hear)


def _look(spec: Git, source: Source, site: Site) -> There:
    host = site.host(spec.host)
    done = host.run(Cmd(("sh", "-c", script("look"), "look", _base(host, site), source.tree)))
    lines = done.text.splitlines()
    if not done.ok:
        raise git.receive_error(done.code, done.errors, spec.host, source.tree)
    return There(
        "there" in lines,
        tuple(line.removeprefix("have ") for line in lines if line.startswith("have ")),
        tuple(line.removeprefix("lacks ") for line in lines if line.startswith("lacks ")),
    )


def _tree(spec: Git, source: Source, site: Site) -> Tree:
    return Tree(source, spec.host, f"{_base(site.host(spec.host), site)}/trees/{source.tree}")


def _base(host: Host, site: Site) -> str:
    return f"{host.state}/{site.app}"


def _noted(spec: Git, source: Source) -> str:
    return f"sync/{spec.host}/{source.tree}"


def _allowed(spec: Git, source: Source) -> None:
    if source.dirty and spec.dirty == "refuse":
        raise ConfigError(
            f"the working copy is not what commit {source.commit[:7]} says, and this blueprint takes commits only",
            mend="git status; git commit or git stash, then run again",
        )


def _amount(size: int) -> str:
    return f"{size} bytes" if size < 10_000 else f"{size / 1e3:.0f} kB" if size < 10_000_000 else f"{size / 1e6:.0f} MB"


@cache
def script(name: str) -> str:
    """The text of `<name>.sh` beside this module, without its comment lines: it travels with every call."""
    text = importlib.resources.files(__package__).joinpath(f"{name}.sh").read_text()
    return "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("#"))


def check(spec: Git, site: Site) -> None:
    """Whether the site knows the host and the remote. Raises ConfigError."""
    site.host(spec.host)
    if spec.via:
        git.remote_url(site.remote(spec.via), site.app)


def rehearse(_spec: Git, source: Source, site: Site) -> None:
    """Raise ConfigError for what must not travel: see `pipeline.source.vet.vet`."""
    vet(source, site.tool("git"), not_secret=site.not_secret)


DRIVER = Driver("sync", "git", takes=Source, gives=Tree, spec=Git, find=find, make=make, check=check, rehearse=rehearse)
