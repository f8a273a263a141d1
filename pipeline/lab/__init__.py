"""The lab: every node of the blueprint, real, on one Debian machine, and gone without a trace afterwards.

    up      build host (sshd + nix), Gitea with the broken token realm, Kubernetes with Traefik, PostgreSQL
    status  which of them run
    logs    where each one's log is
    down    no process, mount, interface, rule or file stays

A lab belongs to one working copy. It is three machines made of namespaces: `haskelseed` builds, `coulombcore` holds git, images
and the database, `railiance01` is the cluster's node with a network of its own, joined by one cable (a veth pair). A pod asks the
node for names: with part `dns` it learns the cluster's own, without it looking up a name fails at once. Everything outside the
cluster, the database for one, it reaches by its address.

What is installed from Debian, built Go programs (in the user's cache) and paths in /nix/store are kept for the next lab.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ALL = frozenset({"host", "registry", "cluster", "database"})
ON_REQUEST = frozenset({"docker", "hub", "kubecfg", "dns", "flux"})  # started where they are asked for, and from then on with the lab


@dataclass(frozen=True)
class NodeStatus:
    """One program of the lab. `state` is running, silent (the process lives, nothing answers) or stopped."""

    name: str
    what: str
    state: str
    address: str
    pid: int
    log: str


def up(root: Path, *, parts: frozenset[str] = ALL, say: Callable[[str], None], mend: bool = True) -> Path:
    """Start the lab of the working copy `root`, or what is missing of it, and give the path of its site file.

    `parts` not in `ALL` come on request: `hub` is two registries that give tokens, `docker` is BuildKit on the build host and Docker
    on the node, `dns` the cluster's name server, `flux` Flux's controllers (with `dns`), `kubecfg` only a program. `say` is told what
    is installed or built and how long that usually takes. With `mend` the node can pull from the registry; without, the registry's
    token realm is as broken on the node as it is everywhere else.
    Raises ConfigError, ResourceError, BuildError, or PipelineError with the last lines of the log of what did not start.
    """
    from pipeline.errors import ConfigError

    if unknown := parts - ALL - ON_REQUEST:
        raise ConfigError(f"the lab has no part {min(unknown)!r}", mend="parts are " + ", ".join(sorted(ALL | ON_REQUEST)))
    from pipeline.lab import start

    return start.up(root, parts, say, mend)


def status(root: Path) -> list[NodeStatus]:
    """Every program of the lab of `root`; empty where there is no lab. Changes nothing."""
    from pipeline.lab import look

    return look.status(root)


def logged(root: Path) -> list[str]:
    """The names of all programs and machines of the lab that have a log. Raises ConfigError where there is no lab."""
    from pipeline.lab import look

    return look.logged(root)


def logs(root: Path, node: str) -> Path:
    """The log file of one program, as `logged` names it. Raises ConfigError for one that is not there."""
    from pipeline.lab import look

    return look.logs(root, node)


def down(root: Path, *, say: Callable[[str], None]) -> None:
    """End the lab of `root` and remove every trace of it; safe to call twice, and after a start that was killed.

    Raises PipelineError where something resists.
    """
    from pipeline.lab import stop

    stop.down(root, say)


def mend_realm(state: Path) -> None:
    """Let the node of the lab in folder `state` reach the registry's token realm, as an operator would. Raises PipelineError."""
    from pipeline.lab import realm

    realm.mend_realm(state)


def break_realm(state: Path) -> None:
    """Take the mend away: pulls on the node fail as on a fresh one."""
    from pipeline.lab import realm

    realm.break_realm(state)
