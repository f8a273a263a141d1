"""What this machine must be before anything is touched, each with the one thing to do about it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError, ResourceError

GB = 1 << 30
COLD_DISK, WARM_DISK = 12 * GB, 2 * GB  # sources and build cache of four large Go programs; one running lab
COLD_MEMORY, WARM_MEMORY = 4 * GB, 3 * GB // 2


@dataclass(frozen=True)
class Facts:
    """The machine as it was found: sizes in bytes, `cold` when programs have to be built."""

    root: bool
    debian: bool
    amd64: bool
    cold: bool
    cache: str
    cache_free: int
    state_free: int
    memory: int


def gather(cache: Path, cold: bool) -> Facts:
    """Look at this machine."""
    memory = 0
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            memory = int(line.split()[1]) * 1024
    return Facts(
        root=os.geteuid() == 0,
        debian=Path("/etc/debian_version").exists(),
        amd64=os.uname().machine == "x86_64",
        cold=cold,
        cache=str(cache),
        cache_free=shutil.disk_usage(_existing(cache)).free,
        state_free=shutil.disk_usage(_existing(Path("/var/lib/pipeline-lab"))).free,
        memory=memory,
    )


def check(facts: Facts) -> None:
    """Raises ConfigError or ResourceError for the first thing that is missing."""
    if not facts.debian:
        raise ConfigError(
            "the lab needs Debian: it installs sshd, nix, containerd and PostgreSQL with apt-get",
            mend="run it in a Debian 12 (or newer) virtual machine, or use a blueprint with your own hosts",
        )
    if not facts.root:
        raise ConfigError("the lab needs root: it makes namespaces, network interfaces and containers", mend="sudo -E inv lab.up")
    if not facts.amd64:
        raise ConfigError("the lab runs on linux/amd64 only", mend="use an x86-64 machine")
    if facts.cold and facts.cache_free < COLD_DISK:
        raise ResourceError(
            f"{facts.cache_free / GB:.1f} GB are free at {facts.cache}, building the lab's programs takes {COLD_DISK // GB} GB",
            mend="free some space, or point XDG_CACHE_HOME (and GOPATH, GOCACHE) to a larger disk",
        )
    if facts.state_free < WARM_DISK:
        raise ResourceError(
            f"{facts.state_free / GB:.1f} GB are free at /var/lib, a running lab takes {WARM_DISK // GB} GB", mend="free some space there"
        )
    needed = COLD_MEMORY if facts.cold else WARM_MEMORY
    if facts.memory < needed:
        raise ResourceError(
            f"{facts.memory / GB:.1f} GB of memory are available, the lab needs {needed / GB:.1f} GB" + (" to build" if facts.cold else ""),
            mend="end other programs, or give the machine more memory (WSL2: memory= in .wslconfig)",
        )


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
