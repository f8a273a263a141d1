"""The registry's token realm as the node sees it: mended, or broken as on a fresh node.

Every pull asks the realm that the registry names, `http://gitea.coulomb.social:80`, where nothing answers. On the node, and only
there, that name leads to the node itself; mending starts a forward of port 80 to the registry, breaking it ends the forward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.lab.gitea import REALM_HOST
from pipeline.lab.layout import NODE, Lab, read, write
from pipeline.lab.machine import Machine
from pipeline.lab.process import Service

if TYPE_CHECKING:
    from pathlib import Path


def service(lab: Lab) -> Service:
    """The forward."""
    return Service(Machine(lab, NODE, isolated=True), "realm", (lab.bin("kubelab"), "forward", "127.0.0.1:80", lab.registry_address))


def write_hosts(lab: Lab) -> None:
    """The node's own /etc/hosts."""
    write(lab.state / "etc" / "hosts", f"127.0.0.1 localhost {REALM_HOST}\n{lab.address} {NODE}\n")


def mend_realm(state: Path) -> None:
    """Make the realm answer from the node, as an operator does. Raises PipelineError."""
    _here(state).start()


def break_realm(state: Path) -> None:
    """Take the mend away: the next pull on the node fails."""
    _here(state).stop()


def _here(state: Path) -> Service:
    lab = read(state)
    if lab is None:
        from pipeline.errors import ConfigError

        raise ConfigError(f"there is no lab in {state}", mend="inv lab.up")
    return service(lab)
