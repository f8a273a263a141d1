"""The build host: one command there, and what its answer says of tools, nix, disk, memory and the compiler."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from pipeline.build.nix import Nix
from pipeline.doctor import ghc, nix
from pipeline.doctor.verdict import LIMIT, Verdict, fail, ok, warn
from pipeline.errors import ResourceError
from pipeline.host import Cmd
from pipeline.stage import Site
from pipeline.tools import git, skopeo

STORE = "/nix/store"
NEEDED = ("git", "tar", "gzip", "sha256sum", "base64", "od", "sed", "awk")
USEFUL = ("flock",)
SKEW = 5.0  # seconds two clocks may differ, beyond what the question took
FAR = 300.0  # seconds: from there on certificates and tokens are refused
MIB = 1 << 20
# free bytes and inodes: below the first it fails, below the second it is told
STATE_ROOM, STORE_ROOM, INODES = (256 * MIB, 2048 * MIB), (2048 * MIB, 10240 * MIB), (10_000, 100_000)


@dataclass(frozen=True)
class Disk:
    """Free bytes and inodes where `path` lies; `inodes` in all is 0 where the file system does not count them."""

    path: str
    free: int
    free_inodes: int
    inodes: int


@dataclass(frozen=True)
class Seen:
    """What `build_host.sh` printed. Sizes are bytes, `now` is seconds since 1970."""

    facts: Mapping[str, str]
    lacks: frozenset[str]
    settings: Mapping[str, str]
    disks: tuple[Disk, ...]
    archives: tuple[tuple[int, str], ...]
    store_said: tuple[str, ...] = field(default=())
    way: tuple[str, ...] = field(default=())

    def number(self, name: str) -> int:
        text = self.facts.get(name, "")
        return int(text) if text.isdigit() else 0


def look(name: str, build: Nix | None, site: Site) -> Iterator[Verdict]:
    """Every verdict on the host. Raises what the host raises where it cannot be reached."""
    where, host = f"{name} (build host)", site.host(name)
    before = site.clock.now()
    words = (host.state, STORE, ghc.VERSION, site.tool("skopeo"), *NEEDED, *USEFUL)
    done = host.run(Cmd(("sh", "-c", script("build_host"), "look", *words), timeout=LIMIT - 1))
    after = site.clock.now()
    seen = read(done.text)
    yield ok(where, "ssh", f"reached, its key is known; {seen.facts.get('system', '?')}, {seen.number('cpus')} CPUs")
    yield clock(where, seen.number("now"), before, after)
    yield from tools(where, name, seen)
    yield from nix.read(where, seen.facts.get("nix", ""), seen.settings, seen.store_said, build)
    if build is not None and (seen.way or seen.facts.get("daemon") or build.env):
        yield proxies(where, seen, build)
    yield from disks(where, name, host.state, seen)
    if build is not None:
        yield ghc.memory(where, seen.number("memory") * 1024, build)
        yield from ghc.archives(where, seen.archives)
        yield from ghc.interfaces(where, site.root / ".pipeline" / "logs")


def read(text: str) -> Seen:
    """The facts in the lines of `build_host.sh`."""
    facts: dict[str, str] = {}
    lacks, settings, disks, archives, said, way = set(), {}, [], [], [], []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "lacks":
            lacks.add(rest)
        elif word == "setting":
            key, _, value = rest.partition(" = ")
            settings[key] = value.strip()
        elif word == "disk" and (match := re.fullmatch(r"(\d+) (\d+) (\d+) (.+)", rest)):
            disks.append(Disk(match[4], int(match[1]) * 1024, int(match[2]), int(match[3])))
        elif word == "archive" and (match := re.fullmatch(r"(\d+) (.+)", rest)):
            archives.append((int(match[1]), match[2]))
        elif word == "way":
            way.append(rest)
        elif word == "store-said":
            said.append(rest)
        elif word != "has":
            facts[word] = rest
    return Seen(facts, frozenset(lacks), settings, tuple(disks), tuple(archives), tuple(said), tuple(way))


def clock(where: str, there: int, before: float, after: float) -> Verdict:
    """Compare a machine's clock (whole seconds) with ours, read before and after the question."""
    off = there + 1 - before if there + 1 < before else there - after if there > after else 0.0
    text = f"{abs(off):.0f} s {'behind' if off < 0 else 'ahead of'} this machine"
    mend = "set the wrong clock right: timedatectl set-ntp true, or on Alpine rc-service chronyd start"
    if abs(off) > FAR:
        return fail(where, "clock", f"{text}: certificates and tokens are refused", mend)
    return warn(where, "clock", text, mend) if abs(off) > SKEW else ok(where, "clock", "agrees with this machine's")


def proxies(where: str, seen: Seen, build: Nix) -> Verdict:
    """Which way out nix takes there: by the login's environment and the blueprint's `env`, or by the daemon's own."""
    known = ("https_proxy", "all_proxy", "no_proxy", "nix_ssl_cert_file", "ssl_cert_file")
    said = [f"{name}={re.sub(r'//[^/@]*@', '//', value)}" for name, value in build.env.items() if name.lower() in known]
    parts = {
        "by the login there": seen.way,
        "by the blueprint": said,
        "by the daemon, which downloads and builds": [seen.facts[name] for name in ("daemon",) if seen.facts.get(name)],
    }
    text = "; ".join(f"{whose}: {', '.join(values)}" for whose, values in parts.items() if values)
    return ok(where, "proxies", text or "none")


def tools(where: str, name: str, seen: Seen) -> Iterator[Verdict]:
    """The programs that sync, build and push call there."""
    lacking = [tool for tool in NEEDED if tool in seen.lacks]
    for tool in lacking:
        error = git.lacking(tool, name)
        yield fail(where, tool, error.what, error.mend)
    if not lacking:
        yield ok(where, "tools", f"{', '.join(NEEDED)} are there; {seen.facts.get('git', '')}")
    if "flock" in seen.lacks:
        yield warn(where, "flock", "not installed: two builds at once would not wait for each other", git.lacking("flock", name).mend)
    yield skopeo_version(where, seen.facts.get("skopeo", ""))


def skopeo_version(where: str, said: str) -> Verdict:
    """skopeo by what it prints for --version."""
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", said)
    if match is None:
        return fail(where, "skopeo", said or "not installed", skopeo.INSTALL)
    version = (int(match[1]), int(match[2]))
    if version < tuple(int(part) for part in skopeo.OLDEST.split(".")):
        return fail(where, "skopeo", f"{match[0]} is too old", f"{skopeo.INSTALL}; at least {skopeo.OLDEST}")
    note = "; it corrupts gzip'd docker-archives, so the pipeline decompresses them first" if version <= (1, 9) else ""
    return ok(where, "skopeo", match[0] + note)


def disks(where: str, name: str, state: str, seen: Seen) -> Iterator[Verdict]:
    """Bytes and inodes, and whether the pipeline's folder can be written."""
    if (closed := seen.facts.get("state", "")).startswith("closed "):
        folder = closed.removeprefix("closed ")
        yield fail(where, "state", f"{folder} cannot be written", f"{git.OWN} {state}, or name another `state` of {name} in the site file")
    for disk in seen.disks:
        room = STORE_ROOM if disk.path == STORE else STATE_ROOM
        yield _disk(where, name, disk, room, state)


def _disk(where: str, name: str, disk: Disk, room: Sequence[int], state: str) -> Verdict:
    title = "disk store" if disk.path == STORE else "disk state"
    inodes = f", {disk.free_inodes:,} inodes" if disk.inodes else ""
    text = f"{disk.free / 1e9:.1f} GB{inodes} free at {disk.path}"
    mend = f"on {name}: nix store gc" + ("" if disk.path == STORE else f"; remove old folders in {state}") + f"; df -h {disk.path}"
    left = disk.free_inodes if disk.inodes else INODES[1]
    if disk.free < room[0] or left < INODES[0]:
        return fail(where, title, text, mend, ResourceError)
    return warn(where, title, text, mend) if disk.free < room[1] or left < INODES[1] else ok(where, title, text)


@cache
def script(name: str) -> str:
    """The text of `<name>.sh` beside this module, without its comment lines: it travels with every call."""
    text = importlib.resources.files(__package__).joinpath(f"{name}.sh").read_text()
    return "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("#"))
