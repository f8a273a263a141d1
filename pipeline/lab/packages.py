"""What the lab takes from Debian: asked of dpkg, installed where missing, and no service starts because of it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError, Transient
from pipeline.lab import local
from pipeline.lab.layout import flocked

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

COMMON = ("openssh-client", "iproute2", "util-linux", "git")
NEEDED = {
    "host": ("openssh-server", "nix-bin", "skopeo", "rsync", "tar", "gzip", "gcc", "libc6-dev", "busybox-static"),  # the probe's flake
    "registry": ("git", "gcc", "libc6-dev"),
    "cluster": ("containerd", "runc", "containernetworking-plugins", "iptables", "conntrack", "busybox-static", "openssh-server", "mount"),
    "database": ("postgresql",),
    "hub": ("docker-registry", "skopeo", "debootstrap", "dpkg"),
    "ci": ("gh", "tcsh", "fish", "zstd"),  # no part of the lab: for tests of a workflow's run, of login shells and of archives
    "docker": ("docker.io", "runc", "iptables"),
}
POLICY = Path("/usr/sbin/policy-rc.d")
NO_CLUSTER = Path("/etc/postgresql-common/createcluster.d/pipeline-lab.conf")
MARK = "# written by pipeline-lab while it installs packages"


def ensure(parts: frozenset[str], *, say: Callable[[str], None], env: dict[str, str]) -> None:
    """Install what is missing for `parts`, after saying what. Raises ConfigError or Transient with apt's last lines.

    Packages stay after `down`. Their own services are not started now; whether they start with the machine's next boot is
    Debian's default and yours to change.
    """
    wanted = sorted({*COMMON, *(name for part in parts for name in NEEDED.get(part, ()))})
    if not (absent := missing(wanted)):
        return
    NO_CLUSTER.parent.mkdir(parents=True, exist_ok=True)
    with flocked(NO_CLUSTER.parent, waiting=lambda: say("another process is installing packages, waiting for it")), quiet():
        say("installing from Debian: " + " ".join(absent))
        done = _apt(["install", "--no-install-recommends", "-y", *absent], env)
        if done.returncode:
            _apt(["update"], env)
            done = _apt(["install", "--no-install-recommends", "-y", *absent], env)
    if done.returncode:
        raise Transient("Debian packages could not be installed", cause=done.stderr[-1500:], mend="apt-get install " + " ".join(absent))
    if still := missing(wanted):
        raise ConfigError("these packages are not installed although apt-get said so: " + " ".join(still))


def missing(names: list[str]) -> list[str]:
    """Those of `names` that dpkg does not call installed."""
    done = local.run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names)
    have = {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in have]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """While it lasts, installing a package starts no service and PostgreSQL's makes no cluster; both are put back."""
    clean()
    made = []
    if not POLICY.exists():
        made.append(POLICY)
        POLICY.write_text(f"#!/bin/sh\n{MARK}\nexit 101\n")
        POLICY.chmod(0o755)
    NO_CLUSTER.parent.mkdir(parents=True, exist_ok=True)
    made.append(NO_CLUSTER)
    NO_CLUSTER.write_text(f"{MARK}\ncreate_main_cluster = false\n")
    try:
        yield
    finally:
        for path in made:
            path.unlink(missing_ok=True)


def clean() -> None:
    """Remove what an interrupted installation left of `quiet`."""
    for path in (POLICY, NO_CLUSTER):
        if path.exists() and MARK in path.read_text(errors="replace"):
            path.unlink()


def _apt(words: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    quietly = {**env, "DEBIAN_FRONTEND": "noninteractive", "PATH": env.get("PATH", os.defpath)}
    return local.run("apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *words, env=quietly)
